"""What a page tells beside its claims, and what a plan tells before them."""

import json
import math

import numpy as np
import pytest

from hundredfold.analysis import calibrate, claims, power, records, report, summary, wording
from hundredfold.analysis.facts import lattice, sensitivity
from hundredfold.analysis.facts.checklist import checklist
from hundredfold.analysis.facts.footprint import footprint
from hundredfold.analysis.facts.profiles import profiles
from hundredfold.analysis.study import Study
from tests.record_factory import REALISTIC, Arm, plan_of, study, write

DENSE = Arm("dense", "dense")


def load(tmp_path, made):
    return Study(records.load(write(made, tmp_path)))


def answers(tmp_path, made, tuning=None):
    return {answer.inflation: answer for answer in checklist(load(tmp_path, made), tuning)}


def test_the_checklist_answers_from_the_records(tmp_path):
    found = answers(tmp_path, study(), "3 trials")
    assert found["A weak dense baseline"].word == "yes" and "topics/gpt" in found["A weak dense baseline"].reason
    assert found["Search or pre-training left out"].word == "yes"  # dsc_frozen
    assert found["Other code"].word == "no" and found["Tuning left out"].reason == "3 trials"
    assert found["Easy tasks only"].reason.startswith("4 tasks")


def test_the_checklist_notices_what_is_wrong(tmp_path):
    made = study([DENSE, Arm("mine", "selective", {"density": 0.5})], ["digits/mlp"])
    for one in made:
        one["quality"]["test"]["accuracy"] -= 0.05
        if one["method"] == "mine":
            one["steps"] = 600
            one["environment"]["device_key"] = "e" * 12
        else:
            one["quality"]["curve"][-1]["fraction"] = 0.5
    words = {name: answer.word for name, answer in answers(tmp_path, made).items()}
    wrong = ("A weak dense baseline", "Dense compared in mid-schedule", "Other hardware", "One operating point",
             "Cheaper steps, but more of them")  # fmt: skip
    assert [words[name] for name in wrong] == ["yes"] * 5


def test_sign_flips_are_all_signs():
    x = np.array([3.0, 1.0, 2.0])
    assert sensitivity.sign_flips(x) == 1 / 8
    assert sensitivity.sign_flips(np.array([3.0, -1.0])) == 2 / 4
    assert sensitivity.sign_flips(-x) == 1.0


def test_a_comparison_is_decided_otherwise_too(tmp_path):
    weak = Arm("dense", "dense", {"n": 1}, 0.5, -0.03, label="dense weak")
    made = study([DENSE, weak, Arm("dsc", "neurons", {"density": 0.25}, 2.0, -0.01)], ["digits/mlp"], noise=0.002)
    (task,) = load(tmp_path, made).tasks
    table = sensitivity.sensitivity(task, ["dsc"]).set_index("Figure")
    ratio, better = table.loc["E dense / E"], table.loc["better by"]
    assert ratio["As decided"].startswith("2.0") and ratio["Over the weakest dense arm"].startswith("3.99")
    assert better["Over the weakest dense arm"].startswith("+2.") and ratio[sensitivity.TITLES[5]].startswith("0.031")
    assert "n = 4" in ratio["Without its most extreme seed"]


def test_shares_of_a_lattice_are_shapleys(tmp_path):
    both = {frozenset(): 0.0, frozenset("a"): 1.0, frozenset("b"): 2.0, frozenset("ab"): 4.0}
    assert lattice.shares(both) == {"a": 1.5, "b": 2.5}  # each alone, and half of what they have together
    savings = {"a": 2, "b": 3, "a + b": 12, "c + a": 2}
    arms = [DENSE, *(Arm("m", "selective", {"n": name}, s, label=name) for name, s in savings.items())]
    (task,) = load(tmp_path, study(arms, ["digits/mlp"], energy_noise=0.0)).tasks
    table = lattice.table(task)
    assert list(table.Together) == ["a + b"] * 2 and list(table.Part) == ["a", "b"]
    factors = [float(text.removesuffix("x")) for text in table["Its factor"]]
    assert math.prod(factors) == pytest.approx(12, rel=0.01)


def test_profiles_need_eight_tasks(tmp_path):
    few = load(tmp_path / "few", study([DENSE, Arm("dsc", "neurons", {"density": 0.5}, 2.5, 0.01)]))
    assert profiles(few).empty
    made = []
    for i in range(8):
        for one in study([DENSE, Arm("dsc", "neurons", {"density": 0.5}, 4.0 if i < 2 else 1.2, 0.01)], ["digits/mlp"]):
            made.append(one | {"task": f"digits/mlp {i}", "run_id": f"{i}{one['run_id'][1:]}"})
    table = profiles(load(tmp_path / "many", made)).set_index("Method")
    assert list(table.loc["dsc"]) == ["8 of 8", "100 %", "25 %", "25 %", "25 %", "0 %", "0 %"]


def test_carbon_is_joules_times_a_constant(tmp_path):
    made = load(tmp_path, study([DENSE], ["digits/mlp"])).runs
    joules = sum(sum(phases.values()) for phases in made.phases_j)
    assert footprint(made).startswith(f"{joules / 3.6e6 * 480:.3g}"[:4])


def test_a_plan_says_what_its_seeds_can_show(tmp_path):
    made = study(REALISTIC, ["digits/mlp"], noise=0.004)
    report.build(write(made, tmp_path / "r"), tmp_path / "published" / "quick", "quick", plan_of(made))
    tasks = power.published_tasks(["digits/mlp", "digits/vit", "topics/gpt"], tmp_path / "published")
    known, one, unknown = power.plan({"digits/mlp": 5, "digits/vit": 1, "topics/gpt": 3}, tasks)
    assert "5 seeds show" in known and "points and a ratio of" in known and "half a point would take" in known
    assert one == "digits/vit: one seed decides nothing" and "no published runs" in unknown
    more = power.plan({"digits/mlp": 20}, tasks)[0]
    assert float(more.split("show ")[1].split()[0]) < float(known.split("show ")[1].split()[0]) / 2


@pytest.mark.parametrize("world", calibrate.WORLDS)
def test_a_made_up_study_is_judged_whole(world):
    found = calibrate.once((world, 3, 0))
    assert set(found["alone"]) == set(calibrate.WORLDS[world][1]) and isinstance(found["page"], bool)


def test_the_simulation_notices_intervals_that_are_too_narrow(monkeypatch):
    def narrow(found, confidence=0.95):
        return calibrate.statistics.Interval(found.mean - found.se, found.mean + found.se)

    monkeypatch.setattr(calibrate.statistics.Sample, "interval", narrow)
    found = [calibrate.once(("nothing changes", 3, number)) for number in range(25)]
    assert "energy covered" in calibrate._summary("nothing changes", 3, found)["off"]


def test_the_answer_names_the_least_energy_at_no_loss_and_its_rival(tmp_path):
    small = Arm("dense_small", "dense_control", {"density": 0.25}, 4.0, -0.003)
    dsc = [Arm("dsc", "neurons", {"density": d}, s, g) for d, s, g in ((0.25, 2.0, 0.001), (0.0625, 9.0, -0.04))]
    made = study([DENSE, *dsc, small], ["digits/mlp"], noise=0.0005, energy_noise=0.001)
    verdicts = [wording.as_data(verdict) for verdict in claims.judge(load(tmp_path, made))]
    text = summary.answer(verdicts)
    assert "or 0.01 nats) was 2x" in text and "small dense network saves 4x at −0.3" in text
    matrix = summary.matrix(json.loads(json.dumps(verdicts)))
    (row,) = [line for line in matrix.splitlines() if line.startswith("| digits/mlp | dsc 0.0625")]
    assert "n = 5" in row and row.count("[") == 4  # its own two figures and the small network's


def test_a_plan_says_how_much_could_be_saved(tmp_path):
    made = study(REALISTIC, ["digits/mlp"])
    report.build(write(made, tmp_path / "r"), tmp_path / "published" / "quick", "quick", plan_of(made))
    tasks = power.published_tasks(["digits/mlp"], tmp_path / "published")
    told = power.ceilings(tasks)["digits/mlp"]
    arms = {arm.label: arm for arm in tasks["digits/mlp"].arms}
    dense, small = arms["dense"], arms["dense_small 0.03125"]
    assert float(told.split("more than ")[1].split("x")[0]) > dense.energy.value / small.energy.value


def test_a_study_of_dense_networks_says_what_they_reached(tmp_path):
    made = [DENSE, Arm("dense", "dense", replicate=1)]
    made.append(Arm("dense_short", "dense_control", {"duration": 0.5}, 2.0, -0.01))
    report.build(write(study(made, ["digits/mlp", "topics/gpt"]), tmp_path / "r"), tmp_path / "o", "quick")
    told = (tmp_path / "o" / "answer.md").read_text()
    assert told.startswith("No method is judged here. The best dense networks reached 95.")
    assert "% on digits/mlp with" in told and "nats on topics/gpt with" in told
    assert "Energy of dense over the same runs once more: 1.00x [" in told
    assert "Energy of dense over shorter runs: 2.00x [" in told and "for dense_short on topics/gpt" in told
