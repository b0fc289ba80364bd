import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from analysis import records
from tests.record_factory import REALISTIC, diverged, failed, plan_of, study, write

ROOT = Path(__file__).resolve().parent.parent
ARMS = [arm for arm in REALISTIC if arm.method in ("dense", "dsc")]


def some(seeds=2):
    return study(ARMS, ["digits/mlp"], seeds)


def test_every_record_becomes_a_row(tmp_path):
    runs = records.load(write(some(), tmp_path))
    assert len(runs) == 10 and list(runs.columns) == list(records.COLUMNS)
    assert runs.training_j.dtype == float and isinstance(runs.options[0], dict)


def test_columns_hold_the_records_fields(tmp_path):
    original = some()[0]
    row = records.flatten(original, tmp_path)
    assert row["training_j"] == original["energy"]["training_j"]
    assert row["test_accuracy"] == original["quality"]["test"]["accuracy"]
    assert row["device_key"] == original["environment"]["device_key"]


@pytest.mark.parametrize("folder", ["", "nowhere"])
def test_a_folder_without_records_says_what_to_do(tmp_path, folder):
    with pytest.raises(ValueError, match=r"no records below .*: run `make reproduce` first, or give another folder"):
        records.load(tmp_path / folder)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda r: "{", "not a readable record"),
        (lambda r: [1], "not a record"),
        (lambda r: json.dumps(r).replace("0.004", "NaN"), "NaN is not a number"),
        (lambda r: r | {"schema_version": 2}, "schema version 2, expected 1"),
        (lambda r: r | {"status": "done"}, "status is 'done'"),
        (lambda r: {k: v for k, v in r.items() if k != "seed"}, "the field seed is missing"),
        (lambda r: r | {"energy": {}}, "the field energy.source is missing"),
        (lambda r: r | {"flops": None}, "the field flops is null"),
        (lambda r: r | {"seed": "one"}, "the field seed is 'one', expected a number"),
        (lambda r: r | {"energy": r["energy"] | {"training_j": 0.0}}, "0 J over .* s cannot be"),
        (lambda r: r | {"quality": r["quality"] | {"test": None}}, "a finished run has no test quality"),
        (lambda r: r | {"quality": r["quality"] | {"metric": "bleu"}}, "expected accuracy or loss"),
    ],
)
def test_a_broken_record_is_named_with_its_problem(tmp_path, change, sentence):
    original = some()[0]
    write([original], tmp_path)
    path = next(tmp_path.rglob("record.json"))
    changed = change(original)
    path.write_text(changed if isinstance(changed, str) else json.dumps(changed))
    with pytest.raises(ValueError, match=sentence) as error:
        records.load(tmp_path)
    assert str(path) in str(error.value) and re.search("delete it and run again|measure it again", str(error.value))


def test_failed_and_diverged_runs_are_rows(tmp_path):
    first, second, *_ = some()
    runs = records.load(write([failed(first), diverged(second)], tmp_path))
    assert sorted(runs.status) == ["diverged", "failed"]
    assert runs.set_index("status").training_j.isna()["failed"] and runs.reason.notna().all()


def test_unknown_texts_are_none(tmp_path):
    first, second, *_ = some()
    runs = records.load(write([first | {"suite": None}, second], tmp_path))
    assert set(runs.suite) == {None, "quick"}


def test_a_plan_chooses_records_and_names_the_missing_ones(tmp_path):
    made = some()
    runs = records.load(write(made[:-1], tmp_path))
    selected = records.select(runs, "quick", plan_of(made[4:]), tmp_path)
    assert len(selected.runs) == 5 and selected.planned == 6
    assert [(run["label"], run["seed"]) for run in selected.missing] == [(made[-1]["label"], 1)]


def test_without_a_plan_the_suite_chooses(tmp_path):
    made = [r | {"suite": "other"} if r["seed"] else r for r in some()]
    runs = records.load(write(made, tmp_path))
    assert set(records.select(runs, "other", None, tmp_path).runs.seed) == {1}
    with pytest.raises(ValueError, match=r"is of the suite 'absent' \(there: other, quick\)"):
        records.select(runs, "absent", None, tmp_path)


def test_a_plan_that_nothing_fulfils_is_refused(tmp_path):
    runs = records.load(write(some(), tmp_path))
    plan = [run | {"run_id": "0" * 12} for run in plan_of(some())]
    with pytest.raises(ValueError, match="none of the 10 planned runs has a record"):
        records.select(runs, "quick", plan, tmp_path)


@pytest.mark.parametrize("content", ["", "{}", "[]", '[{"run_id": "a"}]'])
def test_a_plan_that_is_none_is_refused(tmp_path, content):
    path = tmp_path / "plan.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="^plan"):
        records.read_plan(path)


def test_two_configurations_of_one_arm_are_refused(tmp_path):
    made = some()
    runs = records.load(write([*made, made[0] | {"run_id": "f" * 12}], tmp_path))
    with pytest.raises(ValueError, match="2 records of different configurations .* give a plan"):
        records.select(runs, "quick", None, tmp_path)


def test_machines_are_not_mixed(tmp_path):
    made = some()
    runs = records.load(write([*made, *[r | {"machine": "ffffffff"} for r in made[:3]]], tmp_path))
    selected = records.select(runs, "quick", None, tmp_path)
    assert set(selected.runs.machine) == {"a1b2c3d4"}
    assert selected.excluded == ["digits/mlp: 3 records of machine ffffffff, because a1b2c3d4 has 10"]


LOADED = "import sys, {}; print(sorted({{'torch', 'methods', 'replication'}} & set(sys.modules)))"


def loaded(imports: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", LOADED.format(imports)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return result.stdout.strip()


def test_the_analysis_imports_neither_torch_nor_what_made_the_records():
    assert loaded("analysis.__main__") == "[]"


def test_the_check_of_imports_can_fail():
    assert "methods" in loaded("methods")
