"""A policy that knows how a family of traffic is made but not its future, as a yardstick beside the bound.

The clairvoyant bound knows every arrival and every jump in advance. This policy knows the highest rate of the family
and is told the present mean rate, which any other policy has to estimate; it knows neither the next jump nor the
arrivals. So its ratio to the bound is the price of not knowing the future, at the same price of a late response.

Its pods are those for the present rate plus a reserve, which is found by search on fresh seeds, by least cost. The
form is that of inventory control for a demand that follows a Markov chain and orders that take time, where a base stock
for each state is optimal (Song and Zipkin 1993, Inventory control in a fluctuating demand environment). For pods that
is no proof, so a finer policy might do better. What it costs more than a clairvoyant one is the value of perfect
information (Raiffa and Schlaifer 1961).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import ceil, sqrt
from statistics import fmean

from autoscaler_tuning.experiments.compare import Comparison, bounds_of
from autoscaler_tuning.experiments.first_start import after_first_start
from autoscaler_tuning.experiments.parallel import parallel_map
from autoscaler_tuning.policies.base import Bounded, RevisionSettings
from autoscaler_tuning.policies.scale_to_zero import writes_bounds
from autoscaler_tuning.policies.shadow import LATE_PRICE
from autoscaler_tuning.results import FloatArray, PolicyRow, PolicyRun
from autoscaler_tuning.simulator.simulate import simulate
from autoscaler_tuning.simulator.world import SimConfig
from autoscaler_tuning.types import Decision, Observation
from loadgen.workload.families import FAMILIES, family_counts, family_rates, is_family

NAME = "told the rate"
# Families whose changes of the rate follow each other at an interval that the past shows.
PERIODIC = ("on-off",)
SIGMAS = (0.5, 0.8, 1.1, 1.4, 1.7, 2.0, 2.4, 2.8)
# The last reserve stands for always having the pods for the highest rate.
RESERVES = (0, 1, 2, 1_000_000)
START_S = 30.0
# Seeds of the family on which the reserve is chosen.
FRESH_SEEDS = (1001, 1002, 1003, 1004, 1005)


@dataclass(frozen=True, slots=True)
class Reserve:
    """What is kept beyond the mean load.

    sigmas: standard deviations of the requests in service, a Poisson number.
    pods: further pods, up to those for the highest rate.
    ahead_s: how long in advance the rate is told.
    """

    sigmas: float
    pods: int
    ahead_s: float = 0.0


class RateTold:
    """A policy that is told the mean rate of each second, from rates_rps, but not the requests."""

    interval_s = 0.5

    def __init__(self, rates_rps: FloatArray, sim: SimConfig, reserve: Reserve) -> None:
        self._loads = rates_rps * sim.service_time_s / sim.concurrency
        self._reserve = reserve
        self._most = self._pods_for(float(self._loads.max()))

    def decide(self, obs: Observation) -> Decision:
        """Return the pods for the present load and the reserve."""
        now, until = int(obs.now_s), int(obs.now_s + self._reserve.ahead_s) + 1
        load = float(self._loads[now:until].max(initial=0.0))
        return Decision(min(self._most, self._pods_for(load) + self._reserve.pods), NAME)

    def _pods_for(self, load: float) -> int:
        return ceil(load + self._reserve.sigmas * sqrt(load) - 1e-9)


@dataclass(frozen=True, slots=True)
class _InformedCase:
    comparison: Comparison
    family: str
    reserve: Reserve
    seed: int


def knows_rates(trace: str) -> bool:
    """Return whether the trace is a family whose mean rate is known in each second."""
    return is_family(trace) and not FAMILIES[trace.partition(":")[0]].is_drawn


def informed_rows(comparison: Comparison, family: str, seeds: int) -> list[PolicyRow]:
    """Return the rows of the policy with the best reserve on the comparison's traffic, with their bounds.

    Late requests of the first start from zero do not count.

    family: the text from which comparison.counts was made; knows_rates() must hold.
    """
    best = best_reserve(comparison, family)
    cases = [_InformedCase(comparison, family, best, seed) for seed in range(seeds)]
    return list(parallel_map(_bounded_row, cases))


def best_reserve(comparison: Comparison, family: str) -> Reserve:
    """Return the reserve with the least mean cost on fresh seeds, in pod-seconds with LATE_PRICE for a late request.

    Late requests of the first START_S do not count, or a reserve would win that only helps after the start from zero.
    """
    name, sim = family.partition(":")[0], comparison.sim
    ahead_s = max(sim.cold_start_samples_s or sim.cold_start_s) + sim.actuation_s if name in PERIODIC else 0.0
    reserves = [Reserve(sigmas, pods, ahead_s) for sigmas, pods in product(SIGMAS, RESERVES)]
    fresh = [f"{family}{',' if ':' in family else ':'}seed={seed}" for seed in FRESH_SEEDS]
    traffic = [(replace(comparison, counts=family_counts(one)[: len(comparison.counts)]), one) for one in fresh]
    cases = [_InformedCase(*one, reserve, seed) for reserve in reserves for seed, one in enumerate(traffic)]
    costs = list(parallel_map(_cost, cases))
    return min(zip(_means(costs, len(traffic)), range(len(reserves)), reserves, strict=True))[2]


def _means(values: Sequence[float], size: int) -> list[float]:
    return [fmean(values[start : start + size]) for start in range(0, len(values), size)]


def _run(case: _InformedCase) -> PolicyRun:
    comparison, sim = case.comparison, replace(case.comparison.sim, order="deadline")
    policy = writes_bounds(RateTold(family_rates(case.family), sim, case.reserve), RevisionSettings())
    bounded = Bounded(policy, comparison.min_pods, sim.max_pods)
    return simulate(NAME, bounded, comparison.arrivals_s(case.seed), sim, case.seed)


def _cost(case: _InformedCase) -> float:
    run, sim = _run(case), case.comparison.sim
    late = ~(run.done_s - run.intended_s <= sim.slo_s) & (run.intended_s >= max(START_S, sim.judged_from_s))
    return run.row.pod_seconds + LATE_PRICE * int(late.sum())


def _bounded_row(case: _InformedCase) -> PolicyRow:
    row = replace(after_first_start(_run(case), case.comparison.sim), seed=case.seed)
    return bounds_of(case.comparison, case.seed).with_bounds(row, RevisionSettings())
