import base64
import dataclasses

import numpy as np
import pandas as pd
import pytest

from hundredfold.analysis import claims, front, records, tables, wording
from hundredfold.analysis.facts import provenance
from hundredfold.analysis.statistics import geometric_mean, mean
from hundredfold.analysis.study import Study
from tests.record_factory import (
    CODE,
    REALISTIC,
    TASKS,
    Arm,
    charged,
    diverged,
    failed,
    interrupted,
    study,
    unmetered,
    write,
)

DENSE = [arm for arm in REALISTIC if arm.method == "dense"]
MEASURED = {"source": "rapl", "evidence": "measured", "domains": ["package-0"]}


def dsc(saving=5.0, gain=0.0, density=0.0625, **options):
    return Arm("dsc", "neurons", {"density": density}, saving, gain, **options)


def small(saving=8.0, gain=-0.01, density=0.0625):
    return Arm("dense_small", "dense_control", {"density": density}, saving, gain)


def load(tmp_path, made):
    return Study(records.load(write(made, tmp_path)))


def judged(tmp_path, made):
    """Verdict of each claim on the only task; name -> verdict."""
    return {verdict.claim.name: verdict for verdict in claims.judge(load(tmp_path, made))}


def arm(study_, label):
    """An arm of the only task."""
    return next(arm for arm in study_.tasks[0].arms if arm.label == label)


def made_of(*chosen, tasks=("digits/mlp",), seeds=5, noise=0.002, energy_noise=0.02, control=True, **energy):
    dense = DENSE if control else DENSE[:1]
    return study([*dense, *chosen], tasks, seeds, noise, energy_noise, **(MEASURED | energy))


def verdicts(tmp_path, *chosen, **options):
    return judged(tmp_path, made_of(*chosen, **options))


def test_a_true_hundredfold_with_three_points_is_supported(tmp_path):
    found = verdicts(tmp_path, dsc(120, 0.03), small(110, 0.0), noise=0.001)
    words = {name: found[name].text for name in ("both_at_once", "energy_100x", "accuracy_gain", "any_saving")}
    assert set(words.values()) == {"supported"}
    best = found["energy_100x"].best
    assert best.estimate.value == pytest.approx(120, rel=0.1)
    assert best.rival.estimate.value == pytest.approx(110, rel=0.1)


@pytest.mark.parametrize("task", TASKS)
def test_a_fivefold_saving_without_a_gain_is_refuted(tmp_path, task):
    found = verdicts(tmp_path, dsc(5, -0.01), tasks=[task])
    for name in ("both_at_once", "energy_100x", "accuracy_gain", "no_accuracy_lost"):
        expected = "not reachable here" if name in ("both_at_once", "energy_100x") else "refuted"
        assert found[name].word == expected, name
        assert found[name].caps == (() if task.startswith("digits") else ("the dense baseline is not certified",))
    assert found["any_saving"].word == "supported"


def test_one_half_of_the_claim_does_not_support_it(tmp_path):
    found = verdicts(tmp_path, dsc(150, 0.0))
    assert found["energy_100x"].word == "supported" and found["both_at_once"].word == "refuted"


def test_two_arms_with_one_half_each_do_not_support_the_whole(tmp_path):
    found = verdicts(tmp_path, dsc(150, 0.0), dsc(2, 0.03, density=0.25), noise=0.001)
    assert found["energy_100x"].word == found["accuracy_gain"].word == "supported"
    assert found["both_at_once"].word == "refuted"


def test_noise_is_inconclusive_and_says_how_many_seeds_would_decide(tmp_path):
    found = verdicts(tmp_path, dsc(100, 0.02), noise=0.02, energy_noise=0.4)
    for name in ("both_at_once", "energy_100x", "accuracy_gain"):
        assert found[name].text == "inconclusive", name
        assert "More seeds: " in wording.would_change(found[name])


def test_without_data_nothing_is_measured(tmp_path):
    found = verdicts(tmp_path)
    assert {verdict.text for verdict in found.values()} == {"not measured"}
    assert wording.figure(found["energy_100x"].best) == "not measured"


def test_a_simulated_arm_never_has_a_ratio(tmp_path):
    found = load(tmp_path, made_of(dsc(200, 0.03, simulated=True), small()))
    verdict = {v.claim.name: v for v in claims.judge(found)}
    assert verdict["energy_100x"].text == "not measured" and verdict["both_at_once"].word != "supported"
    assert len(arm(found, "dsc 0.0625").energy_pairs(arm(found, "dense")).arm) == 0
    (task,) = found.tasks
    table = tables.table(task).set_index("arm")
    cells = table.loc["dsc 0.0625", ["energy_j", "energy_j_low", "energy_ratio", "energy_ratio_high", "cpu_s"]]
    assert cells.isna().all()
    shown = tables.formatted(task).set_index("Arm").loc["dsc 0.0625 (simulated)"]
    assert shown["E dense / E"] == shown["CPU (s)"] == shown.filter(like="Energy").iloc[0] == "–"


@pytest.mark.parametrize(
    ("block", "field", "value", "reason"),
    [
        ("energy", "evidence", "estimated", "evidence differs (estimated against measured)"),
        ("energy", "source", "zeus-gpu", "source differs (zeus-gpu against rapl)"),
        ("energy", "domains", ["gpu0"], "domains differs (gpu0 against package-0)"),
        ("environment", "device_key", "e" * 12, "device key differs"),
        ("environment", "boot", "a" * 8, "boot differs (aaaaaaaa against bbbbbbbb)"),
        ("environment", "load_average", 37.0, "dsc 0.0625: 37.0 processes held its 2 cores"),
        ("energy", "unmetered_fraction", 0.03, "3.0% of the run was outside the meter"),
    ],
)
def test_energies_that_do_not_agree_are_not_divided(tmp_path, block, field, value, reason):
    made = made_of(dsc())
    for one in made:
        if one["method"] == "dsc":
            one[block][field] = value
    found = load(tmp_path, made)
    pairs = arm(found, "dsc 0.0625").energy_pairs(found.tasks[0].dense)
    assert len(pairs.arm) == 0 and reason in pairs.refused[0]
    assert claims.judge(found)[1].text == "not measured"


@pytest.mark.parametrize(
    ("block", "field", "value", "reason"),
    [
        ("environment", "data_fingerprint", "f" * 12, "data fingerprint differs (ffffffffffff against 0123456789ab)"),
        ("environment", "precision", "bfloat16", "precision differs (bfloat16 against float32)"),
        ("config", "budget", 0.01, "budget differs (0.01 against 1.0)"),
        ("quality.test", "num_examples", 36, "test examples differs (36.0 against 360.0)"),
        ("config", "recipe", {"steps": 3, "batch_size": 64}, "recipe.steps differs (3 against 300)"),
        ("config", "recipe", {"steps": 300, "batch_size": 8}, "recipe.batch_size differs (8 against 64)"),
        ("config", "dataset", {"characters": 90}, "dataset.characters differs (90 against None)"),
        ("record", "steps", 3, "number of steps differs (3 against 300)"),
        ("environment", "code", CODE | {"loop": "a" * 8}, "code of loop differs (aaaaaaaa against cccccccc)"),
        ("environment", "code", CODE | {"data": "a" * 8}, "code of data differs (aaaaaaaa against cccccccc)"),
        ("environment", "code", None, "the code of one of them is not known"),
    ],
)
def test_runs_of_another_task_are_compared_in_nothing(tmp_path, block, field, value, reason):
    made = made_of(dsc(150, 0.03), noise=0.001)
    for one in made:
        if one["method"] == "dsc":
            place = {"quality.test": one["quality"]["test"], "record": one}.get(block) or one[block]
            place[field] = value
    found = load(tmp_path, made)
    dense, flagship = found.tasks[0].dense, arm(found, "dsc 0.0625")
    for pairs in (flagship.energy_pairs(dense), flagship.pairs(dense, "test_accuracy")):
        assert len(pairs.arm) == 0 and reason in pairs.refused
    assert flagship.difference.value is None
    words = {verdict.claim.name: verdict.text for verdict in claims.judge(found)}
    assert words["both_at_once"] == words["energy_100x"] == words["accuracy_gain"] == "not measured"


@pytest.mark.parametrize("names", ["commit", "dirty"])
def test_where_no_parts_of_the_code_are_known_the_commit_decides(tmp_path, names):
    made = made_of(dsc(150, 0.03))
    for one in made:
        one["environment"]["code"] = None
        if one["method"] == "dsc":
            one["environment"][names] = {"commit": "f" * 40, "dirty": True}[names]
    pairs = arm(load(tmp_path, made), "dsc 0.0625").pairs(arm(load(tmp_path, made), "dense"), "test_accuracy")
    assert len(pairs.arm) == 0 and f"{names} differs" in pairs.refused[0]


@pytest.mark.parametrize("label", ["dsc recipe.steps=3", "dsc 0.0625"])
def test_a_setting_that_a_label_names_is_declared(tmp_path, label):
    made = made_of(dsc(150, 0.03))
    for one in made:
        if one["method"] == "dsc":
            one["label"], one["steps"] = label, 3
            one["config"] = one["config"] | {"recipe": {"steps": 3, "batch_size": 64}}
    found = load(tmp_path, made)
    pairs = arm(found, label).pairs(found.tasks[0].dense, "test_accuracy")
    assert len(pairs.arm) == (5 if "=" in label else 0)


def test_an_arm_of_two_versions_of_its_method_is_compared_with_no_twin_of_its_name(tmp_path):
    made = made_of(dsc())
    for one in made:
        if one["method"] == "dense" and one["replicate"] == 1:
            one["environment"]["code"] = one["environment"]["code"] | {"method": "a" * 8}
    (task,) = load(tmp_path, made).tasks
    assert task.control.ratio.value is None and "code of the method differs" in task.control.refused[0]


def test_an_interrupted_arm_is_not_charged_for_the_steps_it_took_again(tmp_path):
    made = made_of(dsc(5, -0.01), small())
    parts = [interrupted(r, 0.5 * (1 + r["seed"])) if r["method"] == "dsc" else r for r in made]
    whole, replayed = load(tmp_path / "whole", made), load(tmp_path / "replayed", parts)
    assert tables.table(whole.tasks[0]).equals(tables.table(replayed.tasks[0]))
    rows = [[v.rows for v in claims.judge(found)] for found in (whole, replayed)]
    assert rows[0] == rows[1]
    drawn = [dict(provenance.totals(found.runs, None))["Training, measured"] for found in (whole, replayed)]
    assert drawn[0] != drawn[1]  # what the study has cost is another question


def test_an_interrupted_run_whose_joules_are_unknown_is_refused_with_its_reason(tmp_path):
    reason = "Attempts were metered by estimate and rapl, whose joules do not add up."
    made = [unmetered(r, reason) if r["method"] == "dsc" and r["seed"] == 2 else r for r in made_of(dsc(5, -0.01))]
    found = load(tmp_path, made)
    pairs = arm(found, "dsc 0.0625").energy_pairs(found.tasks[0].dense)
    assert len(pairs.arm) == 4
    assert pairs.refused == (f"dsc 0.0625: energy was not measured ({reason.rstrip('.')})",)
    assert arm(found, "dsc 0.0625").quality.n == 5  # its accuracy counts


def test_a_control_that_was_refused_is_not_called_absent(tmp_path):
    made = made_of(dsc(5, -0.05))
    for one in made:
        one["energy"]["unmetered_fraction"] = 0.1
    found = judged(tmp_path, made)
    assert found["both_at_once"].word == "refuted"  # by its accuracy alone
    assert found["both_at_once"].caps == ("the dense-against-dense control cannot be used", "energy not measured")


def test_evidence_that_changes_between_seeds_is_not_averaged(tmp_path):
    made = made_of(dsc())
    for one in made:
        if one["seed"] == 0:
            one["energy"] |= {"evidence": "estimated", "source": "estimate"}
    found = load(tmp_path, made)
    pairs = arm(found, "dsc 0.0625").energy_pairs(found.tasks[0].dense)
    assert len(pairs.arm) == 0 and "evidence differs between seeds" in pairs.refused[-1]


def test_a_diverged_run_is_a_miss(tmp_path):
    made = made_of(dsc(150, 0.03), noise=0.001)
    made = [diverged(r) if r["method"] == "dsc" and r["seed"] == 1 else r for r in made]
    found = load(tmp_path, made)
    for verdict in claims.judge(found):
        assert verdict.word != "supported"
        if verdict.claim.name == "accuracy_gain":
            assert verdict.best.misses == 1 and "1 of 5 runs missed" in wording.figure(verdict.best)
            assert "count as misses" in wording.would_change(verdict)
    shown = tables.formatted(found.tasks[0]).set_index("Arm")
    assert "n = 4; 1 of 5 diverged" in shown.loc["dsc 0.0625", "Test accuracy (%)"]


def test_an_arm_that_always_diverges_refutes(tmp_path):
    made = [diverged(r) if r["method"] == "dsc" else r for r in made_of(dsc())]
    found = judged(tmp_path, made)
    assert found["accuracy_gain"].word == found["energy_100x"].word == "refuted"


def test_failed_runs_are_missing_and_not_misses(tmp_path):
    made = [failed(r) if r["method"] == "dsc" and r["seed"] == 1 else r for r in made_of(dsc(150, 0.03), noise=0.001)]
    found = judged(tmp_path, made)
    verdict = found["energy_100x"]
    assert verdict.text == "supported (indicative: 4 seeds, 5 needed)" and verdict.best.misses == 0


def test_a_verdict_of_an_arm_that_lost_many_runs_is_indicative(tmp_path):
    made = made_of(dsc(150, 0.03), noise=0.001, seeds=10)
    kept, lost = ([failed(r) if r["method"] == "dsc" and r["seed"] < n else r for r in made] for n in (2, 5))
    assert judged(tmp_path / "kept", kept)["energy_100x"].text == "supported"
    assert judged(tmp_path / "lost", lost)["energy_100x"].text == (
        "supported (indicative: 5 runs of dsc 0.0625 left out)"
    )


def test_a_saving_within_the_noise_of_dense_against_dense_is_indicative(tmp_path):
    made = made_of(dsc(1.15, 0.0), noise=0.0, energy_noise=0.001)
    factors = dict(enumerate((0.5, 1.9, 0.55, 1.8, 1.05)))
    noisy = [charged(r, factors[r["seed"]] * r["energy"]["training_j"]) if r["replicate"] == 1 else r for r in made]
    assert "x open, more than the effect" in judged(tmp_path / "noisy", noisy)["any_saving"].text
    assert "more than the effect" not in judged(tmp_path / "quiet", made)["any_saving"].text


@pytest.mark.parametrize(
    ("options", "cap"),
    [
        ({"seeds": 3}, "3 seeds, 5 needed"),
        ({"evidence": "estimated", "source": "estimate"}, "energy is a CPU-time proxy"),
        ({"evidence": "modeled", "source": "zeus-apple"}, "energy is modeled"),
        ({"control": False}, "no dense-against-dense control"),
    ],
)
def test_what_is_not_solid_is_indicative(tmp_path, options, cap):
    found = verdicts(tmp_path, dsc(5, -0.01), **options)
    assert found["energy_100x"].text == f"not reachable here (indicative: {cap})"
    accuracy_too = "seeds" in options
    assert (found["accuracy_gain"].text != "refuted") == accuracy_too
    assert "more than indicative" in wording.would_change(found["energy_100x"])


def test_a_control_that_excludes_one_caps_the_verdict(tmp_path):
    made = [charged(r, 1.2 * r["energy"]["training_j"]) if r["replicate"] == 1 else r for r in made_of(dsc(5))]
    found = judged(tmp_path, made)
    assert "the dense-against-dense control excludes 1" in found["any_saving"].caps


def test_one_seed_decides_nothing(tmp_path):
    found = verdicts(tmp_path, dsc(5, -0.01), seeds=1)
    assert found["energy_100x"].text == "inconclusive" and found["energy_100x"].best.estimate.interval is None
    assert "one seed has no interval" in wording.would_change(found["energy_100x"])


def test_seeds_that_all_agree_are_indicative(tmp_path):
    found = verdicts(tmp_path, dsc(5, 0.0), noise=0.0)
    assert found["accuracy_gain"].word == "inconclusive" and found["accuracy_gain"].p_refuted >= 0.5**5
    assert "all seeds gave the same figure" in found["accuracy_gain"].caps
    assert not any(v.p_supported == 0 or v.p_refuted == 0 for v in found.values())


def test_the_claim_is_corrected_for_arms_claims_and_tasks(tmp_path):
    alone = verdicts(tmp_path / "one", dsc(5, 0.03), noise=0.004)["accuracy_gain"]
    row = alone.rows[0]
    several = verdicts(tmp_path / "two", dsc(5, 0.03), dsc(4, 0.0, 0.25), noise=0.004)["accuracy_gain"]
    assert alone.p_supported > row.p_supported
    raw = min(r.p_supported for r in several.rows)
    assert several.p_supported >= min(1.0, 2 * raw)


def test_rows_are_the_statistics_of_the_records(tmp_path):
    made = made_of(dsc(5, -0.01), dsc(2, 0.0, 0.25))
    verdict = judged(tmp_path, made)
    joules = {(r["label"], r["replicate"]): [] for r in made}
    for one in made:
        joules[one["label"], one["replicate"]].append(one["energy"]["training_j"])
    expected = geometric_mean(np.array(joules["dense", 0]) / np.array(joules["dsc 0.0625", 0]))
    rows = {row.arm: row for row in verdict["energy_100x"].rows}
    assert rows["dsc 0.0625"].estimate.value == pytest.approx(expected.value)
    assert rows["dsc 0.0625"].estimate.interval == pytest.approx(expected.interval)


def test_loss_tasks_count_less_loss_as_better(tmp_path):
    found = verdicts(tmp_path, dsc(5, 0.03), tasks=["topics/gpt"])
    row = found["accuracy_gain"].best
    assert row.unit == "relative" and row.estimate.value == pytest.approx(0.09 / 2.1, rel=0.15)
    assert found["accuracy_gain"].word == "supported"
    assert row.sensitivity["next-token accuracy"][0] == pytest.approx(0.03, abs=0.01)


def twin(gain, regrow=0.3, label=None):
    return Arm("dsc_random", "control", {"density": 0.0625, "regrow": regrow}, 5, gain, twin_of="dsc", label=label)


def test_importance_is_judged_against_the_better_twin(tmp_path):
    better = twin(-0.01, 0, "dsc_random 0.0625 (leaving only)")
    found = verdicts(tmp_path, dsc(5, 0.0), twin(-0.05), better, noise=0.001)
    verdict = found["importance_matters"]
    assert verdict.rows[0].against == f"{better.label} (best of 2)" and verdict.word == "supported"
    assert verdict.best.estimate.value == pytest.approx(0.01, abs=0.002)


def test_a_twin_of_another_density_is_no_opponent(tmp_path):
    found = verdicts(tmp_path, dsc(5, 0.0, 0.25), twin(-0.05))
    assert found["importance_matters"].text == "not measured"


def test_dynamic_arms_meet_static_ones_of_their_density_even_if_simulated(tmp_path):
    def pruned(method, family, gain, density=0.1):
        return Arm(method, family, {"density": density}, 0.8, gain, simulated=True)

    arms_ = [pruned("rigl", "dynamic", 0.0), pruned("set", "dynamic", -0.02), pruned("snip", "static", -0.015),
             pruned("gmp", "static", -0.03), pruned("random_erk", "static", 0.01, 0.5)]  # fmt: skip
    verdict = verdicts(tmp_path, *arms_, noise=0.001)["dynamic_beats_static"]
    assert [(row.arm, row.against) for row in verdict.rows] == [("rigl 0.1 (best of 2)", "snip 0.1 (best of 2)")]
    assert verdict.text == "supported (indicative: 3 seeds, 5 needed)"  # two of the five have picked


def test_claims_are_frozen_and_have_different_names():
    found = claims.discover()
    assert len({claim.name for claim in found}) == len(found) == 16
    with pytest.raises(dataclasses.FrozenInstanceError):
        found[0].level = 0.5


def test_the_tables_numbers_are_the_statistics_in_full_precision(tmp_path):
    made = study(REALISTIC, ["digits/mlp"], 3)
    tables.write(load(tmp_path, made).tasks[0], tmp_path)
    written = pd.read_csv(tmp_path / "digits-mlp.csv").set_index("arm")
    for label, row in written.iterrows():
        accuracy = [r["quality"]["test"]["accuracy"] for r in made if r["label"] == label and r["replicate"] == 0]
        expected = mean(accuracy)
        figures = (row.quality, row.quality_low, row.quality_high)
        assert figures == pytest.approx((expected.value, *expected.interval), rel=1e-12)


def test_of_several_dense_arms_the_best_on_validation_is_the_yardstick(tmp_path):
    tuned = Arm("dense", "dense", {"rate": 0.01}, 1.0, 0.03, label="dense recipe.learning_rate=0.01")
    found = load(tmp_path, made_of(tuned, dsc(5)))
    assert found.tasks[0].dense.label == tuned.label
    assert found.tasks[0].control.ratio.value is None  # the repetitions are of the other one
    assert arm(found, "dsc 0.0625").difference.value == pytest.approx(-0.03, abs=0.01)
    assert "any_saving" in {verdict.claim.name for verdict in claims.judge(found)}


def test_what_no_arm_could_have_shown_is_not_called_refuted(tmp_path):
    """Kernels that skip 99.5 % could have saved a hundredfold; those that skip nothing could not."""
    made = made_of(dsc(5, -0.01))
    assert judged(tmp_path / "idle", made)["energy_100x"].word == "not reachable here"
    for one in made:
        if one["method"] == "dsc":
            one["flops"]["executed"] /= 200
            one["flops"]["ideal"] = one["flops"]["selection"] = 0.0
    assert judged(tmp_path / "busy", made)["energy_100x"].word == "refuted"


def test_a_small_dense_network_of_equal_energy_decides(tmp_path):
    """Both save five times the energy; one loses less than a dense network of that energy, the other more."""
    for gain, word in ((0.0, "supported"), (-0.03, "refuted")):
        found = verdicts(tmp_path / word, dsc(5, gain), small(8, -0.01), noise=0.001)
        assert found["above_small_dense"].word == word
        assert found["any_saving"].word == "supported"


def test_the_best_of_a_family_is_picked_on_other_seeds(tmp_path):
    made = made_of(*(dsc(2, 0.0, 0.1 + i / 10) for i in range(3)), noise=0.0)
    lucky = {0: "dsc 0.1", 1: "dsc 0.2", 2: "dsc 0.3"}
    for one in made:  # at its own seed each looks best by far
        if one["label"] == lucky.get(one["seed"]):
            one["quality"]["validation"]["accuracy"] = one["quality"]["test"]["accuracy"] = 0.99
    (task,) = load(tmp_path, made).tasks
    best = task.best_of_others(task.of_method("dsc"))
    assert list(best.runs) == [2, 3, 4] and best.label in ("dsc 0.1 (best of 3)", "dsc 0.2 (best of 3)")
    assert best.quality.value == pytest.approx(0.955)
    alone = task.best_of_others(task.of_method("dsc")[:1])
    assert len(alone.runs) == 5 and "best of" not in alone.label


def test_an_accuracy_counts_the_choice_of_the_test_set_too(tmp_path):
    made = made_of(dsc(2, 0.0), noise=0.0)
    generator = np.random.default_rng(0)
    difficult = generator.random(360)
    other = generator.random(360)
    for one in made:
        right = (other if one["method"] == "dsc" else difficult) + generator.normal(0, 0.1, 360) < 0.9
        one["quality"]["correct"] = base64.b64encode(np.packbits(right).tobytes()).decode()
        one["quality"]["test"]["accuracy"] = float(right.mean())
    (task,) = load(tmp_path, made).tasks
    flagship = task.of_method("dsc")[0]
    pairs = flagship.pairs(task.dense, "test_accuracy")
    both = flagship.over_examples(task.dense, pairs.seeds)
    assert both.mean == pytest.approx(np.mean(pairs.arm - pairs.baseline)) and both.n == 5
    assert flagship.difference.interval == both.interval()
    (verdict,) = (v for v in claims.judge(Study(task.runs)) if v.claim.name == "accuracy_gain")
    assert verdict.best.sample == both and both.se > np.std(pairs.arm - pairs.baseline, ddof=1) / 5**0.5


@pytest.mark.parametrize(("quality", "ratio"), [(0.0, 1.0), (-0.002, 3.1), (-0.005, 5.04)])
def test_energy_at_equal_quality_is_read_off_the_dense_front(tmp_path, quality, ratio):
    made = made_of(small(3.1, -0.002, 0.25), small(8.2, -0.008), dsc(10, quality), noise=0.0, energy_noise=0.0)
    (task,) = load(tmp_path, made).tasks
    values, refused = front.savings(task.of_method("dsc")[0], task)
    assert not refused and values == pytest.approx(10 / ratio, rel=0.01)


def test_an_arm_that_no_dense_network_equals_is_not_read_off_the_front(tmp_path):
    made = made_of(small(), dsc(10, 0.01), noise=0.0)
    (task,) = load(tmp_path, made).tasks
    values, refused = front.savings(task.of_method("dsc")[0], task)
    assert not len(values) and refused == ("dsc 0.0625: no dense network reaches its quality",)


def test_a_target_that_is_not_reached_is_a_miss(tmp_path):
    made = made_of(dsc(10, -0.05), noise=0.001)
    found = judged(tmp_path, made)["energy_to_target"]
    assert found.best.misses == 5 and found.word == "refuted" and "5 of 5 runs missed" in wording.figure(found.best)
    assert judged(tmp_path / "there", made_of(dsc(10, 0.0), noise=0.001))["energy_to_target"].word == "supported"


def test_a_sentence_about_all_transformers_needs_all_of_them(tmp_path):
    tasks = ("digits/vit", "topics/gpt", "topics/llama")
    word = {}
    for name, some in {"all": tasks, "two": tasks[:2]}.items():
        found = judged(tmp_path / name, made_of(dsc(3, 0.02), tasks=some, noise=0.001))["transformers"]
        word[name] = found.word
    assert word == {"all": "supported", "two": "inconclusive"}


@pytest.mark.parametrize(("test_j", "word"), [(0.5, "supported"), (2.0, "refuted")])
def test_deployment_is_judged_by_the_joules_of_predicting(tmp_path, test_j, word):
    made = made_of(dsc(2, 0.0))
    for one in made:
        if one["method"] == "dsc":
            one["energy"]["phases_j"]["test"] = test_j * 0.04 * (1 + 0.01 * one["seed"])
    assert judged(tmp_path, made)["cheaper_deployment"].word == word


def test_every_claim_is_written_down_and_a_younger_one_is_indicative(tmp_path):
    assert all(claim.written for claim in claims.discover()), "python -m hundredfold.analysis.claims writes them down"
    made = made_of(dsc(5, -0.01))
    for one in made:
        one["environment"]["started"] = "2026-05-01T10:00:00+00:00"
    cap = "the claim is of 2026-11-25, the first run of 2026-05-01"
    assert judged(tmp_path, made)["any_saving"].caps == (cap,)


def test_a_claim_that_says_something_else_is_another_one():
    claim = next(claim for claim in claims.discover() if claim.name == "any_saving")
    assert dataclasses.replace(claim, method="rigl", order=3).identity == claim.identity
    assert dataclasses.replace(claim, level=0.1).identity != claim.identity
    assert dataclasses.replace(claim, level=0.1).written is None


@pytest.mark.parametrize(
    ("accuracy", "cap"),
    [(0.90, "the dense baseline is weak ("), (0.999, "the dense baseline is too good"), (0.96, None)],
)
def test_a_baseline_that_is_none_caps_every_verdict_over_it(tmp_path, accuracy, cap):
    made = made_of(dsc(5, -0.01), noise=0.0005)
    for one in made:
        one["quality"]["test"]["accuracy"] += accuracy - 0.955
        one["quality"]["validation"]["accuracy"] -= 0.05
    text = judged(tmp_path, made)["any_saving"].text
    assert (cap in text) if cap else (text == "supported")


def test_any_twin_is_the_opponent_of_its_method(tmp_path):
    rigl = Arm("rigl", "dynamic", {"density": 0.1}, 2, 0.0)
    options = {"of": {"name": "rigl", "density": 0.1}}
    other = Arm("random_twin", "control", options, 2, -0.03, twin_of="rigl", label="random twin of rigl 0.1")
    (verdict,) = (v for v in claims.judge(load(tmp_path, made_of(rigl, other))) if v.claim.name == "importance_matters")
    assert verdict.word == "supported" and verdict.rows[0].against == "random twin of rigl 0.1"


def test_static_arms_are_no_rivals_of_themselves(tmp_path):
    snip, gmp = (Arm(name, "static", {"density": 0.1}, 2, gain) for name, gain in (("snip", 0.0), ("gmp", -0.03)))
    found = claims.judge(load(tmp_path / "one", made_of(snip)), ["snip"])
    assert next(v for v in found if v.claim.name == "beats_static").word == "not measured"
    found = claims.judge(load(tmp_path / "two", made_of(snip, gmp)), ["snip"])
    (row,) = next(v for v in found if v.claim.name == "beats_static").rows
    assert (row.arm, row.against, row.verdict) == ("snip 0.1", "gmp 0.1", "supported")
