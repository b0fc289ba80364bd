"""The front of small dense networks, by hand."""

import math
import shutil

import pytest

from hundredfold.analysis import front, markers
from tests.record_factory import Arm
from tests.test_analysis_claims import load, made_of
from tests.test_readme import ROOT


def arms(tmp_path, *chosen, **options):
    (task,) = load(tmp_path, made_of(*chosen, noise=0.0, energy_noise=0.0, **options)).tasks
    return task, {arm.label: front.above(arm, task) for arm in task.arms}


def test_an_arm_halfway_between_two_dense_networks_is_measured_at_half_of_their_difference(tmp_path):
    small = Arm("dense_small", "dense_control", {"density": 0.25}, 16, -0.04)
    same = Arm("dsc", "neurons", {"density": 0.25}, 4, -0.02)  # a quarter of dense's energy, four times the small one's
    better = Arm("dsc", "neurons", {"density": 0.0625}, math.sqrt(16), -0.01)
    task, found = arms(tmp_path, small, same, better)
    assert found["dsc 0.25"].value == pytest.approx(0.0, abs=1e-3)
    assert found["dsc 0.0625"].value == pytest.approx(0.01, abs=1e-3)
    assert found["dense"].value == pytest.approx(0.0, abs=1e-9)


def test_there_is_no_front_beyond_the_networks_that_were_trained(tmp_path):
    small = Arm("dense_small", "dense_control", {"density": 0.25}, 4, -0.01)
    _, found = arms(tmp_path, small, Arm("dsc", "neurons", {"density": 0.25}, 9, -0.02))
    assert found["dsc 0.25"].value is None
    _, found = arms(tmp_path / "alone", Arm("dsc", "neurons", {"density": 0.25}, 2, -0.02))
    assert found["dsc 0.25"].value is None  # one network is no front
    simulated = Arm("rigl", "dynamic", {"density": 0.1}, 2, 0.0, simulated=True)
    _, found = arms(tmp_path / "zeros", small, simulated)
    assert found["rigl 0.1"].value is None


def test_less_loss_is_above_the_front(tmp_path):
    small = Arm("dense_small", "dense_control", {"density": 0.25}, 16, -0.04)
    better = Arm("dsc", "neurons", {"density": 0.25}, 4, 0.02)
    _, found = arms(tmp_path, small, better, tasks=["topics/gpt"])
    assert found["dsc 0.25"].value > 0


def test_the_page_is_that_of_the_published_study(tmp_path):
    page = ROOT / "docs" / "selection.md"
    copy = tmp_path / "selection.md"
    shutil.copyfile(page, copy)
    assert front.main([str(ROOT / "results" / "flagship" / "records.parquet"), str(copy)]) == 0
    assert copy.read_text() == page.read_text(), "run `make readme`"
    assert "above the front (points)" in page.read_text() and "above the front (nats)" in page.read_text()
    assert front.main(["nowhere.parquet", str(copy)]) == 2
    assert markers.insert(page.read_text(), "front", "") != page.read_text()
