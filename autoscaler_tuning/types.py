"""Types that policies exchange with the simulator and the live controller: what they observe and what they decide."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

# Order of the waiting requests: "fifo" is first come, first served; "deadline" serves the oldest request that can still
# meet the SLO first.
Order = Literal["fifo", "deadline"]


@dataclass(frozen=True, slots=True)
class Second:
    """The traffic of one whole second of the caller's clock.

    index: the second [index, index + 1).
    arrivals: requests that arrived.
    concurrency: time-weighted mean of the requests in the system (waiting and in flight) over the second.
    by_pod: the same for each ready pod if the ingress sent requests straight to the pods; empty if they came through a
        shared queue.
    """

    index: int
    arrivals: int
    concurrency: float
    by_pod: tuple[float, ...] = ()


class PodPhase(StrEnum):
    """Phases in the life of a pod."""

    STARTING = "starting"
    READY = "ready"
    TERMINATING = "terminating"


@dataclass(frozen=True, slots=True)
class PodSample:
    """One pod as the resource metrics pipeline reports it.

    started_s, ready_s: on the caller's clock; ready_s is None until the pod has been ready once.
    cpu_seconds: CPU time used since the pod started; None if it is not measured.
    stuck: it cannot start as things are, for example because no node has room for it.
    url: the address at which it answers by itself; empty if it is unknown.
    """

    name: str
    phase: PodPhase
    started_s: float
    ready_s: float | None = None
    cpu_seconds: float | None = None
    stuck: bool = False
    url: str = ""


@dataclass(frozen=True, slots=True)
class Observation:
    """Everything that a policy may know at one tick.

    now_s: the caller's clock, simulated or monotonic; never wall-clock time.
    seconds: the newest whole seconds, oldest first, without gaps; empty until the first one has ended. At least the
        last 60 are kept, so that a policy that ticks less often misses none.
    arrived: requests since the start; never falls.
    waiting, in_flight: requests in the buffer, and requests forwarded to pods.
    oldest_wait_s: age of the oldest waiting request; 0 if none is waiting.
    feasible_backlog_s: waiting work that can still be answered within the SLO, in seconds of one pod.
    service_time_s: mean time in a pod; None until one has been measured.
    concurrency: requests that a pod serves at once.
    fresh: False if the signals are too old to act on; a policy then keeps the current pods.
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
    concurrency: int = 1


@dataclass(frozen=True, slots=True)
class Decision:
    """The number of pods that a policy wants, and the reason, in the form of a log line.

    record: the numbers behind the decision, by name.
    direct: the ingress sends requests straight to the pods, without a shared queue in front of them.
    """

    pods: int
    reason: str
    record: Mapping[str, float] = field(default_factory=dict)
    direct: bool = False
