import math
import warnings

import numpy as np
import pytest
from scipy import stats

from hundredfold.analysis import formatting
from hundredfold.analysis.statistics import (
    INCONCLUSIVE,
    MOST_SEEDS,
    REFUTED,
    SUPPORTED,
    Interval,
    Region,
    constant,
    correlation,
    crossed,
    decide,
    effect_for,
    geometric_mean,
    holm,
    mcnemar_p,
    mean,
    mean_interval,
    sample,
    seeds_for,
    seeds_to_decide,
)

VALUES = [0.012, 0.019, 0.031, 0.024, 0.008]


@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_the_interval_of_a_mean_is_students(confidence):
    half = stats.t.ppf((1 + confidence) / 2, 4) * np.std(VALUES, ddof=1) / math.sqrt(5)
    low, high = mean_interval(VALUES, confidence)
    assert low == pytest.approx(np.mean(VALUES) - half) and high == pytest.approx(np.mean(VALUES) + half)


def test_a_geometric_mean_is_the_mean_of_logarithms():
    ratios = [3.0, 4.0, 5.0]
    figure = geometric_mean(ratios)
    assert figure.value == pytest.approx(60 ** (1 / 3)) and figure.n == 3
    assert np.log(figure.interval) == pytest.approx(mean_interval(np.log(ratios)))
    inverse = geometric_mean([1 / r for r in ratios])
    assert inverse.value == pytest.approx(1 / figure.value)
    assert inverse.interval.low == pytest.approx(1 / figure.interval.high)


def test_a_ratio_that_is_not_positive_is_refused():
    with pytest.raises(ValueError, match="expected positive finite numbers"):
        geometric_mean([1.0, 0.0])


def test_one_value_has_no_interval_and_no_value_has_no_mean():
    assert mean([2.0]) == (2.0, None, 1)
    assert mean([]) == (None, None, 0) and geometric_mean([]) == (None, None, 0)
    assert sample([1.0]).p_above(0) is None and decide(None, Region(0)) == INCONCLUSIVE


def test_equal_values_give_an_interval_without_width_and_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert mean_interval([0.1, 0.1, 0.1]) == Interval(pytest.approx(0.1), pytest.approx(0.1))
        same = sample([2, 2])
        assert (same.p_above(1), same.p_above(2), same.p_below(3)) == (0.25, 1.0, 0.25)  # a sign test, never 0
        assert seeds_to_decide(sample([2, 2]), 1) is None and correlation([1, 1, 1], [1, 2, 3]) is None
    assert constant([0.3, 0.1 + 0.2]) and not constant([0.3, 0.3001])


def test_the_one_sided_p_value_agrees_with_the_interval_that_decides():
    low, _ = mean_interval(VALUES, 0.9)
    found = sample(VALUES)
    assert found.p_above(low) == pytest.approx(0.05)
    assert found.p_above(0.01) == pytest.approx(stats.ttest_1samp(VALUES, 0.01, alternative="greater").pvalue)
    assert found.p_above(0.01) == pytest.approx(1 - found.p_below(0.01))


@pytest.mark.parametrize(
    ("interval", "region", "verdict"),
    [
        ((100, 120), Region(100), SUPPORTED),
        ((99.9, 120), Region(100), INCONCLUSIVE),
        ((50, 99.9), Region(100), REFUTED),
        ((50, 100), Region(100), INCONCLUSIVE),
        ((0, 0), Region(0, strict=True), REFUTED),
        ((0, 1), Region(0, strict=True), INCONCLUSIVE),
        ((0.1, 0.2), Region(0, 0.15), INCONCLUSIVE),
        ((0.2, 0.3), Region(0, 0.15), REFUTED),
        ((0.1, 0.14), Region(0, 0.15), SUPPORTED),
    ],
)
def test_decisions_at_the_edges_of_a_region(interval, region, verdict):
    assert decide(Interval(*interval), region) == verdict


def test_holm_multiplies_the_smallest_p_value_by_the_number_of_tests():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


def test_seeds_to_decide_reach_the_power_and_one_seed_less_does_not():
    needed = seeds_to_decide(sample(VALUES), 0.012)
    effect = (np.mean(VALUES) - 0.012) / np.std(VALUES, ddof=1)

    def power(n):  # the closed form, by the noncentral t distribution
        return stats.nct.sf(stats.t.ppf(0.95, n - 1), n - 1, effect * math.sqrt(n))

    assert power(needed) >= 0.8 > power(needed - 1)


def test_a_mean_on_the_boundary_needs_more_seeds_than_anyone_has():
    assert seeds_to_decide(sample([-1.0, 1.0]), 0.0) == MOST_SEEDS + 1
    assert formatting.seeds(MOST_SEEDS + 1) == "more than 1,000"


def test_correlation_is_pearsons():
    assert correlation([1, 2, 3], [2, 4, 6]) == pytest.approx(1.0)
    assert correlation([1, 2], [1, 2]) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "not measured"), (float("nan"), "not measured"), (0, "0"), (12.34, "12.3"), (999.96, "1,000"),
     (0.09996, "0.100"), (1.5e9, "1.50e9"), (-0.5, "−0.500"), (123456.0, "123,456")],
)  # fmt: skip
def test_numbers_are_written_with_three_digits_and_unknown_ones_in_words(value, text):
    assert formatting.number(value) == text


def test_quantities_carry_sign_and_unit():
    assert formatting.quantity(0.0123, "points") == "+1.23 points"
    assert formatting.quantity(-0.02, "relative") == "−2.00 %"
    assert formatting.quantity(5.284, "ratio") == "5.28x"
    assert formatting.estimate(mean([0.5]), "accuracy") == "50.00 % (no interval), n = 1"


def test_the_error_over_seeds_and_examples_is_that_of_both():
    """Without an effect of the examples it is the t interval's; with one it is larger, and covers as it should."""
    generator = np.random.default_rng(0)
    outer = generator.normal(size=(5, 1)) + np.zeros((5, 40))
    assert crossed(outer).se == pytest.approx(sample(outer[:, 0]).se)
    seeds, examples = generator.normal(0, 1, (400, 4, 1)), generator.normal(0, 3, (400, 1, 25))
    data = seeds + examples + generator.normal(0, 1, (400, 4, 25))
    covered = [crossed(one).interval(0.95) for one in data]
    naive = [sample(one.mean(1)).interval(0.95) for one in data]
    share = np.mean([low <= 0 <= high for low, high in covered])
    assert 0.91 < share < 0.99 > np.mean([low <= 0 <= high for low, high in naive]) + 0.03


def test_mcnemar_is_the_binomial_test_of_discordant_examples():
    assert mcnemar_p(9, 2) == pytest.approx(stats.binomtest(2, 11).pvalue)
    assert mcnemar_p(0, 0) == 1.0


def test_the_effect_that_seeds_can_show_needs_as_many_seeds():
    assert effect_for(1) is None
    for n in (3, 5, 10):
        assert seeds_for(effect_for(n) * 1.001) == n
