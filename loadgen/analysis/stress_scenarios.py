"""Stress scenarios as data: the load, the weakness that each looks for, and the checks that decide its verdict."""

from dataclasses import dataclass, field

import numpy as np

from loadgen.analysis.findings import (
    Check,
    Span,
    degrades_gracefully,
    first_response,
    healthy,
    no_drift,
    none_lost,
    recovers,
    slow_clients_served,
    unharmed,
)
from loadgen.workload.arrivals import Times, arrival_times
from loadgen.workload.workload import Workload


@dataclass(frozen=True, slots=True)
class Phase:
    """A number of seconds at a factor of the scenario's rate; mode: as for workloads.

    slow_clients: number of additional clients that start in the first half of the phase and send one body slowly.
    """

    name: str
    seconds: int
    factor: float
    mode: str = "count"
    slow_clients: int = 0


@dataclass(frozen=True, slots=True)
class Act:
    """Phases without a pause between them; until_broken: ends early once a phase is certain to fail."""

    phases: tuple[Phase, ...]
    until_broken: bool = False


@dataclass(frozen=True, slots=True)
class Scenario:
    """A sequence of acts; each starts when the previous one has all its responses.

    max_lag_ms: a higher limit for bursts, whose last request is necessarily sent late; None for the usual limit.
    """

    about: str
    looks_for: str
    acts: tuple[Act, ...]
    checks: tuple[Check, ...]
    max_lag_ms: float | None = None


@dataclass(frozen=True, slots=True)
class ActPlan:
    """The times at which the requests of an act and its slow clients are due, in seconds since its start."""

    times_s: Times
    spans: tuple[Span, ...]
    until_broken: bool
    slow_times_s: Times = field(default_factory=lambda: np.empty(0))


STEPS = tuple(Phase(f"{factor}x", 10, factor) for factor in (1, 2, 4, 8, 16, 32))

SCENARIOS: dict[str, Scenario] = {
    "spike": Scenario(
        "steady traffic, ten times as much for five seconds, then steady traffic",
        "requests lost in the spike, and late requests long after it",
        (Act((Phase("before", 15, 1), Phase("spike", 5, 10), Phase("after", 30, 1))),),
        (healthy("before"), none_lost("spike"), recovers("after", within_s=10)),
    ),
    "soak": Scenario(
        "steady traffic for ten minutes",
        "leaks: responses that become slower or fail over time",
        (Act((Phase("soak", 600, 1),)),),
        (none_lost("soak", most_ratio=0.001), healthy("soak"), no_drift("soak")),
    ),
    "ramp": Scenario(
        "a rate that doubles every ten seconds until more than 5 % are late, then steady traffic",
        "the rate at which the server breaks, dropped connections, and failure to recover",
        (Act(STEPS, until_broken=True), Act((Phase("after", 20, 1),))),
        (degrades_gracefully([step.name for step in STEPS]), recovers("after", within_s=10)),
    ),
    "herd": Scenario(
        "no requests for a minute, then those of twenty seconds all at once, then steady traffic",
        "a slow cold start, and requests lost during it",
        (Act((Phase("idle", 60, 0), Phase("herd", 1, 20, mode="burst"), Phase("after", 20, 1))),),
        (first_response("herd", within_s=5), none_lost("herd"), recovers("after", within_s=15)),
        max_lag_ms=250.0,
    ),
    "slow-clients": Scenario(
        "steady traffic, and in its second half fifty clients that take ten seconds to send an image",
        "a few slow clients that delay the others or are not served themselves",
        (Act((Phase("before", 20, 1), Phase("slow", 20, 1, slow_clients=50))),),
        (healthy("before"), healthy("slow"), unharmed("before", by="slow"), slow_clients_served()),
    ),
}
# Time in which a slow client sends one body.
SLOW_SEND_S = 10.0


def planned_requests(scenario: Scenario, rate_rps: float, stretch: float) -> float:
    """Return the expected number of requests of a scenario, which is known before a plan is made."""
    phases = [phase for act in scenario.acts for phase in act.phases]
    return sum(_length_s(phase, stretch) * rate_rps * phase.factor + phase.slow_clients for phase in phases)


def plan_acts(scenario: Scenario, rate_rps: float, stretch: float, seed: int) -> list[ActPlan]:
    """Plan the acts of a scenario.

    rate_rps: rate of factor 1. stretch: factor on the length of all phases; each lasts at least 1 s.
    """
    return [_plan(act, rate_rps, stretch, seed + 1000 * number) for number, act in enumerate(scenario.acts)]


def _plan(act: Act, rate_rps: float, stretch: float, seed: int) -> ActPlan:
    start_s, spans, times, slow = 0.0, [], [np.empty(0)], [np.empty(0)]
    for number, phase in enumerate(act.phases):
        seconds = _length_s(phase, stretch)
        workload = Workload((1,) * seconds).scaled(rate_rps * phase.factor)
        times.append(start_s + arrival_times(workload.counts, phase.mode, seed + number))
        slow.append(start_s + np.linspace(0, seconds / 2, phase.slow_clients))
        spans.append(Span(phase.name, start_s, start_s + seconds, rate_rps * phase.factor))
        start_s += seconds
    return ActPlan(np.concatenate(times), tuple(spans), act.until_broken, np.concatenate(slow))


def _length_s(phase: Phase, stretch: float) -> int:
    return max(1, round(phase.seconds * stretch))
