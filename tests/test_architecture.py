import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ALLOWED = {"methods": {"methods"}, "replication": {"methods", "replication", "analysis"}, "analysis": {"analysis"}}


def imported(source):
    """Top-level packages that a module's source imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


def violations(package, source):
    """Imports of a module that its package may not have."""
    forbidden = set(ALLOWED) - ALLOWED[package]
    if package == "analysis":
        forbidden |= {"torch", "lightning", "hydra", "transformers", "timm"}
    if package == "methods":
        forbidden |= {"lightning", "hydra", "transformers", "timm", "wandb", "zeus"}
    return imported(source) & forbidden


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_run_one_way(package):
    for path in (ROOT / package).rglob("*.py"):
        allowed_here = {"analysis"} if path.name == "reproduce.py" else set()
        found = violations(package, path.read_text())
        if package == "replication" and "analysis" in imported(path.read_text()):
            assert allowed_here, f"{path.name} imports analysis; only reproduce.py may"
        assert not found, f"{path.relative_to(ROOT)} imports {found}"


def test_the_check_of_imports_can_fail():
    assert violations("methods", "def f():\n    from replication.run import run") == {"replication"}
    assert violations("analysis", "import torch.nn as nn") == {"torch"}
    assert not violations("replication", "import methods.base")


def test_the_reader_and_the_writer_of_records_agree():
    from analysis.records import SCHEMA_FIELDS
    from replication.record import FIELDS

    assert {field.split(".")[0] for field in SCHEMA_FIELDS} <= set(FIELDS)


def test_lock_files_name_no_host():
    text = (ROOT / "requirements.lock").read_text()
    assert "://" not in text and "--hash=sha256:" in text


def test_every_dependency_says_why_it_is_there():
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    start = lines.index("dependencies = [") + 1
    for line in lines[start : lines.index("]", start)]:
        assert "#" in line, line
