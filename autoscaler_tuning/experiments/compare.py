"""Runs each policy with each seed on the same arrivals, and adds the clairvoyant lower bounds on its pod-seconds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from math import inf, isfinite, nan
from typing import Literal

import numpy as np

from autoscaler_tuning.bounds.grid import GridBound
from autoscaler_tuning.bounds.linear_program import BoundConfig, BoundError, lp_bound
from autoscaler_tuning.experiments.parallel import parallel_map
from autoscaler_tuning.experiments.reaction import reaction_s
from autoscaler_tuning.policies.base import Bounded, Recorded, RevisionSettings
from autoscaler_tuning.policies.registry import PolicySpec, policy_named
from autoscaler_tuning.results import FloatArray, PolicyRow, PolicyRun
from autoscaler_tuning.simulator.simulate import simulate
from autoscaler_tuning.simulator.world import SimConfig, SimulationError, service_times
from loadgen.workload.arrivals import arrival_times

# A simulation keeps every request in memory; more than this fill the memory of a small machine.
MOST_REQUESTS = 5_000_000
LP_TIME_LIMIT_S = 120.0
GRID_S = 0.5
# Work that arrives in one second, divided by what all pods can do in one; above this the tables of the bound grow too
# large.
MOST_OVERLOAD = 20.0

KPA_TICK_S = 2.0

BoundName = Literal["lp", "milp"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The traffic and the settings that all policies of one comparison share.

    counts: requests in each second.
    min_pods: lower bound on the pods of every policy.
    price_per_pod_hour: price of a ready or starting pod, in any currency.
    bounds: the lower bounds that the rows carry.
    label: name of the traffic in tables.
    """

    counts: tuple[int, ...]
    sim: SimConfig
    min_pods: int = 0
    price_per_pod_hour: float = 0.04
    bounds: tuple[BoundName, ...] = ("lp", "milp")
    label: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.min_pods <= self.sim.max_pods:
            raise SimulationError(f"min_pods must be from 0 to max_pods ({self.sim.max_pods}), got {self.min_pods}")
        if not 0 <= self.price_per_pod_hour < inf:
            raise SimulationError(f"price_per_pod_hour must be finite and at least 0, got {self.price_per_pod_hour}")
        if not 1 <= sum(self.counts) <= MOST_REQUESTS:
            raise SimulationError(f"workload must have 1 to {MOST_REQUESTS} requests, got {sum(self.counts)}")

    def arrivals_s(self, seed: int) -> FloatArray:
        """Return the arrival times of a seed, which are the same for every policy."""
        return np.asarray(arrival_times(self.counts, "count", seed), dtype=float)


@dataclass(frozen=True, slots=True)
class Case:
    """One policy and one seed of a comparison."""

    comparison: Comparison
    policy: str
    seed: int


def simulated_run(
    spec: PolicySpec, arrivals_s: FloatArray, config: SimConfig, seed: int, min_pods: int = 0
) -> PolicyRun:
    """Simulate one policy. It scales to zero as on Knative, and pays for Knative's window and grace period.

    A policy with a lower bound begins with that many pods, since a cluster has them before the first request.
    """
    most = min(config.max_pods, spec.revision.max_pods or config.max_pods)
    least = min(most, max(spec.revision.min_pods, min_pods))
    recorded = Recorded(Bounded(spec.on_knative(), least, most))
    world = replace(config, order=spec.order, initial_pods=max(config.initial_pods, least))
    run = simulate(spec.name, recorded, arrivals_s, world, seed)
    return replace(run, wanted_pods=tuple(recorded.wanted_pods))


def run_case(case: Case) -> PolicyRun:
    """Run one case, without the bounds. A case names its policy because the functions of a policy cannot be pickled."""
    comparison, sim = case.comparison, case.comparison.sim
    spec = policy_named(case.policy, sim.slo_s)
    run = simulated_run(spec, comparison.arrivals_s(case.seed), sim, case.seed, comparison.min_pods)
    return replace(run, row=_completed(run, case, comparison))


def compare(
    comparison: Comparison, policies: Sequence[str], seeds: int, progress: Callable[[str], None]
) -> list[PolicyRun]:
    """Return all runs, ordered by policy and then by seed.

    They run on all cores; the result does not depend on their number.
    progress: called with a short text after each step.
    Raises SimulationError or BoundError.
    """
    cases = [Case(comparison, policy, seed) for policy in policies for seed in range(seeds)]
    runs: list[PolicyRun] = []
    for case, run in zip(cases, parallel_map(run_case, cases), strict=True):
        runs.append(run)
        progress(f"{case.policy}, seed {case.seed}")
    if not comparison.bounds:
        return runs
    rows = bounded_rows(comparison, [run.row for run in runs], progress)
    return [replace(run, row=row) for run, row in zip(runs, rows, strict=True)]


class Bounds:
    """Computes the bounds of rows on the same arrivals; caches what it solved, because many rows share a late ratio."""

    def __init__(
        self, arrivals_s: FloatArray, service_s: FloatArray, config: BoundConfig, names: Sequence[BoundName]
    ) -> None:
        self._arrivals_s, self._service_s, self._config = arrivals_s, service_s, config
        self._names = names if _is_tractable(arrivals_s, service_s, config) else ()
        self._grids: dict[BoundConfig, GridBound] = {}
        self._lps: dict[BoundConfig, float] = {}

    def with_bounds(self, row: PolicyRow, revision: RevisionSettings) -> PolicyRow:
        """Return the row with its bounds; revision is that of its policy, which begins with the pods of its min-scale.

        After its stable window a policy scales to zero.
        """
        config = replace(
            self._config,
            initial_pods=min(self._config.max_pods, max(self._config.initial_pods, revision.min_pods)),
            zero_window_s=revision.zero_window_s,
            end_s=row.until_s if isfinite(row.until_s) else None,
        )
        milp = self._milp(row, config) if "milp" in self._names else nan
        return replace(
            row,
            lp_bound_pod_seconds=self._lp(row, config) if "lp" in self._names else nan,
            milp_bound_pod_seconds=milp,
            ratio_to_bound=row.pod_seconds / milp if milp > 0 else nan,
        )

    def _milp(self, row: PolicyRow, config: BoundConfig) -> float:
        if config not in self._grids:
            self._grids[config] = GridBound(self._arrivals_s, self._service_s, config)
        return self._grids[config].pod_seconds(row.late_ratio)

    def _lp(self, row: PolicyRow, config: BoundConfig) -> float:
        """Return the LP bound; nan if HiGHS cannot prove one within the time limit."""
        config = replace(config, late_ratio=row.late_ratio, lost=row.lost)
        if config not in self._lps:
            try:
                self._lps[config] = lp_bound(self._arrivals_s, self._service_s, config).pod_seconds
            except BoundError:
                self._lps[config] = nan
        return self._lps[config]


def bound_config(sim: SimConfig) -> BoundConfig:
    """Return the assumptions of the clairvoyant bound: the shortest pod start, and slots that divide the SLO."""
    starts_s = sim.cold_start_samples_s or sim.cold_start_s
    shortest_s, longest_s = min(starts_s), max(starts_s)
    return BoundConfig(
        slo_s=sim.slo_s,
        cold_start_s=shortest_s,
        wake_s=longest_s + sim.actuation_s + sim.readiness_delay_s + sim.max_pods * sim.start_serial_s + KPA_TICK_S,
        # A policy that is judged from the middle on may have kept any number of pods until then.
        initial_pods=sim.max_pods if sim.judged_from_s else sim.initial_pods,
        max_pods=sim.max_pods,
        concurrency=sim.concurrency,
        grid_s=sim.slo_s / max(1, round(sim.slo_s / GRID_S)),
        time_limit_s=LP_TIME_LIMIT_S,
    )


def _completed(run: PolicyRun, case: Case, comparison: Comparison) -> PolicyRow:
    row, sim = run.row, comparison.sim
    return replace(
        row,
        seed=case.seed,
        reaction_s=reaction_s(comparison.counts, run.wanted_pods, sim.service_time_s, int(sim.judged_from_s)),
        cost_per_1000_in_slo=cost_per_1000_in_slo(row, comparison.price_per_pod_hour),
    )


def cost_per_1000_in_slo(row: PolicyRow, price_per_pod_hour: float) -> float:
    """Return the price of the pod-seconds per thousand responses within the SLO; nan if there are none."""
    in_slo = row.requests - row.late
    return row.pod_seconds / 3600 * price_per_pod_hour / in_slo * 1000 if in_slo else nan


def bounded_rows(comparison: Comparison, rows: Sequence[PolicyRow], progress: Callable[[str], None]) -> list[PolicyRow]:
    """Return the rows with their bounds, in the same order. Raises BoundError."""
    found: dict[tuple[str, int], PolicyRow] = {}
    by_seed = sorted(rows, key=lambda row: row.seed)
    batches = [(comparison, seed, tuple(group)) for seed, group in groupby(by_seed, key=lambda row: row.seed)]
    for (_, seed, _), bounded in zip(batches, parallel_map(_bounds_of_seed, batches), strict=True):
        progress(f"bounds, seed {seed}")
        found |= {(row.policy, row.seed): row for row in bounded}
    return [found[(row.policy, row.seed)] for row in rows]


def bounds_of(comparison: Comparison, seed: int) -> Bounds:
    """Return the bounds of a seed's arrivals and service times."""
    arrivals_s = comparison.arrivals_s(seed)
    # The simulator draws these first from the seed, so they are the service times of the runs.
    service_s = service_times(comparison.sim, np.random.default_rng(seed), len(arrivals_s))
    judged_s = comparison.sim.judged_from_s
    judged = arrivals_s >= judged_s
    config = bound_config(comparison.sim)
    config = replace(config, initial_pods=max(config.initial_pods, comparison.min_pods))
    return Bounds(arrivals_s[judged] - judged_s, service_s[judged], config, comparison.bounds)


def _bounds_of_seed(batch: tuple[Comparison, int, tuple[PolicyRow, ...]]) -> list[PolicyRow]:
    comparison, seed, rows = batch
    bounds = bounds_of(comparison, seed)
    return [bounds.with_bounds(row, policy_named(row.policy).revision) for row in rows]


def _is_tractable(arrivals_s: FloatArray, service_s: FloatArray, config: BoundConfig) -> bool:
    """Return whether the work of the busiest second is small enough for the tables of the bound."""
    work_s = np.bincount(arrivals_s.astype(int), weights=service_s)
    return float(work_s.max()) <= MOST_OVERLOAD * config.max_pods * config.concurrency
