import copy
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hundredfold.analysis import check, records, selection
from hundredfold.analysis.schema import Record
from tests.record_factory import REALISTIC, diverged, failed, plan_of, record, study, write

ROOT = Path(__file__).resolve().parent.parent
ARMS = [arm for arm in REALISTIC if arm.method in ("dense", "dsc")]


def some(seeds=2):
    return study(ARMS, ["digits/mlp"], seeds)


def test_every_record_becomes_a_row(tmp_path):
    runs = records.load(write(some(), tmp_path))
    assert len(runs) == 10 and list(runs.columns) == list(records.COLUMNS)
    assert runs.training_j.dtype == float and isinstance(runs.options[0], dict)


def test_columns_hold_the_records_fields():
    original = some()[0]
    row = records.flatten(check.check(original))
    assert row["training_j"] == original["energy"]["training_j"]
    assert row["test_accuracy"] == original["quality"]["test"]["accuracy"]
    assert row["device_key"] == original["environment"]["device_key"]


@pytest.mark.parametrize("folder", ["", "nowhere"])
def test_a_folder_without_records_says_what_to_do(tmp_path, folder):
    with pytest.raises(ValueError, match=r"no records below .*: run `make reproduce` first, or give another folder"):
        records.load(tmp_path / folder)


def test_a_field_of_the_table_is_a_field_of_the_schema():
    made = record(REALISTIC[0], "topics/gpt", 0)
    made["quality"]["read_on"]["test"]["cache"] = {"sharpness": 0.3, "share": 0.1, "loss_without": 2.2}
    Record.model_validate(made, strict=True)
    for name in records.COLUMNS.values():
        block = made
        for part in name.split("."):
            assert part in block, name
            block = block[part]


def changed(original: dict, name: str, value) -> dict:
    """A record with one field changed, which a dotted name tells; ... takes it away."""
    record = copy.deepcopy(original)
    *blocks, last = name.split(".")
    block = record
    for part in blocks:
        block = block[int(part) if part.isdigit() else part]
    block |= {last: value}
    if value is ...:
        del block[last]
    return record


WRONG = [
    ("seed", ..., "the field seed is missing"),
    ("mood", "good", "the field mood is unknown"),
    ("energy.mood", "good", "the field energy.mood is unknown"),
    ("seed", "one", "the field seed is 'one', expected a valid integer"),
    ("seed", -1, "the field seed is -1, expected a number greater than or equal to 0"),
    ("run_id", "abc", "the field run_id is 'abc', expected a text like"),
    ("label", "", "the field label is '', expected a text of at least 1 character"),
    ("simulated", 1, "the field simulated is 1, expected a valid boolean"),
    ("family", "magic", "the field family is 'magic', expected 'dense', "),
    ("status", "done", "the field status is 'done', expected 'finished', 'diverged' or 'failed'"),
    ("status", "failed", "the field quality must be null in a run that failed"),
    ("status", "diverged", "the field reason must not be null in a run that diverged"),
    ("reason", "tired", "the field reason must be null in a run that finished"),
    ("flops", None, "the field flops must not be null in a run that finished"),
    ("flops.executed", True, "the field flops.executed is True, expected a valid number"),
    ("energy.evidence", "guessed", "the field energy.evidence is 'guessed', expected 'measured', "),
    ("energy.training_j", -3.0, "the field energy.training_j is -3.0, expected a number greater"),
    ("energy.training_j", float("nan"), "the field energy.training_j is nan, expected a finite number"),
    ("energy.training_j", None, "energy: training_j must be there with the evidence 'estimated'"),
    ("energy.evidence", "none", "energy: training_j must be null with the evidence 'none'"),
    ("energy.training_j", 1e6, "energy: training_j is 1e+06, but its phases add up to"),
    ("energy.phases_j.train", -1.0, "the field energy.phases_j.train is -1.0, expected a number greater"),
    ("energy.phases_j.sleep", 1.0, "the field energy.phases_j.sleep is 'sleep', expected 'train', "),
    ("energy.unmetered_fraction", 1.5, "the field energy.unmetered_fraction is 1.5, expected a number less"),
    ("time.training_s", 0.5, "time: training_s is 0.5, but its phases add up to"),
    ("time.phases_cpu_s.eval", -1.0, "the field time.phases_cpu_s.eval is -1.0, expected a number greater"),
    ("quality.metric", "bleu", "the field quality.metric is 'bleu', expected 'accuracy' or 'loss'"),
    ("quality.test", None, "the field quality.test must not be null in a run that finished"),
    ("quality.test.accuracy", 95.5, "the field quality.test.accuracy is 95.5, expected a number less than or equal"),
    ("quality.curve.0.validation_accuracy", 1.1, "the field quality.curve.0.validation_accuracy is 1.1"),
    ("density.prunable", 1.1, "the field density.prunable is 1.1, expected a number less than or equal to 1"),
    ("parameters.active", 0.5, "the field parameters.active is 0.5, expected a valid integer"),
    ("environment.device_key", None, "the field environment.device_key is None, expected a valid string"),
    ("units", {"1": {"size": 4, "alive": 2}}, "the field units.1.ever is missing"),
]


@pytest.mark.parametrize(("name", "value", "sentence"), WRONG)
def test_a_field_that_cannot_be_is_named_when_a_record_is_written_and_when_it_is_read(tmp_path, name, value, sentence):
    record = changed(some()[0], name, value)
    with pytest.raises(ValueError, match=f"^record of {record['run_id']}: {re.escape(sentence)}") as written:
        check.check(record)
    path = tmp_path / "record.json"
    path.write_text(json.dumps(record))
    with pytest.raises(ValueError, match=f"^{re.escape(f'{path}: {sentence}')}") as read:
        check.read(path)
    assert str(read.value).endswith("; delete the file and run again")
    assert not any("\n" in str(error.value) for error in (written, read))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "not a readable record"),
        ("[1]", "not a record"),
        ("\xff", "not a readable record"),
        (json.dumps({"schema_version": 1}), "schema version 1, expected 2; measure it again in another results folder"),
        (json.dumps({"seed": 1}), "the field schema_version is missing"),
    ],
)
def test_a_file_that_is_no_record_is_named_with_its_problem(tmp_path, text, sentence):
    path = tmp_path / "runs" / "record.json"
    path.parent.mkdir()
    path.write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: {sentence}"):
        records.load(tmp_path)


@pytest.mark.parametrize(("evidence", "joules"), [("measured", 0.0), ("estimated", 0.0)])
def test_training_that_took_time_and_no_energy_cannot_be(evidence, joules):
    record = some()[0]
    record["energy"] |= {"evidence": evidence, "training_j": joules, "phases_j": {"train": joules}}
    with pytest.raises(ValueError, match="energy.training_j is 0 J over .* s, which cannot be"):
        check.check(record)


def test_a_hundred_thousand_records_are_checked_within_a_minute(tmp_path):
    path = write(some()[:1], tmp_path) / "runs"
    path = next(path.rglob("record.json"))
    check.read(path)
    started = time.process_time()
    for _ in range(200):
        check.read(path)
    assert (time.process_time() - started) * 500 < 60


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
    selected = selection.choose(runs, "quick", plan_of(made[4:]), tmp_path)
    assert len(selected.runs) == 5 and selected.planned == 6
    assert [(run["label"], run["seed"]) for run in selected.missing] == [(made[-1]["label"], 1)]


def test_without_a_plan_the_suite_chooses(tmp_path):
    made = [r | {"suite": "other"} if r["seed"] else r for r in some()]
    runs = records.load(write(made, tmp_path))
    assert set(selection.choose(runs, "other", None, tmp_path).runs.seed) == {1}
    with pytest.raises(ValueError, match=r"is of the suite 'absent' \(there: other, quick\)"):
        selection.choose(runs, "absent", None, tmp_path)


def test_a_plan_that_nothing_fulfils_is_refused(tmp_path):
    runs = records.load(write(some(), tmp_path))
    plan = [run | {"run_id": "0" * 12} for run in plan_of(some())]
    with pytest.raises(ValueError, match="none of the 10 planned runs has a record"):
        selection.choose(runs, "quick", plan, tmp_path)


@pytest.mark.parametrize("content", ["", "{}", "[]", '[{"run_id": "a"}]'])
def test_a_plan_that_is_none_is_refused(tmp_path, content):
    path = tmp_path / "plan.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="^plan"):
        selection.read_plan(path)


def test_two_configurations_of_one_arm_are_refused(tmp_path):
    made = some()
    runs = records.load(write([*made, made[0] | {"run_id": "f" * 12}], tmp_path))
    with pytest.raises(ValueError, match="2 records of different configurations .* give a plan"):
        selection.choose(runs, "quick", None, tmp_path)


def test_machines_are_not_mixed(tmp_path):
    made = some()
    runs = records.load(write([*made, *[r | {"machine": "ffffffff"} for r in made[:3]]], tmp_path))
    selected = selection.choose(runs, "quick", None, tmp_path)
    assert set(selected.runs.machine) == {"a1b2c3d4"}
    assert selected.excluded == ["digits/mlp: 3 records of machine ffffffff, because a1b2c3d4 has 10"]


HEAVY = {"torch", "hundredfold.methods", "hundredfold.replication"}


def loaded(imports: str) -> str:
    code = f"import sys, {imports}; print(sorted({HEAVY} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_analysis_imports_neither_torch_nor_what_made_the_records():
    assert loaded("hundredfold.analysis.report, hundredfold.analysis.browse") == "[]"


def test_the_check_of_imports_can_fail():
    assert "hundredfold.methods" in loaded("hundredfold.methods")
