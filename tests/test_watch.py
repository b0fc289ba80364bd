"""A counter that steps, lags and wraps nothing is described as it is; the idle baseline is measured once."""

import itertools

import pytest

from hundredfold.replication import record
from hundredfold.replication.energy import watch
from hundredfold.replication.energy.command import metered
from hundredfold.replication.energy.cotenants import CoTenants
from hundredfold.replication.energy.sources import Estimate, Source


def stepping(watts, step, seconds=2.0, read=0.01):
    """Reads of a counter that shows the joules of the last step's end."""
    times = [i * read for i in range(round(seconds / read) + 1)]
    return [(t, watts * step * int(t / step + 1e-9)) for t in times]


def test_a_stepping_counter_is_described_by_its_step_and_watts():
    found = watch.behaviour(Source(), stepping(20.0, 0.1), stepping(100.0, 0.1))
    assert found.step_s == pytest.approx(0.1, rel=0.05) and found.read_s < 1e-3
    assert found.idle_w == pytest.approx(20.0) and found.busy_w == pytest.approx(100.0)
    assert found.lag_s == pytest.approx(0.1, abs=0.011)


def test_a_counter_that_lags_is_found_out():
    late = [(t, joules) for t, joules in stepping(100.0, 0.1)]
    late = [(t, 20.0 * t if t < 0.5 else 10.0 + 100.0 * (t - 0.5)) for t, _ in late]
    found = watch.behaviour(Source(), stepping(20.0, 0.1), late)
    assert 0.49 < found.lag_s < 0.55


def test_a_counter_that_stands_still_has_no_watts():
    still = [(t / 10, 5.0) for t in range(10)]
    found = watch.behaviour(Source(), still, still)
    assert found[1:] == (None, None, None, None)


def test_bins_add_up_to_the_whole():
    trace = stepping(30.0, 0.05)
    parts = watch.bins(trace, 4)
    assert len(parts) == 4 and sum(parts) / 4 == pytest.approx(watch.mean_watts(trace))


class Counter(Estimate):
    """A measured counter of 50 W by the clock."""

    def __post_init__(self):
        super().__post_init__()
        self.name, self.evidence, self.clock = "rapl", "measured", itertools.count()

    def joules(self):
        return 0.05 * next(self.clock)


def test_the_watts_at_rest_are_measured_once_between_two_starts(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(record, "IDLE_S", 0.05)
    first = record.at_rest(Counter(), tmp_path)
    assert first.idle_w > 0 and 0 < first.step_s < 0.05 and "Measuring the watts at rest" in capsys.readouterr().err
    assert record.at_rest(Counter(), tmp_path) == first and capsys.readouterr().err == ""
    monkeypatch.setattr(record, "boot", lambda: "00000000")
    assert record.at_rest(Counter(), tmp_path).idle_w is not None and capsys.readouterr().err
    assert record.at_rest(Estimate(), tmp_path) == (None, None)


def test_the_cores_that_all_else_kept_busy_leave_out_this_process(monkeypatch):
    clock = iter([(100.0, 10.0, 0.0), (109.0, 12.0, 4.0)])  # of the machine, of this process, of the wall
    monkeypatch.setattr(CoTenants, "_now", lambda self: next(clock))
    assert CoTenants().cores() == (9.0 - 2.0) / 4.0


def test_the_meter_draws_rest_and_work_and_says_how_to_get_more(capsys):
    assert metered((), "estimate", "cpu", 0.4) == 0
    told = capsys.readouterr().err
    assert told.count(" W  ") == 20 and told.count(" s  rest ") == told.count(" s  work ") == 10
    assert "A read takes" in told and "To measure:" in told


def test_a_source_without_joules_is_not_watched(capsys):
    assert metered((), "none", "cpu", 0.4) == 0
    assert "Watching" not in capsys.readouterr().err


def test_seconds_that_cannot_be_are_refused(command):
    code, _, err = command("meter", "--seconds", "0")
    assert code == 2 and "0.1" in err
