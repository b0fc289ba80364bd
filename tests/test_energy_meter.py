import copy
import subprocess
import sys
import time

import pytest

from hundredfold.replication.energy.ledger import Ledger
from hundredfold.replication.energy.meter import Meter
from hundredfold.replication.energy.sources import Source, choose


class Clock(Source):
    """A source whose joules the test sets."""

    def __init__(self):
        super().__init__("")
        self.name, self.evidence, self.now = "estimate", "estimated", 0.0

    def joules(self):
        return self.now


def test_phases_are_exclusive_and_add_up(tmp_path):
    source = Clock()
    meter = Meter(source, Ledger(tmp_path / "energy.jsonl"))
    with meter.phase("train"):
        source.now += 1
        with meter.phase("select"):
            source.now += 2
        source.now += 4
    source.now += 8  # in no phase
    with meter.phase("eval"):
        source.now += 16
    totals = meter.totals()
    assert totals.phases_j == {"select": 2, "train": 5, "eval": 16} and totals.training_j == 7


def test_a_phase_too_short_for_the_counter_gets_joules_by_its_seconds(tmp_path):
    source = Clock()
    source.step_s = 0.01  # a stretch has to last 0.1 s
    meter = Meter(source, Ledger(tmp_path / "energy.jsonl"))
    with meter.phase("train"):
        for _ in range(3):
            time.sleep(0.15)
            source.now += 10
            with meter.phase("select"):
                time.sleep(0.02)  # draws as much, but the counter does not see it
        time.sleep(0.15)
    with meter.phase("eval"):
        time.sleep(0.15)
        source.now += 5
    totals = meter.totals()
    seconds, joules = totals.phases_s, totals.phases_j
    assert totals.by_seconds == ("select",) and totals.training_j == 30 and joules["eval"] == 5
    assert joules["train"] + joules["select"] == pytest.approx(30)
    assert joules["select"] / seconds["select"] == pytest.approx(joules["train"] / seconds["train"])
    source.step_s = 0.0
    assert meter.totals().by_seconds == () and meter.totals().phases_j["select"] == 0


def test_a_phase_is_closed_when_its_block_raises(tmp_path):
    source = Clock()
    meter = Meter(source, Ledger(tmp_path / "energy.jsonl"))
    with pytest.raises(KeyError), meter.phase("train"):
        source.now += 1
        raise KeyError
    source.now += 5
    assert meter.totals().training_j == 1


def attempt(path, begin=None):
    """A process that works on a run, on a source of its own; `begin` is what the checkpoint holds."""
    meter = Meter(Clock(), Ledger(path), heartbeat_s=0.0)
    if begin is not None:
        meter.resume(begin)
    return meter


def train(meter, joules, phase="train"):
    with meter.phase(phase):
        meter.source.now += joules


def test_steps_that_are_taken_again_are_drawn_and_not_charged_to_training(tmp_path):
    path = tmp_path / "energy.jsonl"
    first = attempt(path)
    train(first, 10)
    checkpoint = first.commit(10)
    train(first, 3)
    first.heartbeat(13)  # and then it is killed
    second = attempt(path, checkpoint)
    train(second, 15)
    train(second, 5, "select")
    train(second, 7, "eval")
    second.close()
    totals = second.totals()
    assert totals.training_j == 30 and second.ledger.num_segments() == 2
    assert totals.phases_j == {"train": 25, "select": 5, "eval": 7, "replayed": 3}
    assert totals.training_s == pytest.approx(sum(totals.phases_s[name] for name in ("train", "select")))


def test_a_run_that_begins_anew_is_charged_for_nothing_before(tmp_path):
    path = tmp_path / "energy.jsonl"
    first = attempt(path)
    train(first, 10)
    first.heartbeat(10)  # killed before any checkpoint
    second = attempt(path)
    train(second, 20)
    assert second.totals().training_j == 20 and second.totals().phases_j["replayed"] == 10


def test_every_attempt_adds_what_its_checkpoint_holds(tmp_path):
    path, checkpoint = tmp_path / "energy.jsonl", None
    for _ in range(3):
        meter = attempt(path, checkpoint)
        train(meter, 10)
        checkpoint = meter.commit(1)
        train(meter, 1)
        meter.heartbeat(2)
    meter = attempt(path, checkpoint)
    assert meter.totals().training_j == 30 and meter.totals().phases_j["replayed"] == 3


def test_joules_are_refused_where_the_ledger_knows_less_than_the_checkpoint(tmp_path):
    path = tmp_path / "energy.jsonl"
    first = attempt(path)
    train(first, 10)
    checkpoint = first.commit(10)
    path.write_bytes(path.read_bytes()[:-20])
    second = attempt(path, checkpoint)
    totals = second.totals()
    assert totals.training_j is None and totals.training_s > 0
    assert second.source.reason.startswith("The ledger knows less than the checkpoint")


@pytest.mark.parametrize("content", [None, b"", b"no ledger\n"])
def test_joules_are_refused_where_an_attempt_is_not_in_the_ledger(tmp_path, content):
    path = tmp_path / "energy.jsonl"
    train(attempt(path), 10)
    path.unlink(missing_ok=True) if content is None else path.write_bytes(content)
    meter = Meter(Clock(), Ledger(path), attempts=1)
    assert meter.totals().phases_j is None and "0 of 1 earlier attempts" in meter.source.reason


def test_the_heart_beats_through_a_phase_that_says_nothing(tmp_path):
    path = tmp_path / "energy.jsonl"
    meter = Meter(Clock(), Ledger(path), heartbeat_s=0.02)
    with meter.beating(), meter.phase("eval"):
        meter.source.now += 6
        time.sleep(0.2)
        inside = Ledger(path).earlier[-1]
    assert inside["phases"]["eval"][0] == 6 and not inside["closed"]
    assert Ledger(path).earlier[-1]["closed"]


def test_an_attempt_that_was_killed_counts_a_heartbeat_that_nobody_metered(tmp_path):
    path = tmp_path / "energy.jsonl"
    first = Meter(Clock(), Ledger(path), heartbeat_s=50.0)
    first.commit(1)  # and then it is killed
    second = Meter(Clock(), Ledger(path), heartbeat_s=50.0)
    assert second.totals().unmetered_fraction > 0.99
    with second.beating():
        pass
    assert [line["closed"] for line in Ledger(path).earlier] == [False, True]


def test_joules_of_attempts_with_different_sources_are_unknown_and_say_why(tmp_path):
    path = tmp_path / "energy.jsonl"
    first = attempt(path)
    train(first, 10)
    checkpoint = first.commit(10)
    for _ in range(2):  # also where a third attempt has the source of the second
        other = Clock()
        other.name, other.evidence = "rapl", "measured"
        meter = Meter(other, Ledger(path))
        meter.resume(checkpoint)
        with meter.phase("train"):
            other.now += 5
        meter.close()
        totals = meter.totals()
        assert totals.training_j is None and totals.phases_j is None and totals.training_s > 0
        assert (meter.source.name, meter.source.evidence) == ("none", "none")
        assert "estimate" in meter.source.reason and "whose joules do not add up" in meter.source.reason


def test_a_checkpoint_holds_the_training_that_led_to_it(tmp_path, monkeypatch):
    from hundredfold.methods.execution.session import Session
    from hundredfold.replication.composition import compose
    from hundredfold.replication.datasets.base import sealed
    from hundredfold.replication.module import TrainingModule

    target = compose(["model.widths=[8]", "recipe.steps=40", "recipe.batch_size=16", f"results={tmp_path}"])
    with sealed():
        splits = target.dataset.training()
    step = Session.step

    def module_of():
        """A module whose meter counts one joule per optimizer step."""
        meter = attempt(tmp_path / "energy.jsonl")
        module = TrainingModule(target, target.dataset.spec(), *splits, meter)

        def counted(session):
            meter.source.now += 1
            step(session)

        monkeypatch.setattr(Session, "step", counted)
        return module

    checkpoint = {}
    first = module_of()
    first.training_step((0, 10), 0)
    first.on_save_checkpoint(checkpoint)
    checkpoint = copy.deepcopy(checkpoint)  # as on the disk
    first.training_step((10, 30), 0)  # and then it is killed
    first.meter.heartbeat(30)
    second = module_of()
    second.on_load_checkpoint(checkpoint)
    second.training_step((10, 40), 0)
    assert [point["training_j"] for point in second.position.curve] == [10, 40]
    assert second.meter.totals().training_j == 40 and second.meter.totals().phases_j["replayed"] == 20


def test_a_torn_last_line_and_foreign_lines_are_passed_over(tmp_path):
    path = tmp_path / "energy.jsonl"
    source = Clock()
    meter = Meter(source, Ledger(path))
    with meter.phase("train"):
        source.now += 5
    meter.commit(1)
    with meter.phase("train"):
        source.now += 5
    meter.commit(2)
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])  # the last line is torn
    assert Meter(Clock(), Ledger(path)).totals().phases_j["replayed"] == 5
    path.write_bytes(whole + b'00000000 {"segment": 7, "phases": {}}\n\xff\xfe\n')
    assert Meter(Clock(), Ledger(path)).totals().phases_j["replayed"] == 10


def test_a_line_written_after_a_torn_one_is_whole(tmp_path):
    path = tmp_path / "energy.jsonl"
    path.write_bytes(b"deadbeef {torn")
    meter = Meter(Clock(), Ledger(path))
    with meter.phase("train"):
        meter.source.now += 4
    meter.close()
    assert Meter(Clock(), Ledger(path)).totals().phases_j["replayed"] == 4


def test_a_killed_process_loses_no_joule_up_to_its_last_heartbeat(tmp_path):
    path = tmp_path / "energy.jsonl"
    code = f"""
import os, signal
from pathlib import Path
from hundredfold.replication.energy.ledger import Ledger
from hundredfold.replication.energy.meter import Meter
from hundredfold.replication.energy.sources import Estimate
meter = Meter(Estimate(""), Ledger(Path({str(path)!r})), heartbeat_s=0.0)
with meter.phase("train"):
    sum(range(10**6))
    meter.heartbeat(1)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code])
    assert done.returncode == -9
    assert Meter(Clock(), Ledger(path)).totals().phases_j["replayed"] > 0


def test_no_source_gives_none_and_never_zero(tmp_path):
    meter = Meter(choose("none"), Ledger(tmp_path / "energy.jsonl"))
    with meter.phase("train"):
        sum(range(1000))
    meter.close()
    totals = meter.totals()
    assert totals.training_j is None and totals.phases_j is None and totals.training_cpu_s >= 0


def test_unmetered_time_is_told(tmp_path):
    meter = Meter(Clock(), Ledger(tmp_path / "energy.jsonl"))
    meter._start -= 9.0
    with meter.phase("train"):
        pass
    assert meter.totals().unmetered_fraction > 0.9
