"""Arrival times: totals, order, seeds, and the statistics of each mode."""

import numpy as np
import pytest

from loadgen.arrivals import MODES, arrival_times


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "poisson"])
def test_every_second_has_exactly_its_count_in_order(mode: str) -> None:
    counts = [3, 0, 7, 1]
    times_s = arrival_times(counts, mode, seed=1)
    assert np.bincount(times_s.astype(int), minlength=4).tolist() == counts
    assert np.all(np.diff(times_s) >= 0)


def test_poisson_counts_vary_as_much_as_their_mean() -> None:
    times_s = arrival_times([20] * 4000, "poisson", seed=2)
    counts = np.bincount(times_s.astype(int), minlength=4000)
    assert counts.mean() == pytest.approx(20, rel=0.02)
    assert counts.var() / counts.mean() == pytest.approx(1, abs=0.1)


def test_seconds_of_equal_rate_do_not_repeat_each_other() -> None:
    times_s = arrival_times([5, 5], "count", seed=3)
    assert times_s[:5].tolist() != (times_s[5:] - 1).tolist()


def test_a_part_has_the_arrivals_that_it_has_in_the_whole() -> None:
    whole = arrival_times([4, 5, 6, 7], "count", seed=4)
    part = arrival_times([6, 7], "count", seed=4, first_second=2)
    assert part == pytest.approx(whole[9:] - 2)


def test_the_seed_decides() -> None:
    assert arrival_times([9], "count", 1).tolist() == arrival_times([9], "count", 1).tolist()
    assert arrival_times([9], "count", 1).tolist() != arrival_times([9], "count", 2).tolist()


def test_even_has_equal_gaps_and_burst_has_none() -> None:
    assert arrival_times([4], "even", 0).tolist() == [0, 0.25, 0.5, 0.75]
    assert arrival_times([0, 3], "burst", 0).tolist() == [1, 1, 1]


def test_nothing_is_no_request() -> None:
    assert arrival_times([0, 0], "count", 0).size == 0


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="was 'often'"):
        arrival_times([1], "often", 0)
