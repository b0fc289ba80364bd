import json
import shutil

import pytest

from hundredfold.analysis import records
from hundredfold.analysis.publish import publish
from hundredfold.replication.study import tuning

SMALL = """
study:
  title: A test
  sweeps:
    - overrides: [dataset=digits, model=mlp, recipe.steps=24, trainer.segments=2, "model.widths=[32]"]
      seeds: 2
      seconds: 1
      arms:
        [method=dense, method=dense replicate=1, method=dense_small, method=dsc method.density=0.25 method.interval=4]
"""


SPACE = "trials: 2\nspace: {adamw: {recipe.learning_rate: [0.001, 0.1, log]}}\n"


@pytest.fixture
def reproduce(tmp_path, command):
    """Runs `hundredfold reproduce` on a folder of suites of its own; returns exit code, output and errors."""
    (tmp_path / "suite").mkdir()
    places = {"config-dir": tmp_path, "results": tmp_path / "results", "reports": tmp_path / "reports"}
    folders = [word for name, path in places.items() for word in (f"--{name}", str(path))]

    def run(name, text=None, *more):
        if text is not None:
            (tmp_path / "suite" / f"{name}.yaml").write_text(text)
        return command("reproduce", name, *folders, *more)

    return run


@pytest.mark.slow
def test_a_suite_runs_reports_and_reruns_nothing(reproduce, tmp_path, request):
    code, out, err = reproduce("small", SMALL)
    assert code == 0, err
    assert "digits/mlp: 8 runs of dense, dense_small 0.25, dsc 0.25" in out and "Energy: " in out
    records = sorted((tmp_path / "results").rglob("record.json"))
    written = [path.stat().st_mtime_ns for path in records]
    assert len(records) == 8
    page = (tmp_path / "reports" / "small" / "report.html").read_text()
    assert "dsc 0.25" in page and "http-equiv" not in page.split("<body")[1]
    assert list((tmp_path / "reports" / "small").rglob("*.svg")) and list((tmp_path / "reports").rglob("*.tex"))
    request.getfixturevalue("no_plots")
    code, out, err = reproduce("small")
    assert code == 0 and "8 are done and 0 remain" in out
    assert [path.stat().st_mtime_ns for path in records] == written


@pytest.mark.slow
def test_runs_side_by_side_are_not_metered_and_are_taken_for_done_once_published(reproduce, tmp_path, no_plots):
    arms = "method=dsc_frozen method.density=.25 method.interval=4, 'method=dense model.widths=[16]', method=dsc method"
    text = SMALL.replace("method=dsc method", arms)
    code, out, err = reproduce("small", text, "--jobs", "3")
    assert code == 0 and "Energy: not measured, since 3 runs go side by side" in out, err
    found = [json.loads(path.read_text()) for path in (tmp_path / "results").rglob("record.json")]
    assert len(found) == 12 and {one["energy"]["training_j"] for one in found} == {None}
    assert {one["method"] for one in found} >= {"dsc", "dsc_frozen"}  # the second starts from the first one's units
    publish(tmp_path / "reports" / "small", tmp_path / "public" / "small")
    for kept in (tmp_path / "results", tmp_path / "reports"):
        shutil.rmtree(kept)
    public = ("--reuse", str(tmp_path / "public"))
    assert "0 are done and 12 remain" in reproduce("small", None, "--plan", *public)[1]  # a metered study needs joules
    code, out, err = reproduce("small", None, "--jobs", "2", *public)
    assert code == 0 and "12 are done and 0 remain" in out, err
    assert not list(tmp_path.glob("results/**/record.json"))
    again = records.read(tmp_path / "reports" / "small" / "records.parquet")
    assert sorted(again.run_id) == sorted(one["run_id"] for one in found)
    for options in (("--reuse", str(tmp_path / "nothing")), ("--tune", "--jobs", "2"), ("--jobs", "0")):
        code, _, err = reproduce("small", None, *options)
        assert code == 2 and err.count("\n") == 1, err


@pytest.mark.slow
def test_folders_may_have_any_name(command, tmp_path, no_plots):
    (tmp_path / "suite").mkdir()
    (tmp_path / "suite" / "small.yaml").write_text(SMALL.replace("seeds: 2", "seeds: 1"))
    odd = tmp_path / "a b=[1],{x}#~$ü'\"(%s)"
    places = ("--config-dir", tmp_path, "--results", odd / "results", "--reports", odd / "reports")
    code, out, err = command("reproduce", "small", *places)
    assert code == 0, err
    assert len(list((odd / "results").rglob("record.json"))) == 4
    assert (odd / "reports" / "small" / "report.html").is_file()
    assert command("reproduce", "small", *places)[1].count("4 are done and 0 remain") == 1
    code, out, err = command("ls", "--results", odd / "results")
    assert code == 0 and "dsc 0.25" in out, err
    code, out, err = command("sweep", "recipe.steps=6", f'results="{tmp_path}/b c=[1],#~"', f"reports={tmp_path}/r")
    assert code == 0 and (tmp_path / "b c=[1],#~" / "runs").is_dir(), err


@pytest.mark.slow
def test_a_failing_arm_is_named_and_the_report_is_written_all_the_same(reproduce, tmp_path, no_plots):
    text = SMALL.replace("method=dense_small,", "method=dense_small, method=dsc_frozen method.density=0.5,")
    text = text.replace("seeds: 2", "seeds: 1")
    code, out, err = reproduce("failing", text)
    assert code == 1 and "dsc_frozen" in err and "reads the run method=dsc" in err
    assert (tmp_path / "reports" / "failing" / "report.html").exists()


def test_a_plan_names_arms_that_will_hardly_decide(reproduce):
    code, out, err = reproduce("small", SMALL.replace("interval=4", "interval=2"), "--plan")
    assert code == 0 and "Warning" not in out, err
    code, out, err = reproduce("few", SMALL, "--plan")
    assert code == 0, err
    sentence = " ".join(out.split())
    assert "Warning: fewer than 5 updates in a run of digits/mlp dsc 0.25 (2); their arms will be marked" in sentence


def test_mistakes_exit_with_2_and_write_nothing(reproduce, tmp_path):
    wrong = SMALL.replace("dense_small", "dense_smal")
    for name, text in {"missing": None, "broken": "title: x", "unreadable": "study: [", "wrong": wrong}.items():
        code, out, err = reproduce(name, text)
        assert code == 2 and err.startswith("hundredfold: ") and len(err.strip().splitlines()) == 1
    assert not (tmp_path / "results").exists() and not (tmp_path / "reports").exists()


@pytest.mark.slow
def test_a_run_recorded_with_wandb_stays_on_this_machine(tmp_path):
    from hundredfold.replication import dashboard
    from hundredfold.replication.composition import compose
    from hundredfold.replication.run import run
    from hundredfold.replication.wandb_mirror import mirror

    result = run(compose(["recipe.steps=20", "model.widths=[16]", "trainer.segments=2", f"results={tmp_path}"]))
    folder = mirror(result.record, result.folder, project="hundredfold", mode="offline")
    assert folder.name.startswith("offline-run-") and result.record["run_id"] in folder.name
    files = list(folder.glob("*.wandb"))
    assert len(files) == 1 and b"validation/accuracy" in files[0].read_bytes()
    assert dashboard.runs_below(tmp_path) == [folder]


def test_what_wandb_shows_of_a_simulated_run_has_no_joules():
    from hundredfold.replication import wandb_mirror
    from tests.record_factory import Arm, record

    for simulated in (False, True):
        made = record(Arm("rigl", "dynamic", {"density": 0.1}, simulated=simulated), "digits/mlp", 0)
        shown = wandb_mirror._summary(made)
        assert ("energy/training_j" in shown, "time/training_cpu_s" in shown) == (not simulated, not simulated)
        assert {"status", "test/accuracy", "validation/loss", "flops/executed"} <= set(shown)
        rows = [wandb_mirror._row(made, point) for point in made["quality"]["curve"]]
        assert rows and all(("training_j" in row) is not simulated for row in rows)
        config = wandb_mirror._config(made)
        assert (config["label"], config["evidence"], config["simulated"]) == ("rigl 0.1", "estimated", simulated)


def test_the_saved_view_of_a_project_shows_what_runs_have():
    from hundredfold.replication import wandb_mirror
    from hundredfold.replication.wandb_workspace import workspace
    from tests.record_factory import Arm, record

    text = workspace("someone", "hundredfold")._to_model().model_dump_json()
    text = text.replace('"summary:', '"').replace('"summary_metrics.', '"').replace('.value"', '"')
    made = record(Arm("dense", "dense"), "digits/mlp", 0)
    known = {*wandb_mirror._summary(made), *wandb_mirror._row(made, made["quality"]["curve"][0]), "_step"}
    wanted = ("energy/training_j", "test/accuracy", "validation/loss", "training_j", "flops/ideal", "train/loss")
    assert all(name in known and f'"{name}"' in text for name in wanted)
    assert '"task"' in text and '"label"' in text


@pytest.mark.slow
def test_a_report_goes_to_wandb_with_its_verdicts(tmp_path):
    from hundredfold.analysis import report
    from hundredfold.replication.wandb_workspace import mirror_report
    from tests.record_factory import plan_of, study, write

    with pytest.raises(ValueError, match="no verdicts.json; make the report first"):
        mirror_report(tmp_path, tmp_path, project="hundredfold", mode="offline")
    made = study(tasks=["digits/mlp"])
    report.build(write(made, tmp_path / "results"), tmp_path / "quick", "quick", plan_of(made))
    folder = mirror_report(tmp_path / "quick", tmp_path / "results", project="hundredfold", mode="offline")
    content = b"".join(path.read_bytes() for path in folder.glob("*.wandb"))
    assert b"verdicts-quick" in content and b"digits-mlp-quality-against-energy" in content


@pytest.mark.slow
def test_records_are_exported_to_wandb_at_any_time(tmp_path, command):
    from hundredfold.replication.composition import compose
    from hundredfold.replication.run import run

    for method in ("dense", "gmp"):
        given = ["recipe.steps=40", "model.widths=[16]", "trainer.segments=4", f"results={tmp_path}"]
        run(compose([*given, f"method={method}", *(["method.update.interval=5"] if method == "gmp" else [])]))
    code, out, _ = command("wandb", "--where", "method=gmp", "--results", str(tmp_path))
    assert code == 0 and "1 records" in out and "wandb sync" in out
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    assert list(folder.rglob("*.png"))  # densities of the layers
    code, _, err = command("wandb", "--where", "method=set", "--results", str(tmp_path))
    assert code == 2 and "no record is left" in err


def test_the_record_of_a_run_is_json_that_others_can_read(tmp_path):
    from hundredfold.replication.composition import compose
    from hundredfold.replication.run import run

    result = run(compose(["recipe.steps=20", "model.widths=[16]", f"results={tmp_path}"]))
    assert json.loads((result.folder / "record.json").read_text())["run_id"] == result.folder.parent.name


BUDGETS = SMALL + "  budgets: {tiny: {seeds: 1, steps: 0.5, arms: [dense]}}\n"


@pytest.mark.slow
def test_a_budget_scales_seeds_steps_and_arms_and_says_so(reproduce, tmp_path, no_plots):
    code, out, err = reproduce("small", BUDGETS, "--budget", "tiny")
    assert code == 0, err
    records = [json.loads(path.read_text()) for path in (tmp_path / "results").rglob("record.json")]
    assert {r["method"] for r in records} == {"dense", "dense_small"} and {r["seed"] for r in records} == {0}
    assert all(r["steps"] == 12 and r["config"]["recipe"]["steps"] == 24 for r in records)
    page = (tmp_path / "reports" / "small-tiny" / "report.html").read_text()
    assert "1 of 2 seeds, 50 % of the steps" in page and "make reproduce SUITE=small budget=tiny" in page
    code, _, err = reproduce("small", BUDGETS, "--budget", "huge")
    assert code == 2 and "suite/small.yaml: budget=huge: unknown; choose one of tiny" in err


@pytest.mark.slow
def test_tuning_tries_every_arm_equally_and_is_counted(reproduce, tmp_path, no_plots):
    (tmp_path / "space").mkdir()
    (tmp_path / "space" / "mlp.yaml").write_text(SPACE)
    text = SMALL.replace(", method=dsc method.density=0.25 method.interval=4", "").replace("seeds: 2", "seeds: 1")
    code, out, err = reproduce("small", text, "--tune")
    assert code == 0, err
    records = [json.loads(path.read_text()) for path in (tmp_path / "results").rglob("record.json")]
    trials = [r for r in records if r["suite"] == "small-tuning"]
    reported = [r for r in records if r["suite"] == "small-tuned"]
    assert len(trials) == 4 and {r["seed"] for r in trials} == {1000} and {r["seed"] for r in reported} == {0}
    for method in ("dense", "dense_small"):
        mine = [r for r in trials if r["method"] == method]
        best = max(mine, key=lambda r: r["quality"]["validation"]["accuracy"])["config"]["recipe"]["learning_rate"]
        assert {r["config"]["recipe"]["learning_rate"] for r in reported if r["method"] == method} == {best}
    assert "4 trials of 2 arms" in (tmp_path / "reports" / "small-tuned" / "report.html").read_text()


def test_a_recipe_whose_optimizer_has_no_space_is_refused(reproduce, tmp_path):
    (tmp_path / "space").mkdir()
    (tmp_path / "space" / "mlp.yaml").write_text(SPACE)
    code, _, err = reproduce("small", SMALL.replace("model=mlp,", "model=mlp, recipe.optimizer=sgd,"), "--tune")
    assert code == 2 and "mlp.yaml has a space of optimizer=adamw but none of sgd" in err


def test_the_points_of_a_space_are_fixed_and_lie_inside_it():
    space = tuning.Space(5, {"recipe.a": (0.001, 0.1, True), "recipe.b": (0.0, 2.0, False)})
    points = space.points()
    assert points == space.points()
    assert all(0.001 <= p["a"] <= 0.1 and 0 <= p["b"] <= 2 for p in points)
    assert len({p["a"] for p in points}) == 5 and points[0]["a"] == 0.01
