"""Policies side by side on the same arrivals: policies x seeds -> runs, with what no policy could undercut."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from math import ceil, inf, isfinite, nan
from typing import Literal

import numpy as np

from autoscaler_tuning.bounds.grid import GridBound
from autoscaler_tuning.bounds.linear_program import BoundConfig, BoundError, lp_bound
from autoscaler_tuning.experiments.parallel import each
from autoscaler_tuning.experiments.reaction import reaction_s
from autoscaler_tuning.policies.base import Bounded, Recorded
from autoscaler_tuning.policies.kpa.kpa import KpaConfig
from autoscaler_tuning.policies.registry import PolicySpec, policy_named
from autoscaler_tuning.results import FloatArray, PolicyRow, PolicyRun
from autoscaler_tuning.simulator.simulate import simulate
from autoscaler_tuning.simulator.world import SimConfig, SimulationError, service_times
from loadgen.workload.arrivals import arrival_times

# A simulation keeps each request; more than these fill the memory of a small machine.
MOST_REQUESTS = 5_000_000
LP_TIME_LIMIT_S = 120.0
GRID_S = 0.5
# Work of one second over what all pods can do in it, beyond which the tables of the bound grow too large.
MOST_OVERLOAD = 20.0

KPA_TICK_S = 2.0

BoundName = Literal["lp", "milp"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What all policies of one comparison share.

    counts: requests per second. price_per_pod_hour: of ready and starting pods, in any currency.
    min_pods: fewer no policy may keep. bounds: which of them the rows carry. label: the traffic's name in tables.
    """

    counts: tuple[int, ...]
    sim: SimConfig
    min_pods: int = 0
    price_per_pod_hour: float = 0.04
    bounds: tuple[BoundName, ...] = ("lp", "milp")
    label: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.min_pods <= self.sim.max_pods:
            raise SimulationError(f"min_pods must be from 0 to max_pods, {self.sim.max_pods}, was {self.min_pods}")
        if not 0 <= self.price_per_pod_hour < inf:
            raise SimulationError(f"price_per_pod_hour must be finite and at least 0, was {self.price_per_pod_hour}")
        if not 1 <= sum(self.counts) <= MOST_REQUESTS:
            raise SimulationError(f"a workload to simulate has 1 to {MOST_REQUESTS} requests, had {sum(self.counts)}")

    def arrivals_s(self, seed: int) -> FloatArray:
        """The same for every policy."""
        return np.asarray(arrival_times(self.counts, "count", seed), dtype=float)


def begun(comparison: Comparison) -> Comparison:
    """The same from the middle of things, as a part of a trace needs it: with the pods stock KPA keeps for the rate
    of its first ten seconds. To begin with one pod would count the same late answers against every policy.
    """
    first = comparison.counts[:10]
    needed = sum(first) / len(first) * comparison.sim.service_time_s / KpaConfig().target_value
    pods = min(comparison.sim.max_pods, max(1, ceil(needed)))
    return replace(comparison, sim=replace(comparison.sim, initial_pods=pods))


@dataclass(frozen=True, slots=True)
class Case:
    """One run of a comparison."""

    comparison: Comparison
    policy: str
    seed: int


def simulated_run(
    spec: PolicySpec, arrivals_s: FloatArray, config: SimConfig, seed: int, min_pods: int = 0
) -> PolicyRun:
    """One policy in the simulator, with Knative's way to zero, which every policy pays for there."""
    most = min(config.max_pods, spec.revision.max_pods or config.max_pods)
    least = min(most, max(spec.revision.min_pods, min_pods))
    recorded = Recorded(Bounded(spec.on_knative(), least, most))
    run = simulate(spec.name, recorded, arrivals_s, replace(config, order=spec.order), seed)
    return replace(run, wanted_pods=tuple(recorded.wanted_pods))


def run_case(case: Case) -> PolicyRun:
    """One policy and seed, without the bounds. Policies travel by name, for they hold functions."""
    comparison, sim = case.comparison, case.comparison.sim
    spec = policy_named(case.policy, sim.slo_s)
    run = simulated_run(spec, comparison.arrivals_s(case.seed), sim, case.seed, comparison.min_pods)
    return replace(run, row=_completed(run, case, comparison))


def compare(
    comparison: Comparison, policies: Sequence[str], seeds: int, said: Callable[[str], None]
) -> list[PolicyRun]:
    """All runs, by policy and then seed, on all cores; the same whatever their number.

    said: is told of the progress. Raises SimulationError or BoundError.
    """
    cases = [Case(comparison, policy, seed) for policy in policies for seed in range(seeds)]
    runs: list[PolicyRun] = []
    for case, run in zip(cases, each(run_case, cases), strict=True):
        runs.append(run)
        said(f"{case.policy}, seed {case.seed}")
    if not comparison.bounds:
        return runs
    rows = dict(_bounded_rows(comparison, [run.row for run in runs], said))
    return [replace(run, row=rows[(run.row.policy, run.row.seed)]) for run in runs]


class Bounds:
    """The bounds at any late ratio on the same arrivals; what was solved is kept, for many rows have the same."""

    def __init__(
        self, arrivals_s: FloatArray, service_s: FloatArray, config: BoundConfig, names: Sequence[BoundName]
    ) -> None:
        self._arrivals_s, self._service_s, self._config = arrivals_s, service_s, config
        self._names = names if _is_tractable(arrivals_s, service_s, config) else ()
        self._grids: dict[BoundConfig, GridBound] = {}
        self._lps: dict[BoundConfig, float] = {}

    def of(self, row: PolicyRow, zero_window_s: float) -> PolicyRow:
        """The row with its bounds, under the stable window that its policy leaves Knative for the way to zero."""
        config = replace(
            self._config, zero_window_s=zero_window_s, end_s=row.until_s if isfinite(row.until_s) else None
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
        """nan when HiGHS proves nothing in time."""
        config = replace(config, late_ratio=row.late_ratio, lost=row.lost)
        if config not in self._lps:
            try:
                self._lps[config] = lp_bound(self._arrivals_s, self._service_s, config).pod_seconds
            except BoundError:
                self._lps[config] = nan
        return self._lps[config]


def bound_config(sim: SimConfig) -> BoundConfig:
    """What a clairvoyant may rely on in this world: the shortest start, and slots that divide the SLO."""
    starts_s = sim.cold_start_samples_s or sim.cold_start_s
    shortest_s, longest_s = min(starts_s), max(starts_s)
    return BoundConfig(
        slo_s=sim.slo_s,
        cold_start_s=shortest_s,
        wake_s=longest_s + sim.actuation_s + sim.readiness_delay_s + sim.max_pods * sim.start_serial_s + KPA_TICK_S,
        # whoever is judged from the middle on may have kept any pods until then
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
    """Price of the pod-seconds of a thousand answers in time; nan without one."""
    in_slo = row.requests - row.late
    return row.pod_seconds / 3600 * price_per_pod_hour / in_slo * 1000 if in_slo else nan


def _bounded_rows(
    comparison: Comparison, rows: Sequence[PolicyRow], said: Callable[[str], None]
) -> Iterator[tuple[tuple[str, int], PolicyRow]]:
    by_seed = sorted(rows, key=lambda row: row.seed)
    batches = [(comparison, seed, tuple(group)) for seed, group in groupby(by_seed, key=lambda row: row.seed)]
    for (_, seed, _), bounded in zip(batches, each(_bounds_of_seed, batches), strict=True):
        said(f"bounds, seed {seed}")
        for row in bounded:
            yield (row.policy, row.seed), row


def _bounds_of_seed(batch: tuple[Comparison, int, tuple[PolicyRow, ...]]) -> list[PolicyRow]:
    comparison, seed, rows = batch
    arrivals_s = comparison.arrivals_s(seed)
    # the simulator's first draw from this seed: the very service times of the runs
    service_s = service_times(comparison.sim, np.random.default_rng(seed), len(arrivals_s))
    judged_s = comparison.sim.judged_from_s
    judged = arrivals_s >= judged_s
    bounds = Bounds(arrivals_s[judged] - judged_s, service_s[judged], bound_config(comparison.sim), comparison.bounds)
    return [bounds.of(row, policy_named(row.policy).revision.zero_window_s) for row in rows]


def _is_tractable(arrivals_s: FloatArray, service_s: FloatArray, config: BoundConfig) -> bool:
    """Whether the busiest second's work is within reason for these pods."""
    work_s = np.bincount(arrivals_s.astype(int), weights=service_s)
    return float(work_s.max()) <= MOST_OVERLOAD * config.max_pods * config.concurrency
