"""Energy to a loss, whatever the model: made-up records on one text."""

import copy

import numpy as np
import pytest

from hundredfold.analysis import claims, frontier, records, report
from hundredfold.analysis.study import Study
from tests.record_factory import Arm, record, write


def run(model, joules, loss, seed=0, name="", **environment):
    """A record of `model` on the text of topics."""
    made = record(Arm("dense", "dense"), "topics/gpt", seed)
    made |= {"model": model, "task": f"topics/{model}", "label": f"dense{name}"}
    made["run_id"] = f"{hash((model, name, seed)) % 16**12:012x}"
    has = {"loss": loss, "context": "whole" if model == "mixing" else "carried"}
    made["quality"]["read_on"] = {split: read | has for split, read in made["quality"]["read_on"].items()}
    factor = joules / made["energy"]["training_j"]
    made["energy"]["training_j"] = joules
    made["energy"]["phases_j"] = {phase: value * factor for phase, value in made["energy"]["phases_j"].items()}
    made["environment"] |= environment
    return made


def text(tmp_path, made):
    study = Study(records.load(write(made, tmp_path)))
    (found,) = study.frontiers
    return study, found


NETWORKS = [run("gru", 100, 1.9), run("gru", 1000, 1.6, name=" recipe.steps=7"), run("lstm", 4000, 1.5)]


def test_the_rival_is_the_cheapest_dense_run_that_reaches_the_loss(tmp_path):
    _, found = text(tmp_path, [run("mixing", 2, 1.65), *NETWORKS])
    ratio = found.ratio(found.best_look_up)
    assert (ratio.text, ratio.bound) == ("500x", False)  # 1,000 J, though 1.65 lies between 1.9 and 1.6


def test_a_loss_that_no_run_reaches_gives_a_bound(tmp_path):
    study, found = text(tmp_path, [run("mixing", 5, 1.4), *NETWORKS])
    assert found.ratio(found.best_look_up).text == "more than 800x"
    assert "no dense network reached with up to 4,000 J (more than 800x)" in frontier.finding(found)
    assert [point.name for point in found.envelope] == ["gru", "gru steps=7", "lstm"]


def test_the_arm_is_the_look_up_that_is_best_on_validation_whatever_its_test_loss(tmp_path):
    other = run("mixing", 6, 1.45, name=" model.window=400")
    other["quality"]["read_on"]["validation"]["loss"] = 1.3
    _, found = text(tmp_path, [run("mixing", 5, 1.4), other, *NETWORKS])
    assert found.best_look_up.name == "mixing window=400"
    assert "mixing window=400 reached 1.4500" in frontier.finding(found)


CASES = {  # joules and loss of the arm, what the claim says
    "the best network below a hundredfold stays above": (5, 1.4, "supported"),
    "it reaches the loss": (5, 1.75, "refuted"),
    "no network costs a hundredfold": (90, 1.2, "not measured"),
    "none does, but one of one seed reaches the loss": (90, 1.4, "inconclusive"),
    "every network costs more": (0.5, 1.4, "not measured"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_claim_is_about_the_best_network_that_costs_less_than_a_hundredfold(tmp_path, case):
    joules, loss, word = CASES[case]
    networks = [run("gru", 300, 1.7 + seed / 100, seed) for seed in range(3)]
    networks += [run("gru", 100, 1.9, seed, " recipe.steps=7") for seed in range(3)]
    networks += [run("lstm", 4000, 1.3)]  # of the first arm it costs more than a hundredfold
    study, _ = text(tmp_path, [run("mixing", joules, loss), *networks])
    (verdict,) = claims.judge(study)
    assert (verdict.claim.name, verdict.word) == ("hundredfold_at_equal_loss", word)
    if word == "supported":
        assert verdict.best.against == "gru, 60x" and verdict.best.estimate.value == pytest.approx(0.31)
        assert verdict.caps == ("one held-out part of the text", "energy is a CPU-time proxy")


def test_what_looks_up_beside_a_network_is_no_arm_of_the_claim(tmp_path):
    joined = run("lstm", 300, 1.3, name=" memory averaged") | {"method": "memory"}
    _, found = text(tmp_path, [run("mixing", 5, 1.4), joined, *NETWORKS])
    assert found.best_look_up.name == "mixing" and len(found.look_ups) == 2
    assert found.ratio(found.look_ups[1]).text == "more than 13.3x"
    told = "Joined to a network, lstm memory averaged reached 1.3000 nats a token with 300 J, which no dense network"
    assert told in frontier.finding(found)


def test_without_a_dearer_network_only_one_that_reaches_the_loss_decides(tmp_path):
    for loss, name in ((1.65, "gru steps=7"), (1.4, None)):
        _, found = text(tmp_path / str(loss), [run("mixing", 50, loss), *NETWORKS[:2]])
        rival = found.deciding(found.best_look_up, 100)
        assert (rival and rival.name) == name


def test_the_deciding_network_is_chosen_on_validation(tmp_path):
    better, luckier = run("gru", 300, 1.7), run("gru", 310, 1.8, name=" recipe.steps=7")
    luckier["quality"]["read_on"]["test"]["loss"] = 1.5
    _, found = text(tmp_path, [run("mixing", 5, 1.4), better, luckier, run("lstm", 4000, 1.6)])
    assert found.deciding(found.best_look_up, 100).name == "gru"


@pytest.mark.parametrize(
    "change", [{"data_fingerprint": "0" * 12}, {"precision": "bfloat16"}, {"threads": 2}, {"device_key": "0" * 12}]
)
def test_a_network_of_another_setting_is_no_rival(tmp_path, change):
    study, found = text(tmp_path, [run("mixing", 5, 1.4), NETWORKS[0], run("lstm", 4000, 1.3, **change)])
    ratio = found.ratio(found.best_look_up)
    assert ratio.text == "more than 20.0x"
    assert next(iter(change)).replace("_", " ") in ratio.refused[0]


def test_unmetered_and_diverged_runs_are_left_out(tmp_path):
    lost = run("lstm", 4000, 1.3)
    lost["energy"]["unmetered_fraction"] = 0.5
    _, found = text(tmp_path, [run("mixing", 5, 1.4), NETWORKS[0], lost])
    assert [point.name for point in found.points] == ["mixing", "gru"]


def test_every_size_of_a_text_is_a_text_of_its_own(tmp_path):
    made = [run("mixing", 5, 1.4), *NETWORKS]
    smaller = copy.deepcopy(made)
    for one in smaller:
        one["config"]["dataset"]["characters"] = 1_100_000
        one["run_id"] = f"{int(one['run_id'], 16) ^ 1:012x}"
        one["label"] += " dataset.characters=1100000"
    study = Study(records.load(write(made + smaller, tmp_path)))
    assert [found.name for found in study.frontiers] == ["topics, 1.1 MB", "topics"]
    assert all(len(found.points) == 4 for found in study.frontiers)
    assert study.frontiers[0].best_look_up.name == "mixing"


def test_the_page_shows_the_finding_the_table_and_the_plot(tmp_path):
    results = write([run("mixing", 5, 1.4), *NETWORKS], tmp_path / "results")
    report.build(results, tmp_path / "report", "quick")
    page = (tmp_path / "report" / "report.html").read_text()
    assert "more than 800x" in page and "Energy to a loss, topics" in page and "not measured</span>" not in page
    assert (tmp_path / "report" / "plots" / "frontier-topics.png").stat().st_size > 10_000
    table = (tmp_path / "report" / "tables" / "frontier-topics.md").read_text()
    assert table.index("mixing *") < table.index("lstm") < table.index("gru")


def test_several_methods_each_get_every_verdict(tmp_path):
    arms = [Arm("dense", "dense"), Arm("dense", "dense", replicate=1)]
    arms += [Arm(name, "selective", {"density": 0.5}, 2.0, 0.0) for name in ("mine", "yours", "theirs")]
    noise = np.random.default_rng(0).lognormal(0, 0.01, (len(arms), 5))
    pairs = zip(arms, noise, strict=True)
    made = [record(arm, "digits/mlp", s, 0.001 * s, x) for arm, row in pairs for s, x in enumerate(row)]
    study = Study(records.load(write(made, tmp_path)))
    found = claims.judge(study)
    assert {v.claim.method for v in found if v.claim.by_method} == {"mine", "yours", "theirs"}
    assert sum(v.claim.name == "any_saving" and v.word == "supported" for v in found) == 3
    assert np.all([v.claim.method == "mine" for v in claims.judge(study, ["mine"]) if v.claim.by_method])


def test_folds_of_a_text_are_paired_and_stand_for_seeds(tmp_path):
    def made(model, joules, loss, fold):
        one = run(model, joules, loss + fold, name=f" dataset.fold={fold}")
        return one | {"config": one["config"] | {"dataset": {"characters": None, "fold": fold}}}

    both = [made(*arm, fold) for arm in (("mixing", 10, 1.4), ("lstm", 100, 1.5)) for fold in range(5)]
    both.append(made("gru", 5000, 1.5, 4))  # on one fold alone, which says nothing of the others
    _, found = text(tmp_path, both)
    mixing, lstm, _ = found.points
    assert found.ratio(mixing).text == "more than 10.0x" and found.deciding(mixing, 100) is None
    assert "with up to 100 J (more than 10.0x)" in frontier.finding(found)
    assert (mixing.name, len(mixing.runs), lstm.name, len(lstm.runs)) == ("mixing", 5, "lstm", 5)
    gap, refused = found.gap(mixing, lstm)
    assert gap.tolist() == pytest.approx([0.1] * 5) and refused == ()
    dear = [made("gru", 2000, 1.6, fold) for fold in range(5)]
    _, found = text(tmp_path / "dear", both[:-1] + dear)
    assert "the loss of the network of 10x less its own is +0.1000 nats" in frontier.finding(found)


def test_a_network_of_one_fold_is_compared_on_that_fold(tmp_path):
    def made(model, joules, loss, fold, name=""):
        one = run(model, joules, loss, name=f"{name} dataset.fold={fold}")
        return one | {"config": one["config"] | {"dataset": {"characters": None, "fold": fold}}}

    easy, hard = 1.0, 2.0  # losses of two folds
    arms = [made("mixing", 10, easy, 0), made("mixing", 10, hard, 1), made("lstm", 100, easy + 0.1, 0)]
    arms += [made("lstm", 100, hard + 0.1, 1), made("lstm", 2000, hard - 0.1, 1, " recipe.steps=7")]
    _, found = text(tmp_path, arms)
    assert found.ratio(found.best_look_up).text == "200x"  # though 1.9 is above the mean of both folds
    assert found.best_dense.name == "lstm"  # the one that was tried on both


def with_cache(made):
    read = {"cache": {"sharpness": 0.4, "share": 0.1, "loss_without": 1.62}}
    made["quality"]["read_on"] = {split: found | read for split, found in made["quality"]["read_on"].items()}
    return made


@pytest.mark.parametrize("kept", [False, True])
def test_a_window_is_held_against_networks_that_keep_a_cache(tmp_path, kept):
    arm = run("mixing", 5, 1.4)
    arm["config"] = arm["config"] | {"model": {"name": "mixing", "window": 2000}}
    networks = [NETWORKS[0], copy.deepcopy(NETWORKS[2])]
    study, found = text(tmp_path, [arm, *(map(with_cache, networks[1:]) if kept else networks[1:]), networks[0]])
    (verdict,) = claims.judge(study)
    words = "no network keeps a cache of what it has just read, as the arm does"
    assert (words in verdict.caps) is not kept
    table = frontier.table(found).set_index("Arm")
    assert ("Without its cache" in table) is kept
    assert ("1 of them with a cache of their last states" in frontier.conditions(found)) is kept
    if kept:
        assert (table["Without its cache"]["lstm"], table["Without its cache"]["gru"]) == ("1.6200", "–")
