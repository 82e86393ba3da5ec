"""Arrival times: totals, order, seeds, and the statistics of each mode."""

import numpy as np
import pytest

from loadgen.errors import InputError
from loadgen.workload.arrivals import MODES, arrival_times, planned_times
from loadgen.workload.workload import Workload


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "poisson"])
def test_every_second_has_exactly_its_count_in_order(mode: str) -> None:
    counts = [3, 0, 7, 1]
    times_s = arrival_times(counts, mode, seed=1)
    assert np.bincount(times_s.astype(int), minlength=4).tolist() == counts
    assert np.all(np.diff(times_s) >= 0)


def test_the_variance_of_poisson_counts_equals_their_mean() -> None:
    times_s = arrival_times([20] * 4000, "poisson", seed=2)
    counts = np.bincount(times_s.astype(int), minlength=4000)
    assert counts.mean() == pytest.approx(20, rel=0.02)
    assert counts.var() / counts.mean() == pytest.approx(1, abs=0.1)


def dispersion(times_s: np.ndarray, window_s: float, duration_s: int) -> float:
    """Return variance over mean of the counts in windows, which is 1 for a Poisson process."""
    counts = np.bincount((times_s / window_s).astype(int), minlength=round(duration_s / window_s))
    return float(counts.var() / counts.mean())


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        pytest.param("poisson", 1.0, id="poisson"),
        pytest.param("count", 1 - 0.1, id="count: binomial, since the total of a second is fixed"),
        pytest.param("even", 0.0, id="even: perfectly regular"),
        pytest.param("burst", 20 * (1 - 0.1), id="burst: all of a second in one window"),
    ],
)
def test_the_index_of_dispersion_in_tenths_of_a_second(mode: str, expected: float) -> None:
    times_s = arrival_times([20] * 4000, mode, seed=5)
    assert dispersion(times_s + 1e-9, 0.1, 4000) == pytest.approx(expected, abs=0.03)
    assert times_s.size / 4000 == pytest.approx(20, rel=0.01)


def test_poisson_gaps_are_exponential_across_seconds() -> None:
    from scipy import stats  # noqa: PLC0415  half a second for every worker that collects this file

    gaps_s = np.diff(arrival_times([20] * 2000, "poisson", seed=6))
    assert stats.kstest(gaps_s, "expon", args=(0, 1 / 20)).pvalue > 0.01


def test_times_of_mode_count_are_uniform_order_statistics() -> None:
    """The k-th of n uniform times has mean k / (n + 1), and all together are uniform."""
    from scipy import stats  # noqa: PLC0415

    within_s = arrival_times([4] * 5000, "count", seed=7).reshape(5000, 4) - np.arange(5000)[:, None]
    assert within_s.mean(axis=0) == pytest.approx([0.2, 0.4, 0.6, 0.8], abs=0.01)
    assert stats.kstest(within_s.ravel(), "uniform").pvalue > 0.01


def test_the_arrivals_of_a_second_do_not_depend_on_other_seconds() -> None:
    one, other = arrival_times([3, 5], "count", seed=3), arrival_times([900, 5], "count", seed=3)
    assert one[3:].tolist() == other[900:].tolist()


def test_seconds_of_equal_rate_have_different_arrivals() -> None:
    times_s = arrival_times([5, 5], "count", seed=3)
    assert times_s[:5].tolist() != (times_s[5:] - 1).tolist()


def test_a_part_has_the_same_arrivals_as_in_the_whole_workload() -> None:
    whole = arrival_times([4, 5, 6, 7], "count", seed=4)
    part = arrival_times([6, 7], "count", seed=4, first_second=2)
    assert part == pytest.approx(whole[9:] - 2)


def test_the_seed_determines_the_arrivals() -> None:
    assert arrival_times([9], "count", 1).tolist() == arrival_times([9], "count", 1).tolist()
    assert arrival_times([9], "count", 1).tolist() != arrival_times([9], "count", 2).tolist()


def test_even_has_equal_gaps_and_burst_has_none() -> None:
    assert arrival_times([4], "even", 0).tolist() == [0, 0.25, 0.5, 0.75]
    assert arrival_times([0, 3], "burst", 0).tolist() == [1, 1, 1]


def test_seconds_without_requests_have_no_arrivals() -> None:
    assert arrival_times([0, 0], "count", 0).size == 0


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="got 'often'"):
        arrival_times([1], "often", 0)


TRACE = Workload((2, 1), (0.25, 0.5, 1.125))


def test_a_trace_keeps_its_own_times_by_default() -> None:
    assert planned_times(TRACE, None, seed=1).tolist() == [0.25, 0.5, 1.125]
    assert planned_times(TRACE, "recorded", seed=1).tolist() == [0.25, 0.5, 1.125]
    assert planned_times(TRACE, "even", seed=1).tolist() == [0, 0.5, 1]
    assert planned_times(TRACE.scaled(2), None, seed=1).size == 6


def test_other_workloads_use_mode_count_from_their_first_second() -> None:
    assert planned_times(Workload((3,)), None, 1, 9).tolist() == arrival_times([3], "count", 1, 9).tolist()


def test_a_scaled_trace_has_no_recorded_times() -> None:
    with pytest.raises(InputError, match="--mode recorded needs a trace with a time for each request and --scale 1"):
        planned_times(TRACE.scaled(2), "recorded", seed=1)
