import re
import runpy
from pathlib import Path

import pytest

from hundredfold.analysis import markers

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
METHODS_PAGE = (ROOT / "docs" / "methods.md").read_text()


def blocks(page, language):
    """Code of a page in a language: title (or nothing) -> code."""
    return re.findall(rf'```{language}(?: title="(.*?)")?\n(.*?)```', page.read_text(), flags=re.DOTALL)


EXAMPLES = [(page.stem, code) for page in PAGES if page.parent.name != "adding" for _, code in blocks(page, "python")]


@pytest.mark.parametrize(("page", "code"), EXAMPLES, ids=[page for page, _ in EXAMPLES])
def test_every_python_example_runs(page, code, tmp_path, monkeypatch):
    script = tmp_path / "example.py"
    script.write_text(code)
    monkeypatch.setenv("PATH", "")  # no compiler, no git
    runpy.run_path(str(script), run_name="__main__")


def test_the_examples_show_every_kind_of_loop():
    code = " ".join(code for _, code in EXAMPLES)
    assert len(EXAMPLES) >= 3
    assert all(call in code for call in ("session.step()", "session.backward(", "SessionCallback"))


def test_the_readme_is_a_screen_and_a_half():
    prose = re.sub(r"<!-- (\w+): begin -->.*?<!-- \1: end -->", "generated", README, flags=re.DOTALL)
    lines = prose.splitlines()
    assert len(lines) <= 70 and all(len(line) <= 120 for line in lines)


def test_every_link_of_a_page_leads_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_table_of_methods_is_the_one_that_the_code_gives():
    from hundredfold.replication import catalogue

    assert markers.insert(METHODS_PAGE, "methods", catalogue.table()) == METHODS_PAGE, "run `make readme`"
    changed = METHODS_PAGE.replace("| `rigl` ", "| `rigi` ")
    assert markers.insert(changed, "methods", catalogue.table()) == METHODS_PAGE != changed


def test_the_example_of_a_new_method_is_found_by_itself_and_conforms(tmp_path, monkeypatch):
    import importlib

    from hundredfold.methods.base import Method
    from hundredfold.replication.registry import create, discover
    from tests.conformance import CHECKS, applies

    (tmp_path / "plugins" / "static").mkdir(parents=True)
    for folder in ("plugins", "plugins/static"):
        (tmp_path / folder / "__init__.py").touch()
    ((_, code),) = blocks(ROOT / "docs" / "adding" / "method.md", "python")
    (tmp_path / "plugins" / "static" / "outermost.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    found = discover(importlib.import_module("plugins"), Method)
    method = create("method", found, "outermost", density=0.25)
    for check in CHECKS:
        if applies(check, method):
            check(method)


def test_the_verdicts_of_the_readme_are_those_of_the_published_study():
    import json

    from hundredfold.analysis.summary import answer, matrix

    def filled(verdicts):
        return markers.insert(README, "answer", f"{answer(verdicts)}\n\n{matrix(verdicts)}")

    verdicts = json.loads((ROOT / "results" / "quick" / "verdicts.json").read_text())
    assert filled(verdicts) == README, "run `make readme`"
    changed = [{**verdicts[0], "verdict": "supported", "text": "supported"}, *verdicts[1:]]
    assert filled(changed) != README


def test_the_first_screen_states_what_looking_up_reached():
    from hundredfold.analysis.summary import look_up

    source = ROOT / "results" / "folds_text" / "answer.md"
    assert markers.insert(README, "look_up", look_up(source)) == README, "run `make readme`"
    assert README.index("look_up: begin") < README.index("answer: begin")


def test_the_page_of_looking_up_is_that_of_the_published_study():
    from hundredfold.analysis import frontier, records

    page = (ROOT / "docs" / "lookup.md").read_text()
    runs = records.read(ROOT / "results" / "frontier_text" / "records.parquet")
    assert markers.insert(page, "frontier", frontier.tables(runs)) == page, "run `make readme`"
    assert markers.insert(page, "frontier", frontier.tables(runs[runs.task != "prose/lstm"])) != page


def test_a_page_without_its_markers_is_told_which_ones():
    with pytest.raises(ValueError, match="lacks the markers <!-- costs: begin --> and <!-- costs: end -->"):
        markers.insert("<!-- costs: begin --> only", "costs", "")
