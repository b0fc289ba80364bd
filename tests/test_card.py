"""The first minutes on a GPU, tried out where there is none: every step has a limit and leaves a line."""

import json
import sys

import pytest

from hundredfold.replication.benchmark import card, killed
from hundredfold.replication.benchmark.card import Step, perform, steps


def python(code, limit=60.0):
    return perform(Step("facts", "x", limit, (sys.executable, "-c", code)))


def test_a_step_leaves_its_exit_code_and_its_last_line():
    assert (python("print(1); print(2)")["code"], python("print(1); print(2)")["said"]) == (0, "2")
    failed = python("import sys; print('fine'); sys.exit('broken')")
    assert (failed["code"], failed["said"]) == (1, "broken")


def test_a_step_that_takes_too_long_is_stopped_and_a_missing_program_is_told():
    slow = python("import time; time.sleep(60)", limit=0.5)
    assert slow["code"] is None and "stopped after its 0.5 seconds" in slow["said"] and slow["seconds"] < 20
    assert "no such program" in perform(Step("facts", "x", 5, ("no-such-program",)))["said"]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_block_has_steps_that_fit_into_25_minutes(device, tmp_path):
    found = list(steps(device, tmp_path))
    assert {step.block for step in found} == set(card.BLOCKS)
    assert sum(step.limit_s for step in found) <= 25 * 60
    assert all(sum(s.limit_s for s in found if s.block == block) <= 600 for block in card.BLOCKS)


def test_the_table_is_saved_after_every_step(tmp_path, monkeypatch, command):
    few = [Step("facts", "a", 30, (sys.executable, "-c", "print('ok')")), Step("facts", "b", 30, ("no-such-program",))]
    monkeypatch.setattr(card, "steps", lambda device, output: iter(few))
    code, out, _ = command("card", "facts", "--device", "cpu", "--output", str(tmp_path / "gpu"))
    rows = json.loads((tmp_path / "gpu" / "card.json").read_text())["rows"]
    assert code == 1 and [(row["step"], row["code"]) for row in rows] == [("a", 0), ("b", None)]
    assert "2 steps on cpu" in out and str(tmp_path / "gpu" / "card.json") in out.replace("\n", "")


def test_mistakes_are_answered_before_anything_is_written(tmp_path, command):
    code, _, err = command("card", "warmth", "--device", "cpu", "--output", str(tmp_path / "gpu"))
    assert code == 2 and "no such block; choose any of facts, runs, kernels" in err
    assert not (tmp_path / "gpu").exists()


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_weights(capsys):
    assert killed.main(["dataset=digits", "model=mlp", "model.widths=[16]", "recipe.batch_size=16"]) == 0
    assert "resumed after a kill; the weights are bitwise the same" in capsys.readouterr().out
