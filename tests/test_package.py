"""The wheel outside the repository: what is in it, the command, a run, and methods without the rest."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("analysis", "conf", "hundredfold", "hydra_plugins", "methods", "replication")
SOURCES = (*FOLDERS, "LICENSE", "README.md", "pyproject.toml")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the files of the wheel, built from a copy of the sources."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    build = [sys.executable, "-m", "pip", "wheel", "-qq", "--no-deps", "--no-build-isolation", "--no-index", "."]
    subprocess.run(build, cwd=folder, check=True)
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


def outside(installed, tmp_path, *command):
    """Run Python in an empty folder, where the wheel's files come first."""
    environment = os.environ | {"PYTHONPATH": str(installed)}
    return subprocess.run([sys.executable, *command], cwd=tmp_path, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_a_run_from_the_wheel_ends_with_a_record(installed, tmp_path):
    options = ("method=set", "recipe.steps=20", "model.widths=[16]")
    done = outside(installed, tmp_path, "-m", "hundredfold.replication", "train", *options)
    assert done.returncode == 0, done.stderr
    (record,) = (json.loads(path.read_text()) for path in (tmp_path / "results").rglob("record.json"))
    assert record["method"] == "set" and record["environment"]["commit"] is None


@pytest.mark.slow
def test_a_sweep_from_the_wheel_ends_with_a_page(installed, tmp_path):
    options = ("method=dense,set", "recipe.steps=20", "model.widths=[16]")
    done = outside(installed, tmp_path, "-m", "hundredfold.replication", "sweep", *options)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "reports" / "sweep" / "report.html").is_file()


@pytest.mark.slow
def test_a_network_is_loaded_by_the_name_of_the_package(installed, tmp_path):
    code = "import hundredfold; print(hundredfold.__file__); hundredfold.load('nowhere')"
    done = outside(installed, tmp_path, "-c", code)
    assert Path(done.stdout.strip()).is_relative_to(installed)
    assert done.stderr.strip().endswith("nowhere: no such file; a run keeps its network with trainer.keep=true")


@pytest.mark.slow
def test_methods_of_the_wheel_load_nothing_but_torch_and_themselves(installed, tmp_path):
    code = "import sys, hundredfold.methods.execution.session as s; print(s.__file__, *sys.modules)"
    place, *loaded = outside(installed, tmp_path, "-c", code).stdout.split()
    assert Path(place).is_relative_to(installed)
    assert not {"lightning", "hydra", "wandb", "pandas", "timm", "transformers"} & set(loaded)


@pytest.mark.slow
def test_help_loads_nothing_heavy(installed, tmp_path):
    code = (
        "import sys; sys.argv = ['hundredfold', '--help']\n"
        "from hundredfold.replication.command_line import main\n"
        "try: main()\n"
        "finally: print(*sys.modules)"
    )
    done = outside(installed, tmp_path, "-c", code)
    assert "reproduce  Run a whole study" in done.stdout, done.stderr
    assert not {"torch", "hydra", "pandas", "numpy", "rich"} & set(done.stdout.split())


@pytest.mark.slow
def test_the_wheel_asks_for_torch_alone_and_the_command_names_the_extra(installed, tmp_path):
    (metadata,) = installed.glob("*.dist-info/METADATA")
    asked = [line.partition(": ")[2] for line in metadata.read_text().splitlines() if line.startswith("Requires-Dist")]
    assert sorted(line.split(">")[0] for line in asked if "extra ==" not in line) == ["click", "numpy", "torch"]
    assert sum("extra == 'suite'" in line.replace('"', "'") for line in asked) > 15
    hide = "import sys; sys.modules['hydra'] = None; sys.argv[1:] = ['train', 'method=set'];"
    done = outside(installed, tmp_path, "-c", f"{hide} from hundredfold.replication.command_line import main; main()")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "is not installed; pip install 'hundredfold[suite]'" in done.stderr and not list(tmp_path.iterdir())
