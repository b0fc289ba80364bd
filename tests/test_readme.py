import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_every_python_example_of_the_readme_runs(number, tmp_path):
    script = tmp_path / "example.py"
    script.write_text(EXAMPLES[number])
    done = subprocess.run(
        [sys.executable, script], cwd=ROOT, env={"PYTHONPATH": str(ROOT), "PATH": ""}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_the_readme_has_examples_of_both_loops():
    assert len(EXAMPLES) >= 2 and "session.step()" in README and "SessionCallback" in README


def test_the_readme_names_every_method():
    import methods
    from methods.base import Method
    from replication.registry import discover

    for name in discover(methods, Method):
        assert f"`{name}`" in README


def test_the_verdicts_of_the_readme_are_those_of_the_published_study():
    import json

    from analysis.summary import insert

    verdicts = json.loads((ROOT / "results" / "quick" / "verdicts.json").read_text())
    assert insert(README, verdicts) == README, "run `make readme`"
    changed = [{**verdicts[0], "verdict": "supported", "text": "supported"}, *verdicts[1:]]
    assert insert(README, changed) != README
