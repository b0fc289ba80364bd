import re
import runpy
from pathlib import Path

import pytest

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
    from replication import catalogue

    assert catalogue.insert(README) == README, "run `make readme`"
    changed = README.replace("| `rigl` ", "| `rigi` ")
    assert catalogue.insert(changed) == README != changed


def test_the_example_of_a_new_method_is_found_by_itself_and_conforms(tmp_path, monkeypatch):
    import importlib

    from methods.base import Method
    from replication.registry import create, discover
    from tests.conformance import CHECKS

    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "__init__.py").touch()
    (code,) = [example for example in EXAMPLES if "class Outermost" in example]
    (tmp_path / "plugins" / "outermost.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    found = discover(importlib.import_module("plugins"), Method)
    method = create("method", found, "outermost", density=0.25)
    for check in CHECKS:
        check(method)


def test_the_verdicts_of_the_readme_are_those_of_the_published_study():
    import json

    from analysis.summary import insert

    verdicts = json.loads((ROOT / "results" / "quick" / "verdicts.json").read_text())
    assert insert(README, verdicts) == README, "run `make readme`"
    changed = [{**verdicts[0], "verdict": "supported", "text": "supported"}, *verdicts[1:]]
    assert insert(README, changed) != README
