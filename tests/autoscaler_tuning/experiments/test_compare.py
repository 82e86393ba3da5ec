"""compare: policies and seeds on the same arrivals, with the clairvoyant lower bounds."""

from dataclasses import replace
from math import isnan, nan

import numpy as np
import pytest

from autoscaler_tuning.bounds.linear_program import BoundConfig
from autoscaler_tuning.experiments.compare import (
    Bounds,
    Case,
    Comparison,
    bound_config,
    bounds_of,
    compare,
    cost_per_1000_in_slo,
    run_case,
    simulated_run,
)
from autoscaler_tuning.experiments.frontier import Point, _mark_efficient, frontiers, sweep_of
from autoscaler_tuning.experiments.parallel import parallel_map
from autoscaler_tuning.experiments.policy_summary import paired, summaries
from autoscaler_tuning.policies.base import RevisionSettings
from autoscaler_tuning.policies.registry import policy_named
from autoscaler_tuning.results import Cost, PolicyRow, summarise
from autoscaler_tuning.simulator.world import SimConfig, SimulationError

SIM = SimConfig(initial_pods=1, cold_start_s=(1.0, 2.0), max_pods=10)
STEP = Comparison((5,) * 15 + (30,) * 15, SIM)


def silent(_: str) -> None: ...


def row(policy: str = "kpa", seed: int = 0, late: int = 10, pod_seconds: float = 100.0, lost: int = 0) -> PolicyRow:
    done_s = np.concatenate([np.full(late - lost, 1.0), np.full(100 - late, 0.1), np.full(lost, nan)])
    made = summarise(policy, "simulated", np.zeros(100), done_s, 0.5, Cost(pod_seconds, 0.0, 1))
    return replace(made, seed=seed)


def test_all_policies_see_the_same_arrivals_and_each_seed_has_its_own() -> None:
    runs = compare(replace(STEP, bounds=()), ("kpa", "peak"), 2, silent)
    assert [(run.row.policy, run.row.seed) for run in runs] == [("kpa", 0), ("kpa", 1), ("peak", 0), ("peak", 1)]
    assert np.array_equal(runs[0].intended_s, runs[2].intended_s)
    assert not np.array_equal(runs[0].intended_s, runs[1].intended_s)


def test_rows_do_not_depend_on_the_number_of_cores() -> None:
    cases = [Case(STEP, policy, seed) for policy in ("kpa", "elastic") for seed in range(2)]
    alone, together = ([run.row for run in parallel_map(run_case, cases, workers)] for workers in (1, 2))
    assert alone == together or all(str(a) == str(b) for a, b in zip(alone, together, strict=True))  # nan is not nan


def test_no_policy_uses_fewer_pod_seconds_than_the_bounds_at_its_late_ratio() -> None:
    for run in compare(STEP, ("kpa", "peak", "elastic", "hpa70"), 2, silent):
        assert run.row.lp_bound_pod_seconds <= run.row.pod_seconds + 1e-6
        assert run.row.lp_bound_pod_seconds > 0
        assert run.row.ratio_to_bound == pytest.approx(run.row.pod_seconds / run.row.milp_bound_pod_seconds)


def test_the_bound_is_higher_for_fewer_late_requests() -> None:
    arrivals_s = STEP.arrivals_s(0)
    bounds = Bounds(arrivals_s, np.full(len(arrivals_s), 0.1), bound_config(SIM), ("lp", "milp"))
    strict, loose = (bounds.with_bounds(row(late=late), RevisionSettings()) for late in (0, 20))
    assert strict.lp_bound_pod_seconds > loose.lp_bound_pod_seconds
    assert strict.milp_bound_pod_seconds > loose.milp_bound_pod_seconds


def test_bounds_are_nan_if_not_requested_or_if_the_load_is_too_high() -> None:
    arrivals_s = STEP.arrivals_s(0)
    service_s = np.full(len(arrivals_s), 0.1)
    none = Bounds(arrivals_s, service_s, bound_config(SIM), ())
    assert isnan(none.with_bounds(row(), RevisionSettings()).lp_bound_pod_seconds)
    overloaded = Bounds(np.zeros(3000), np.full(3000, 0.1), BoundConfig(max_pods=1), ("lp", "milp")).with_bounds(
        row(), RevisionSettings()
    )
    assert isnan(overloaded.milp_bound_pod_seconds)
    assert isnan(overloaded.ratio_to_bound)


@pytest.mark.parametrize("slo_s", [0.5, 0.3, 1.2, 0.05])
def test_the_grid_divides_any_slo(slo_s: float) -> None:
    config = bound_config(SimConfig(slo_s=slo_s))
    assert slo_s / config.grid_s == pytest.approx(round(slo_s / config.grid_s))


def test_the_bound_assumes_the_shortest_pod_start() -> None:
    assert bound_config(SimConfig(cold_start_s=(2.0, 6.0))).cold_start_s == 2.0
    assert bound_config(SimConfig(cold_start_samples_s=(3.0, 2.5, 4.0))).cold_start_s == 2.5


def test_a_run_respects_the_bounds_of_the_policy_and_min_pods() -> None:
    arrivals_s = STEP.arrivals_s(0)
    capped = simulated_run(policy_named("kpa[max-scale=2]"), arrivals_s, SIM, 0)
    assert max(c.ready_pods + c.starting_pods for c in capped.pods) == 2
    floored = simulated_run(policy_named("peak"), arrivals_s, SIM, 0, min_pods=4)
    assert min(c.ready_pods + c.starting_pods for c in floored.pods) >= 4


@pytest.mark.parametrize(("policy", "min_pods", "ready"), [("kpa[min-scale=3]", 0, 3), ("hpa70", 0, 1), ("kpa", 2, 2)])
def test_a_policy_with_a_min_scale_begins_with_its_pods(policy: str, min_pods: int, ready: int) -> None:
    world = replace(SIM, initial_pods=0)
    run = simulated_run(policy_named(policy), STEP.arrivals_s(0), world, 0, min_pods)
    assert run.pods[0].ready_pods == ready


def test_the_bound_of_a_policy_with_a_min_scale_begins_with_its_pods_too() -> None:
    comparison = replace(STEP, sim=replace(SIM, initial_pods=0))
    cold, warm = (bounds_of(comparison, 0).with_bounds(row(late=0), RevisionSettings(min_pods=pods)) for pods in (0, 2))
    assert 0 < cold.milp_bound_pod_seconds - warm.milp_bound_pod_seconds <= 2 * min(SIM.cold_start_s)
    bounded = bounds_of(replace(comparison, min_pods=2), 0).with_bounds(row(late=0), RevisionSettings())
    assert bounded.milp_bound_pod_seconds == warm.milp_bound_pod_seconds


def test_a_run_records_each_change_of_the_wanted_pods() -> None:
    run = simulated_run(policy_named("peak"), STEP.arrivals_s(0), SIM, 0)
    assert all(a[1] != b[1] and a[0] < b[0] for a, b in zip(run.wanted_pods, run.wanted_pods[1:], strict=False))
    assert max(pods for _, pods in run.wanted_pods) >= 3


def test_a_thousand_responses_within_the_slo_cost_their_share_of_the_pod_hours() -> None:
    assert cost_per_1000_in_slo(row(late=20, pod_seconds=3600.0), 0.04) == pytest.approx(0.04 / 80 * 1000)
    assert isnan(cost_per_1000_in_slo(row(late=100), 0.04))


@pytest.mark.parametrize(
    ("counts", "changes", "message"),
    [
        ((0, 0), {}, "got 0"),
        ((1_000_000,) * 6, {}, "got 6000000"),
        ((1,), {"min_pods": 11}, r"min_pods must be from 0 to max_pods \(10\), got 11"),
        ((1,), {"price_per_pod_hour": float("nan")}, "price_per_pod_hour must be finite"),
    ],
)
def test_invalid_comparisons_are_rejected(counts: tuple[int, ...], changes: dict[str, float], message: str) -> None:
    with pytest.raises(SimulationError, match=message):
        Comparison(counts, SIM, **changes)  # type: ignore[arg-type]  # rows of a table


@pytest.mark.parametrize(
    "counts",
    [
        pytest.param((3,), id="one second"),
        pytest.param((0, 0, 4, 0, 0, 0, 0, 0, 4, 0), id="gaps and zeros at both ends"),
        pytest.param((5000,), id="far more than all pods can do"),
    ],
)
def test_unusual_traffic_runs_and_every_request_is_counted(counts: tuple[int, ...]) -> None:
    for run in compare(Comparison(counts, SIM), ("kpa", "hpa70", "peak", "elastic"), 1, silent):
        assert run.row.requests == sum(counts)
        assert run.row.late >= run.row.lost >= 0
        assert run.row.pod_seconds > 0


def test_a_summary_has_means_over_the_seeds_and_the_sum_of_lost_requests() -> None:
    rows = [row(seed=0, late=10, lost=1), row(seed=1, late=20, lost=2), row("peak", 0), row("peak", 1)]
    kpa, peak = summaries(rows)
    assert (kpa.policy, kpa.seeds, kpa.lost) == ("kpa", 2, 3)
    assert kpa.late_ratio.value == pytest.approx(0.15)
    assert peak.policy == "peak"


def test_policies_are_paired_by_seed_whatever_the_order_of_the_rows() -> None:
    rows = [row("a", 1, 5, 50.0), row("a", 0, 10, 40.0), row("b", 0, 20, 90.0), row("b", 1, 4, 45.0)]
    (pair,) = paired(rows, "a")
    assert (pair.ours, pair.theirs, pair.fewer_late, pair.cheaper, pair.seeds) == ("a", "b", 1, 1, 2)
    assert (pair.late.value, pair.pod_seconds.value) == (15 / 24, 90 / 135)


def test_a_sweep_varies_the_main_knob_and_keeps_the_other_settings() -> None:
    assert [name for name, _, _ in sweep_of("peak")][:2] == ["peak[utilization=0.4]", "peak[utilization=0.5]"]
    first, *_ = sweep_of("kpa[window=6,target-utilization-percentage=50]@deadline")
    assert first[0] == "kpa[window=6,target-utilization-percentage=30]@deadline"
    assert sweep_of("hpa70")[0][0] == "hpa[target_utilization_percent=30]"
    assert sweep_of("elastic-nohold") == []


def test_a_dominated_setting_is_not_on_the_frontier() -> None:
    points = [
        Point("p", "k", value, late, cost, efficient=False)
        for value, late, cost in ((1, 0.1, 10.0), (2, 0.1, 12.0), (3, 0.0, 20.0), (4, 0.2, 10.0))
    ]
    assert [point.efficient for point in _mark_efficient(points)] == [True, False, True, False]


def test_frontiers_are_means_over_their_seeds() -> None:
    found = frontiers(replace(STEP, counts=STEP.counts[:20]), ("peak", "elastic-nohold"), 1, silent)
    assert [len(points) for points in found.values()] == [6]
    assert found["peak"][0].pod_seconds > found["peak"][-1].pod_seconds
    assert frontiers(STEP, ("peak",), 0, silent) == {}
