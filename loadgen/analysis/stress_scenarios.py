"""Stress scenarios as data: what is sent, what it looks for, and the checks that make its verdict."""

from dataclasses import dataclass, field

import numpy as np

from loadgen.analysis.findings import (
    Check,
    Span,
    breaks_well,
    first_answer,
    in_order,
    no_drift,
    none_lost,
    recovers,
    slow_served,
    unharmed,
)
from loadgen.workload.arrivals import Times, arrival_times
from loadgen.workload.workload import Workload


@dataclass(frozen=True, slots=True)
class Phase:
    """So many seconds at factor times the scenario's rate; mode as for workloads.

    slow_clients: so many besides, begun over the first half of the phase, each taking its time to send one body.
    """

    name: str
    seconds: int
    factor: float
    mode: str = "count"
    slow_clients: int = 0


@dataclass(frozen=True, slots=True)
class Act:
    """Phases without a pause between them; until_broken: ends with the first that is late beyond hope."""

    phases: tuple[Phase, ...]
    until_broken: bool = False


@dataclass(frozen=True, slots=True)
class Scenario:
    """Acts, each begun when all of the one before was answered.

    max_lag_ms: of a burst at one moment the last is sent late of necessity; None for the usual bound.
    """

    about: str
    looks_for: str
    acts: tuple[Act, ...]
    checks: tuple[Check, ...]
    max_lag_ms: float | None = None


@dataclass(frozen=True, slots=True)
class ActPlan:
    """When each request of an act is due, seconds from the act's start; the same of its slow clients."""

    times_s: Times
    spans: tuple[Span, ...]
    until_broken: bool
    slow_times_s: Times = field(default_factory=lambda: np.empty(0))


STEPS = tuple(Phase(f"{factor}x", 10, factor) for factor in (1, 2, 4, 8, 16, 32))

SCENARIOS: dict[str, Scenario] = {
    "spike": Scenario(
        "steady traffic, ten times as much for five seconds, steady again",
        "requests lost in the spike, and trouble that outlasts it",
        (Act((Phase("before", 15, 1), Phase("spike", 5, 10), Phase("after", 30, 1))),),
        (in_order("before"), none_lost("spike"), recovers("after", within_s=10)),
    ),
    "soak": Scenario(
        "steady traffic for ten minutes",
        "leaks: answers that become slower or fail after a while",
        (Act((Phase("soak", 600, 1),)),),
        (none_lost("soak", most_ratio=0.001), in_order("soak"), no_drift("soak")),
    ),
    "ramp": Scenario(
        "twice as much every ten seconds until more than 5 % are late, then steady traffic",
        "where it breaks, whether it then drops connections, and whether it comes back",
        (Act(STEPS, until_broken=True), Act((Phase("after", 20, 1),))),
        (breaks_well([step.name for step in STEPS]), recovers("after", within_s=10)),
    ),
    "herd": Scenario(
        "nothing for a minute, then twenty seconds' worth of requests at one moment, then steady traffic",
        "the cold start out of idleness, and requests lost in it",
        (Act((Phase("idle", 60, 0), Phase("herd", 1, 20, mode="burst"), Phase("after", 20, 1))),),
        (first_answer("herd", within_s=5), none_lost("herd"), recovers("after", within_s=15)),
        max_lag_ms=250.0,
    ),
    "slow-clients": Scenario(
        "steady traffic, and in its second half fifty clients that take ten seconds to send a photograph",
        "whether a few clients on thin lines make the others wait, and whether they are served themselves",
        (Act((Phase("before", 20, 1), Phase("slow", 20, 1, slow_clients=50))),),
        (in_order("before"), in_order("slow"), unharmed("before", by="slow"), slow_served()),
    ),
}
# How long a slow client takes over one body.
SLOW_SEND_S = 10.0


def plan_acts(scenario: Scenario, rate_rps: float, stretch: float, seed: int) -> list[ActPlan]:
    """rate_rps: what factor 1 stands for; stretch: factor on the seconds of all phases, each at least 1 s."""
    return [_plan(act, rate_rps, stretch, seed + 1000 * number) for number, act in enumerate(scenario.acts)]


def _plan(act: Act, rate_rps: float, stretch: float, seed: int) -> ActPlan:
    start_s, spans, times, slow = 0.0, [], [np.empty(0)], [np.empty(0)]
    for number, phase in enumerate(act.phases):
        seconds = max(1, round(phase.seconds * stretch))
        workload = Workload((1,) * seconds).scaled(rate_rps * phase.factor)
        times.append(start_s + arrival_times(workload.counts, phase.mode, seed + number))
        slow.append(start_s + np.linspace(0, seconds / 2, phase.slow_clients))
        spans.append(Span(phase.name, start_s, start_s + seconds, rate_rps * phase.factor))
        start_s += seconds
    return ActPlan(np.concatenate(times), tuple(spans), act.until_broken, np.concatenate(slow))
