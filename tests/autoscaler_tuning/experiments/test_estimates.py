"""Confidence intervals over seeds, and of ratios of pairs."""

from math import inf, isnan

import numpy as np
import pytest

from autoscaler_tuning.experiments.estimates import mean_of, paired_ratio


def test_the_confidence_interval_of_a_mean_is_students() -> None:
    estimate = mean_of([1.0, 2.0, 3.0, 4.0])
    assert estimate.value == 2.5
    # s = 1.29099, t(0.975, 3) = 3.18245, n = 4: from a table of the t distribution
    assert estimate.low == pytest.approx(0.4457, abs=1e-3)
    assert estimate.high == pytest.approx(4.5543, abs=1e-3)


def test_too_few_seeds_have_no_confidence_interval() -> None:
    assert isnan(mean_of([2.0]).low)
    five = paired_ratio([1.0, 2.0, 3.0, 4.0, 5.0], [2.0] * 5)
    assert five.value == 1.5
    assert isnan(five.low)
    assert isnan(five.high)


def test_a_ratio_divides_sums_and_equal_pairs_have_an_interval_of_zero_width() -> None:
    estimate = paired_ratio([1.0, 30.0] * 3, [2.0, 60.0] * 3)
    assert (estimate.value, estimate.low, estimate.high) == (0.5, 0.5, 0.5)


def test_zero_over_zero_is_one_unless_told_otherwise_and_anything_else_over_zero_is_infinite() -> None:
    assert paired_ratio([0.0, 0.0], [0.0, 0.0]).value == 1.0
    assert paired_ratio([0.0, 0.0], [0.0, 0.0], zero_over_zero=0.0).value == 0.0
    assert paired_ratio([1.0, 0.0], [0.0, 0.0]).value == inf
    assert paired_ratio([0.0] * 6, [3.0, 1.0] * 3).high == 0.0
    rare = paired_ratio([1.0] + [0.0] * 9, [1.0] + [0.0] * 9, zero_over_zero=0.0)
    assert (rare.value, rare.low) == (1.0, 0.0)  # the resamples count by the same rule


def test_95_percent_intervals_of_ratios_contain_the_true_ratio_about_that_often() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(200):
        theirs = rng.gamma(20, 5, 10)
        ours = 0.7 * theirs * rng.normal(1, 0.1, 10)
        estimate = paired_ratio(ours.tolist(), theirs.tolist())
        covered += estimate.low <= 0.7 <= estimate.high
    assert 170 <= covered <= 199  # nominally 190; the percentile interval of ten pairs is known to be slightly narrow
