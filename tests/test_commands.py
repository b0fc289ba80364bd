"""The small commands: what they print, what they write, and what they answer to mistakes."""

import sys

import pandas as pd
import pytest

from hundredfold.analysis import records
from tests.record_factory import REALISTIC, study, write

FEW = [arm for arm in REALISTIC if arm.method in ("dense", "dense_small", "dsc")]


@pytest.fixture
def results(tmp_path):
    """A folder of records of two tasks."""
    return write(study(FEW, ["digits/mlp", "digits/vit"], 3), tmp_path / "results")


def test_runs_are_listed_with_what_is_known_of_them(command, results):
    code, out, _ = command("ls", "--results", results)
    assert code == 0 and "digits/vit" in out and "dsc 0.25" in out and "finished" in out


@pytest.mark.parametrize(
    ("what", "name"),
    [("methods", "rigl"), ("models", "llama"), ("datasets", "topics"), ("recipes", "digits-mlp"), ("suites", "quick")],
)
def test_what_there_is_to_choose_from_is_listed(what, name, command):
    code, out, _ = command("ls", what)
    assert code == 0 and name in out.split()


def test_a_method_is_shown_with_its_options(command):
    code, out, _ = command("show", "rigl")
    assert code == 0 and "arXiv:1911.11134" in out and "method.density: a fraction in (0, 1], default 0.1" in out


def test_a_run_is_shown_by_the_first_digits_of_its_id(command, results):
    first = sorted(path.name for path in (results / "runs").iterdir())[0]
    code, out, _ = command("show", first, "--results", results)
    assert code == 0 and f'"run_id": "{first}"' in out


def test_arms_are_compared_with_the_first_by_seed(command, results):
    code, out, _ = command("compare", "dense", "dsc 0.25", "--results", results, "--task", "digits/mlp")
    runs = records.load(results)
    runs = runs[(runs.task == "digits/mlp") & (runs.replicate == 0)].set_index("seed")
    dense, dsc = (runs[runs.label == label] for label in ("dense", "dsc 0.25"))
    points = 100 * (dsc.test_accuracy - dense.test_accuracy).mean()
    assert code == 0 and f"{abs(points):.2f} points"[:4] in out and "digits/vit" not in out
    assert command("compare", "dense", "dsc 0.25", "--results", results)[1].count("digits/") == 2


@pytest.mark.parametrize("ending", ["csv", "parquet", "json"])
def test_records_are_exported(ending, command, results, tmp_path):
    code, out, _ = command("export", tmp_path / f"all.{ending}", "--results", results)
    table = getattr(pd, f"read_{ending}")(tmp_path / f"all.{ending}")
    assert code == 0 and len(table) == len(records.load(results)) and f"{len(table)} records" in out


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\tx"])
def test_no_cell_of_a_csv_file_begins_like_a_formula(text, results, tmp_path):
    runs = records.load(results).assign(reason=text)
    records.save(runs, tmp_path / "all.csv")
    assert set(pd.read_csv(tmp_path / "all.csv").reason) == {f"'{text}"}


def test_any_program_is_metered(command):
    work = "t = 0\nfor i in range(10**6): t += i"
    code, _, err = command("meter", "--source", "estimate", "--", sys.executable, "-c", work)
    joules = float(err.split(" J (estimated)")[0].split()[-1])
    assert code == 0 and 0.1 < joules < 1000
    assert command("meter", "--", sys.executable, "-c", "raise SystemExit(7)")[0] == 7


MISTAKES = {
    "fly": "No such command 'fly'",
    "ls metods": "metods: unknown, did you mean methods?",
    "ls --results nowhere": "no records below nowhere",
    "show nothing": "nothing: no run of results begins so",
    "compare dense": "name two arms or more",
    "compare dense foo": "dense, foo: no task has all of them; there are dense",
    "compare dense dsc --task x": "--task x: no record is of it",
    "export all.xls": "expected a name that ends in .csv, .parquet, .json",
    "export nowhere/all.csv": "nowhere",
    "meter --source sun": "energy.source=sun: unknown",
    "meter no-such-program": "no-such-program: no such program",
    "bench foo": "foo: no such benchmark",
    "bench --scale 0": "--scale=0: expected a factor above 0",
    "data nope": "dataset=nope: unknown",
    "wandb": "no W&B runs in results/wandb",
    "reproduce quik": "suite=quik: unknown, did you mean quick?",
    "reproduce --nothing": "No such option",
}


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_is_one_sentence_and_nothing_is_written(line, command, results, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    code, out, err = command(*line.split())
    assert code == 2 and err.startswith("hundredfold: ") and MISTAKES[line] in err, err
    assert len(err.splitlines()) == 1 and not out
    assert sorted(tmp_path.rglob("*")) == before
