import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ALLOWED = {"methods": {"methods"}, "replication": {"methods", "replication", "analysis"}, "analysis": {"analysis"}}
PROJECT = "hundredfold."
LIGHT = {"analysis.apart", "analysis.check", "analysis.markers", "analysis.schema"}  # what replication may import
COMMANDS = {  # these may import it all
    "wandb_mirror.py", "dashboard.py", "command_line.py", "deploy.py", "reproduce.py", "rerun.py", "sweep.py",
}  # fmt: skip


def modules(source):
    """Dotted names that a module's source imports, anywhere in it, those of this project without its own."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.removeprefix(PROJECT) for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {f"{node.module}.{alias.name}".removeprefix(PROJECT) for alias in node.names}
    return names


def imported(source):
    """Top-level packages that a module's source imports."""
    return {name.split(".")[0] for name in modules(source)}


def heavy(source):
    """Modules of the analysis that a module imports and that only the one who writes reports may."""
    found = {".".join(name.split(".")[:2]) for name in modules(source) if name.split(".")[0] == "analysis"}
    return found - LIGHT


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
        found = violations(package, path.read_text())
        if package == "replication" and path.name not in COMMANDS:
            found |= heavy(path.read_text())
        assert not found, f"{path.relative_to(ROOT)} imports {found}"


def test_the_check_of_imports_can_fail():
    assert violations("methods", "def f():\n    from hundredfold.replication.run import run") == {"replication"}
    assert violations("analysis", "import torch.nn as nn") == {"torch"}
    assert not violations("replication", "import hundredfold.methods.base")
    assert heavy("from hundredfold.analysis.report import build\nfrom hundredfold.analysis import markers") == {
        "analysis.report"
    }


def circles(sources):
    """Modules of a package that import each other, directly or not; dotted name -> source."""
    reached = {name: {_module(other, sources) for other in modules(source)} for name, source in sources.items()}
    for through in reached:
        for name in reached:
            if through in reached[name]:
                reached[name] |= reached[through]
    return {name for name in reached if name in reached[name]}


def _module(name, sources):
    """The module that an imported name is, or that it stands in."""
    return name if name in sources else name.rpartition(".")[0]


@pytest.mark.parametrize("package", ["analysis"])
def test_modules_do_not_import_each_other_in_circles(package):
    paths = {path: path.relative_to(ROOT).with_suffix("").parts for path in (ROOT / package).rglob("*.py")}
    sources = {".".join(parts).removesuffix(".__init__"): path.read_text() for path, parts in paths.items()}
    assert not circles(sources)


def test_the_search_for_circles_finds_one():
    sources = {"a.x": "from a import y", "a.y": "import a.z", "a.z": "def f():\n    from a.x import g", "a.w": ""}
    assert circles(sources) == {"a.x", "a.y", "a.z"}


def test_the_families_of_methods_are_those_of_the_schema():
    from hundredfold.analysis.schema import FAMILIES
    from hundredfold.replication.config import registry

    assert {cls().family for cls in registry("method").values()} == set(FAMILIES)


def test_every_package_is_named_in_the_project_file():
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    folders = {path.parent for top in (*ALLOWED, "conf") for path in (ROOT / top).rglob("*.py")}
    dotted = {PROJECT + ".".join(folder.relative_to(ROOT).parts) for folder in folders}
    assert dotted | {"hundredfold", "hydra_plugins.fresh_sweeper"} == listed


def test_lock_files_name_no_host():
    text = (ROOT / "requirements.lock").read_text()
    assert "://" not in text and "--hash=sha256:" in text


def test_every_dependency_says_why_it_is_there():
    asked = re.findall(r'^    "[^"]+",.*$', (ROOT / "pyproject.toml").read_text(), flags=re.MULTILINE)
    asked = [line for line in asked if re.match(r'    "[\w\[\]-]+[<>=]', line)]
    assert len(asked) > 30
    for line in asked:
        assert "#" in line, line
