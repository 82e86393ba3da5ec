"""The clairvoyant bounds: worked examples, agreement with each other, and no simulated policy below them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler_tuning.bounds.grid import GridBound
from autoscaler_tuning.bounds.linear_program import (
    BoundConfig,
    BoundError,
    lp_bound,
    milp_bound,
    required_pods,
)
from autoscaler_tuning.experiments.compare import bound_config, simulated_run
from autoscaler_tuning.policies.registry import policy_named
from autoscaler_tuning.results import FloatArray
from autoscaler_tuning.simulator.world import SimConfig, service_times
from loadgen.workload.arrivals import arrival_times
from tests.effort import effort
from tests.paths import SHARED

COURSE = SHARED / "traces" / "course.txt"


def constant(times_s: list[float], service_s: float = 0.1) -> tuple[FloatArray, FloatArray]:
    return np.array(times_s), np.full(len(times_s), service_s)


def test_one_request_costs_a_start_and_its_work() -> None:
    config = BoundConfig(cold_start_s=2.0, grid_s=0.1, slo_s=0.5)
    # a start of 2 s; the pod is stopped as soon as it serves and finishes its 0.1 s of work while it terminates
    assert milp_bound(*constant([3.0]), config).proved_pod_seconds == pytest.approx(2.0)
    # a sixth of a pod is enough: 0.1 s of work in half a second, and the work that it may finish after its stop
    assert lp_bound(*constant([3.0]), config).pod_seconds == pytest.approx((2.0 + 0.5) / 6, rel=0.05)


def test_an_initial_pod_needs_no_start() -> None:
    config = BoundConfig(cold_start_s=2.0, initial_pods=1, grid_s=0.1)
    assert milp_bound(*constant([0.05]), config).proved_pod_seconds <= 0.2


def test_requests_that_may_be_late_must_still_be_served() -> None:
    burst = constant([5.0] * 20 + [30.0])
    strict, loose = BoundConfig(grid_s=0.5), BoundConfig(grid_s=0.5, late_ratio=0.5)
    assert lp_bound(*burst, loose).pod_seconds < lp_bound(*burst, strict).pod_seconds
    assert lp_bound(*burst, loose).pod_seconds >= 2.0


def test_lost_requests_need_not_be_served() -> None:
    burst = constant([5.0] * 20)
    done = lp_bound(*burst, BoundConfig(late_ratio=0.5)).pod_seconds
    assert lp_bound(*burst, BoundConfig(late_ratio=0.5, lost=10)).pod_seconds < done


def test_knative_keeps_a_pod_within_its_window_of_a_request() -> None:
    config = BoundConfig(zero_window_s=60.0, wake_s=10.0, grid_s=0.5)
    edges_s = 0.5 * np.arange(1.0, 401.0)
    kept = edges_s[required_pods(np.array([100.0]), config, edges_s) > 0]
    assert (kept.min(), kept.max()) == (110.5, 158.0)
    assert not required_pods(np.array([100.0]), replace(config, zero_window_s=6.0), edges_s).any()


def test_with_knatives_window_an_idle_period_costs_a_pod() -> None:
    arrivals = constant([1.0, 50.0])
    free = BoundConfig(initial_pods=1)
    kept = replace(free, zero_window_s=60.0)
    assert lp_bound(*arrivals, free).pod_seconds < 5.0
    assert GridBound(*arrivals, free).pod_seconds(0.0) < 5.0
    # one pod from 11 s to the end
    assert lp_bound(*arrivals, kept).pod_seconds >= 39.0
    assert GridBound(*arrivals, kept).pod_seconds(0.0) >= 39.0


@pytest.mark.parametrize("late_ratio", [0.0, 0.01, 0.05])
def test_the_grid_bound_is_close_to_the_optimum_with_whole_pods(late_ratio: float) -> None:
    rng = np.random.default_rng(4)
    counts = rng.poisson(np.repeat([5, 25, 10], 10))
    arrivals_s = np.asarray(arrival_times(counts.tolist(), "count", 0))
    service_s = np.full(len(arrivals_s), 0.1)
    config = BoundConfig(initial_pods=1, late_ratio=late_ratio, gap_ratio=0.001, time_limit_s=60.0)
    optimum = milp_bound(arrivals_s, service_s, config)
    grid = GridBound(arrivals_s, service_s, config).pod_seconds(late_ratio)
    assert lp_bound(arrivals_s, service_s, config).pod_seconds <= optimum.pod_seconds + 1e-6
    # it may be above by the pods that the program starts and stops within one slot, and below by the rounding to quanta
    # and the duality gap
    assert 0.9 * optimum.proved_pod_seconds <= grid <= 1.04 * optimum.pod_seconds


@settings(max_examples=effort(25, ci=60), deadline=None)
@given(
    counts=st.lists(st.integers(0, 60), min_size=5, max_size=120).filter(any),
    policy=st.sampled_from(
        ["kpa", "elastic", "peak", "hpa70", "kpa[window=6]@deadline", "elastic[hold_s=0,late_price=1]"]
    ),
    start_s=st.sampled_from([(0.5, 0.5), (2.0, 6.0)]),
    judged_from_s=st.sampled_from([0.0, 2.0]),
    seed=st.integers(0, 1000),
)
def test_no_simulated_policy_is_cheaper_than_the_lp_bound_at_its_own_late_ratio(
    counts: list[int], policy: str, start_s: tuple[float, float], judged_from_s: float, seed: int
) -> None:
    arrivals_s = np.asarray(arrival_times(counts, "count", seed))
    judged = arrivals_s >= judged_from_s
    if not judged.any():
        return
    sim = SimConfig(cold_start_s=start_s, initial_pods=1, judged_from_s=judged_from_s)
    spec = policy_named(policy)
    row = simulated_run(spec, arrivals_s, sim, seed).row
    service_s = service_times(sim, np.random.default_rng(seed), len(arrivals_s))
    config = bound_config(sim)
    config = replace(config, late_ratio=row.late_ratio, lost=row.lost)
    config = replace(config, zero_window_s=spec.revision.zero_window_s, end_s=row.until_s)
    least = lp_bound(arrivals_s[judged] - judged_from_s, service_s[judged], config).pod_seconds
    assert least <= row.pod_seconds + 1e-6


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"slo_s": 0.0}, "slo_s must be above 0 and finite, got 0.0"),
        ({"late_ratio": float("nan")}, "late_ratio must be from 0 to 1, got nan"),
        ({"cold_start_s": -1.0}, "cold_start_s must be at least 0 and finite, got -1.0"),
        ({"zero_window_s": float("inf")}, "zero_window_s must be at least 0 and finite, got inf"),
    ],
)
def test_invalid_parameters_are_refused(setting: dict[str, float], message: str) -> None:
    with pytest.raises(BoundError, match=message):
        BoundConfig(**setting)  # type: ignore[arg-type]


def test_an_slo_that_is_no_multiple_of_the_slots_is_refused() -> None:
    with pytest.raises(BoundError, match=r"slo_s must be a multiple of grid_s, 0\.3 s, got 0\.5"):
        GridBound(*constant([1.0]), BoundConfig(slo_s=0.5, grid_s=0.3))
