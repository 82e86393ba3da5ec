"""How sure a figure is: intervals over seeds, and ratios of pairs."""

from math import inf, isnan

import numpy as np
import pytest

from autoscaler_tuning.experiments.estimates import mean_of, paired_ratio


def test_the_interval_of_a_mean_is_students() -> None:
    estimate = mean_of([1.0, 2.0, 3.0, 4.0])
    assert estimate.value == 2.5
    # s = 1.29099, t(0.975, 3) = 3.18245, n = 4: from the usual table
    assert estimate.low == pytest.approx(0.4457, abs=1e-3)
    assert estimate.high == pytest.approx(4.5543, abs=1e-3)


def test_one_seed_has_no_interval() -> None:
    assert isnan(mean_of([2.0]).low)
    assert isnan(paired_ratio([1.0], [2.0]).high)


def test_a_ratio_is_one_of_sums_and_pairs_that_agree_leave_no_doubt() -> None:
    estimate = paired_ratio([1.0, 30.0], [2.0, 60.0])
    assert (estimate.value, estimate.low, estimate.high) == (0.5, 0.5, 0.5)


def test_nothing_over_nothing_is_even_and_something_over_nothing_infinite() -> None:
    assert paired_ratio([0.0, 0.0], [0.0, 0.0]).value == 1.0
    assert paired_ratio([1.0, 0.0], [0.0, 0.0]).value == inf
    assert paired_ratio([0.0, 0.0], [3.0, 1.0]).high == 0.0


def test_intervals_of_ratios_hold_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(200):
        theirs = rng.gamma(20, 5, 10)
        ours = 0.7 * theirs * rng.normal(1, 0.1, 10)
        estimate = paired_ratio(ours.tolist(), theirs.tolist())
        held += estimate.low <= 0.7 <= estimate.high
    assert 170 <= held <= 199  # 95 % promised; the percentile interval of ten pairs is known to be a little narrow
