"""What policies see and say: the border between deciding and everything else."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

# How waiting requests are ordered: first come, first served; or the oldest that can still be in time first.
Order = Literal["fifo", "deadline"]


@dataclass(frozen=True, slots=True)
class Second:
    """What happened in one whole second of the caller's clock.

    index: the second [index, index + 1).
    arrivals: requests that came in.
    concurrency: mean requests in the system (waiting and in flight) over the second, time-weighted.
    by_pod: of each ready pod, where requests went straight to pods; empty where a queue in front of all counted them.
    """

    index: int
    arrivals: int
    concurrency: float
    by_pod: tuple[float, ...] = ()


class PodPhase(StrEnum):
    """Where a pod is in its life."""

    STARTING = "starting"
    READY = "ready"
    TERMINATING = "terminating"


@dataclass(frozen=True, slots=True)
class PodSample:
    """One pod as the resource metrics pipeline shows it.

    started_s, ready_s: on the caller's clock; ready_s is None until it was ready once.
    cpu_seconds: CPU time used since it started; None where nobody measures it.
    """

    name: str
    phase: PodPhase
    started_s: float
    ready_s: float | None = None
    cpu_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Observation:
    """All that a policy may know at one tick.

    now_s: the caller's clock, simulated or monotonic; never wall-clock time.
    seconds: the newest whole seconds, oldest first, without gaps; empty while nothing is known. At least the last
        60 are kept, so a policy that ticks less often misses none.
    arrived: requests seen since the start; never falls.
    waiting, in_flight: requests in the buffer, and sent on.
    oldest_wait_s: age of the oldest waiting request; 0 when none waits.
    feasible_backlog_s: work waiting that can still be answered within the SLO, in seconds of one pod.
    service_time_s: mean time in a pod; None until one was measured.
    fresh: False when the signals are older than the caller trusts; a policy then holds what there is.
    """

    now_s: float
    ready_pods: int
    starting_pods: int
    seconds: tuple[Second, ...] = ()
    arrived: int = 0
    waiting: int = 0
    in_flight: int = 0
    oldest_wait_s: float = 0.0
    feasible_backlog_s: float = 0.0
    service_time_s: float | None = None
    pods: tuple[PodSample, ...] = ()
    fresh: bool = True


@dataclass(frozen=True, slots=True)
class Decision:
    """The pods a policy wants, and which rule asked for them, in words a log line can carry.

    record: the figures behind it, by name.
    direct: requests go from the ingress straight to the pods, without a queue in front that all of them share.
    """

    pods: int
    reason: str
    record: Mapping[str, float] = field(default_factory=dict)
    direct: bool = False
