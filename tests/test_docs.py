"""The documentation: templates that work as they stand, generated tables, a site that builds without a network."""

import importlib
import re
import subprocess
import sys

import pytest
import yaml

from hundredfold.analysis import benchmarks, markers, publish
from tests.test_readme import ROOT, blocks

ADDING = ROOT / "docs" / "adding"


def template(page, language):
    """Title and code of a page's template."""
    (found,) = blocks(ADDING / f"{page}.md", language)
    return found


def plugin(tmp_path, monkeypatch, page):
    """A package that holds the template of a page alone."""
    title, code = template(page, "python")
    name = f"plugged_{page}"
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").touch()
    (tmp_path / name / title.rpartition("/")[2]).write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    return importlib.import_module(name)


def test_the_template_of_a_data_set_has_all_that_the_suite_asks_for(tmp_path, monkeypatch):
    from hundredfold.replication.datasets.base import Dataset
    from hundredfold.replication.registry import create, discover

    found = discover(plugin(tmp_path, monkeypatch, "dataset"), Dataset)
    made = create("dataset", found, "stripes", label_noise=0.25, fraction=0.5)
    train, validation = made.training()
    assert len(train.targets) == 256 and len(validation.targets) == len(made.test().targets) == 128
    assert tuple(train.inputs.shape[1:]) == made.spec().input_shape and len(made.fingerprint()) == 12
    assert all(getattr(made, name) for name in ("license", "source", "splits")) and made.present()


def test_the_template_of_a_model_builds_at_every_width(tmp_path, monkeypatch):
    import torch

    from hundredfold.replication.datasets.base import DataSpec
    from hundredfold.replication.models.base import Model
    from hundredfold.replication.registry import create, discover

    found = discover(plugin(tmp_path, monkeypatch, "model"), Model)
    spec = DataSpec("image", (1, 8, 8), 2, "accuracy")
    whole, small = (create("model", found, "funnel").build(spec, width) for width in (1.0, 0.25))
    assert whole(torch.randn(3, 1, 8, 8)).shape == small(torch.randn(3, 1, 8, 8)).shape == (3, 2)
    assert small[1].out_features == 64 and whole[1].out_features == 256


def test_the_template_of_a_claim_is_judged(tmp_path, monkeypatch):
    from tests.test_analysis_claims import dsc, load, made_of

    plugged = plugin(tmp_path, monkeypatch, "claim")
    claim = importlib.import_module(f"{plugged.__name__}.tenfold").CLAIM
    for saving, verdict in ((20, "supported"), (3, "refuted")):
        (task,) = load(tmp_path / str(saving), made_of(dsc(saving))).tasks
        assert [row.verdict for row in claim.evaluate(task).rows] == [verdict]


def test_the_template_of_a_recipe_is_a_recipe():
    from hundredfold.replication.config import Recipe

    title, text = template("recipe", "yaml")
    assert title == "conf/recipe/stripes-funnel.yaml"
    recipe = Recipe(**yaml.safe_load(text))
    assert recipe.steps == 48 and len(recipe.rates(48)) == 48


def test_the_template_of_a_study_is_a_plan(tmp_path, command):
    (tmp_path / "suite").mkdir()
    (tmp_path / "suite" / "example.yaml").write_text(template("suite", "yaml")[1])
    places = ("--config-dir", tmp_path, "--results", tmp_path / "results", "--reports", tmp_path / "reports")
    code, out, err = command("reproduce", "example", "--plan", *places)
    assert code == 0, err
    assert "Warning" not in out
    assert "digits/mlp: 10 runs of dense, dense_small 0.25, rigl 0.1, random twin of rigl 0.1" in " ".join(out.split())


def test_the_benchmark_tables_are_those_of_the_published_files():
    page = (ROOT / "docs" / "benchmarks.md").read_text()
    tables = benchmarks.tables(ROOT / "results" / "benchmark")
    assert markers.insert(page, "benchmarks", tables) == page, "run `make readme`"
    measured = len(benchmarks.SECTIONS) - (not (ROOT / "results" / "gpu" / "card.json").exists())
    assert tables.count("## ") == measured


def test_a_report_is_published_whole_or_not_at_all(tmp_path):
    report, target = tmp_path / "report", tmp_path / "results" / "quick"
    with pytest.raises(ValueError, match="no records.parquet; make the report first"):
        publish.publish(report, target)
    for name in (*publish.FILES, "tables/digits.md", f"plots/digits-{publish.PLOT}"):
        (report / name).parent.mkdir(parents=True, exist_ok=True)
        (report / name).write_text(name)
    publish.publish(report, target)
    assert (target / publish.PLOT).read_text().startswith("plots") and (target / "tables" / "digits.md").is_file()
    assert publish.main([]) == 2 and publish.main(["missing", str(tmp_path)]) == 2


@pytest.mark.slow
def test_the_site_builds_and_loads_nothing_from_elsewhere(tmp_path):
    build = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "on_train_begin" not in (tmp_path / "index.html").read_text()
    api = (tmp_path / "api.html").read_text()
    assert "in place of optimizer.step()" in api or "Take one optimizer step" in api
    for page in tmp_path.rglob("*.html"):
        loaded = re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(https?:[^"]+)"', page.read_text())
        assert not loaded, f"{page.name}: {loaded}"
