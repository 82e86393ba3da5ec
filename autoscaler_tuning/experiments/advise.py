"""What each setting of a Service would have cost on its own traffic, and how many answers it would have made late."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import ceil, nan

import numpy as np

from autoscaler_tuning.experiments.compare import Bounds, Case, Comparison, bounds_of, run_case
from autoscaler_tuning.experiments.estimates import Estimate
from autoscaler_tuning.experiments.parallel import parallel_map
from autoscaler_tuning.policies.kpa.kpa import KpaConfig
from autoscaler_tuning.policies.registry import policy_named
from autoscaler_tuning.results import FloatArray, PolicyRun

# Values of min-scale to try, up to the pods that the busiest second needs.
MIN_SCALES = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 40)
OTHERS = ("kpa-tuned", "elastic")
WARM_S = 10
HOUR_S = 3600.0
HOURS_PER_MONTH = 730
# An interval needs this many blocks of the record, each of at least LEAST_BLOCK_S; there are at most MOST_BLOCKS.
LEAST_BLOCKS, MOST_BLOCKS, LEAST_BLOCK_S = 8, 20, 60.0
RESAMPLES = 2000
# With no late request among n, the 95 % bound on their share is 3 / n.
RULE_OF_THREE = 3.0


@dataclass(frozen=True, slots=True)
class Advice:
    """One setting, with means over the simulations.

    min_scale: None for the settings that are not stock KPA with a min-scale.
    late_ratio, pod_seconds_per_hour: with a 95 % interval over blocks of the record; low and high are nan if the record
        is too short for one.
    bound_per_hour: pod-seconds per hour that no policy can undercut with as few late requests; nan if not computed.
    cost_per_hour: pod-seconds per hour plus the price of the late requests in pod-seconds.
    """

    policy: str
    min_scale: int | None
    late_ratio: Estimate
    late_per_hour: float
    pod_seconds_per_hour: Estimate
    money_per_month: float
    bound_per_hour: float
    cost_per_hour: float


def warm(comparison: Comparison) -> Comparison:
    """Return the comparison with the initial pods that stock KPA would keep for the rate of its first seconds.

    A record of a running Service begins in the middle of its traffic. With no pod at the start, the same requests would
    be late under every setting without a min-scale.
    """
    first, sim = comparison.counts[:WARM_S], comparison.sim
    busy_pods = sum(first) / len(first) * sim.service_time_s / sim.concurrency
    pods = min(sim.max_pods, ceil(busy_pods / KpaConfig().target_value))
    return replace(comparison, sim=replace(sim, initial_pods=pods))


def settings(comparison: Comparison) -> list[tuple[str, int | None]]:
    """Return the settings to try as (policy, min-scale)."""
    busiest = max(comparison.counts) * comparison.sim.service_time_s / comparison.sim.concurrency
    most = min(comparison.sim.max_pods, max(1, ceil(2 * busiest)))
    tried: list[tuple[str, int | None]] = [(min_scale_policy(pods), pods) for pods in MIN_SCALES if pods <= most]
    return [*tried, *((name, None) for name in OTHERS)]


def min_scale_policy(pods: int) -> str:
    """Return stock KPA with this min-scale as a policy of the registry."""
    return f"kpa[min-scale={pods}]" if pods else "kpa"


def advise(
    comparison: Comparison, seeds: int, late_price: float, progress: Callable[[str], None]
) -> tuple[Advice, ...]:
    """Simulate every setting; return those worth reading, in the order of settings().

    A min-scale above the first one that makes no request late only costs more, so it is left out.
    Raises SimulationError.
    """
    tried = settings(comparison)
    cases = [Case(comparison, policy, seed) for policy, _ in tried for seed in range(seeds)]
    runs: list[PolicyRun] = []
    for case, run in zip(cases, parallel_map(run_case, cases), strict=True):
        runs.append(run)
        progress(f"{case.policy}, simulation {case.seed + 1} of {seeds}")
    by_setting = [runs[first : first + seeds] for first in range(0, len(runs), seeds)]
    bounds = bounds_of(comparison, 0)  # for the arrivals and service times of the first simulation
    found: list[Advice] = []
    for (policy, pods), group in zip(tried, by_setting, strict=True):
        if pods and any(one.min_scale is not None and one.late_ratio.value == 0 for one in found):
            continue
        progress(f"bound of {policy}")
        found.append(_advice(policy, pods, group, comparison, bounds, late_price))
    return tuple(found)


def _advice(
    policy: str, pods: int | None, runs: Sequence[PolicyRun], comparison: Comparison, bounds: Bounds, late_price: float
) -> Advice:
    seconds = float(len(comparison.counts))
    blocks = np.mean([per_block(run, comparison.sim.slo_s, seconds) for run in runs], axis=0)
    late, cost = intervals(blocks)
    hours = seconds / HOUR_S
    row = bounds.with_bounds(runs[0].row, policy_named(policy).revision)
    bound = row.milp_bound_pod_seconds if "milp" in comparison.bounds else row.lp_bound_pod_seconds
    late_per_hour = float(blocks[:, 1].sum()) / hours
    return Advice(
        policy=policy,
        min_scale=pods,
        late_ratio=late,
        late_per_hour=late_per_hour,
        pod_seconds_per_hour=cost,
        money_per_month=cost.value / HOUR_S * HOURS_PER_MONTH * comparison.price_per_pod_hour,
        bound_per_hour=bound / hours,
        cost_per_hour=cost.value + late_price * late_per_hour,
    )


def per_block(run: PolicyRun, slo_s: float, seconds: float) -> FloatArray:
    """Return pod-seconds, late requests, requests and seconds of each block of a run, shape (blocks, 4)."""
    count = int(min(MOST_BLOCKS, max(1, seconds // LEAST_BLOCK_S)))
    edges_s = np.linspace(0.0, seconds, count + 1)
    times_s = np.array([counts.time_s for counts in run.pods] + [max(seconds, run.pods[-1].time_s)])
    alive = np.array([counts.ready_pods + counts.starting_pods for counts in run.pods], dtype=float)
    so_far = np.concatenate([[0.0], np.cumsum(alive * np.diff(times_s))])
    is_late = ~(run.done_s - run.intended_s <= slo_s)
    return np.column_stack(
        [
            np.diff(np.interp(edges_s, times_s, so_far)),
            np.histogram(run.intended_s[is_late], edges_s)[0],
            np.histogram(run.intended_s, edges_s)[0],
            np.diff(edges_s),
        ]
    )


def intervals(blocks: FloatArray) -> tuple[Estimate, Estimate]:
    """Return the share of late requests and the pod-seconds per hour, with bootstrap intervals over the blocks."""
    late, cost = _figures(blocks.sum(axis=0)[None])
    if len(blocks) < LEAST_BLOCKS:
        return Estimate(float(late[0]), nan, nan), Estimate(float(cost[0]), nan, nan)
    drawn = np.random.default_rng(0).integers(len(blocks), size=(RESAMPLES, len(blocks)))
    lates, costs = _figures(blocks[drawn].sum(axis=1))
    low, high = np.quantile(lates, [0.025, 0.975])
    high = max(high, RULE_OF_THREE / blocks[:, 2].sum()) if not late[0] else high
    cost_low, cost_high = np.quantile(costs, [0.025, 0.975])
    return Estimate(float(late[0]), float(low), float(high)), Estimate(
        float(cost[0]), float(cost_low), float(cost_high)
    )


def _figures(sums: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return late ratio and pod-seconds per hour from sums of blocks, shape (n, 4)."""
    requests = sums[:, 2]
    late = np.where(requests > 0, sums[:, 1] / np.maximum(requests, 1.0), 0.0)
    return late, sums[:, 0] / sums[:, 3] * HOUR_S
