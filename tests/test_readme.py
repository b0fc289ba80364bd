import re
import runpy
from pathlib import Path

import pytest

from hundredfold.analysis import markers

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_every_python_example_of_the_readme_runs(number, tmp_path, monkeypatch):
    script = tmp_path / "example.py"
    script.write_text(EXAMPLES[number])
    monkeypatch.setenv("PATH", "")  # no compiler, no git
    runpy.run_path(str(script), run_name="__main__")


def test_the_readme_has_examples_of_both_loops():
    assert len(EXAMPLES) >= 2 and "session.step()" in README and "SessionCallback" in README


def test_the_table_of_methods_is_the_one_that_the_code_gives():
    from hundredfold.replication import catalogue

    assert markers.insert(README, "methods", catalogue.table()) == README, "run `make readme`"
    changed = README.replace("| `rigl` ", "| `rigi` ")
    assert markers.insert(changed, "methods", catalogue.table()) == README != changed


def test_the_example_of_a_new_method_is_found_by_itself_and_conforms(tmp_path, monkeypatch):
    import importlib

    from hundredfold.methods.base import Method
    from hundredfold.replication.registry import create, discover
    from tests.conformance import CHECKS, applies

    (tmp_path / "plugins" / "static").mkdir(parents=True)
    for folder in ("plugins", "plugins/static"):
        (tmp_path / folder / "__init__.py").touch()
    (code,) = [example for example in EXAMPLES if "class Outermost" in example]
    (tmp_path / "plugins" / "static" / "outermost.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    found = discover(importlib.import_module("plugins"), Method)
    method = create("method", found, "outermost", density=0.25)
    for check in CHECKS:
        if applies(check, method):
            check(method)


def test_the_verdicts_of_the_readme_are_those_of_the_published_study():
    import json

    from hundredfold.analysis.summary import matrix

    verdicts = json.loads((ROOT / "results" / "quick" / "verdicts.json").read_text())
    assert markers.insert(README, "verdicts", matrix(verdicts)) == README, "run `make readme`"
    changed = [{**verdicts[0], "verdict": "supported", "text": "supported"}, *verdicts[1:]]
    assert markers.insert(README, "verdicts", matrix(changed)) != README


def test_a_page_without_its_markers_is_told_which_ones():
    with pytest.raises(ValueError, match="lacks the markers <!-- costs: begin --> and <!-- costs: end -->"):
        markers.insert("<!-- costs: begin --> only", "costs", "")
