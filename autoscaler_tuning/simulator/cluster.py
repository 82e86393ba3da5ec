"""The simulated service: a central queue, and pods that take time to start and to serve."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import isfinite

import numpy as np

from autoscaler_tuning.results import Cost, FloatArray, PodCounts
from autoscaler_tuning.simulator.events import EventLoop
from autoscaler_tuning.simulator.queue import QUEUES
from autoscaler_tuning.types import Observation, Order, PodPhase, PodSample, Second

SECONDS_KEPT = 120
PHASES = (PodPhase.READY, PodPhase.STARTING, PodPhase.TERMINATING)


class SimulationError(ValueError):
    """Impossible parameters; the text names the rule and the value."""


@dataclass(frozen=True, slots=True)
class SimConfig:
    """The world of one simulation.

    service_time_s, service_cv: mean and coefficient of variation of the lognormal time in a pod; cv 0 is constant.
    cold_start_s: (least, most) of the uniform time from decision to ready.
    cpu_per_request_s, cpu_per_start_s: CPU time that a request and a start burn, for policies that look at CPU.
    """

    service_time_s: float = 0.1
    service_cv: float = 0.1
    cold_start_s: tuple[float, float] = (2.0, 6.0)
    slo_s: float = 0.5
    concurrency: int = 1
    initial_pods: int = 0
    max_pods: int = 40
    cpu_per_request_s: float = 0.1
    cpu_per_start_s: float = 0.5
    order: Order = "fifo"

    def __post_init__(self) -> None:
        for name in ("service_time_s", "slo_s"):
            if not (isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise SimulationError(f"{name} must be above 0 s and finite, was {getattr(self, name)}")
        if not 0 <= self.cold_start_s[0] <= self.cold_start_s[1] < float("inf"):
            raise SimulationError(f"cold_start_s must be 0 <= least <= most, was {self.cold_start_s}")
        if not (self.concurrency >= 1 and 0 <= self.initial_pods <= self.max_pods and self.max_pods >= 1):
            raise SimulationError(
                "concurrency >= 1, 0 <= initial_pods <= max_pods and max_pods >= 1: got "
                f"{self.concurrency}, {self.initial_pods}, {self.max_pods}"
            )


@dataclass(slots=True, eq=False)
class Pod:
    """One pod: its phase, and how many requests it serves."""

    name: str
    started_s: float
    ready_s: float | None = None
    phase: PodPhase = PodPhase.STARTING
    serving: int = 0
    cpu_seconds: float = 0.0


@dataclass(slots=True)
class Meter:
    """Integrals over time, brought up to date at every change."""

    updated_s: float = 0.0
    pod_seconds: float = 0.0
    terminating_pod_seconds: float = 0.0
    request_seconds: float = 0.0
    cold_starts: int = 0


@dataclass(slots=True)
class SecondLog:
    """Arrivals and mean concurrency of each whole second so far."""

    kept: deque[Second] = field(default_factory=lambda: deque(maxlen=SECONDS_KEPT))
    arrived_before: int = 0
    request_seconds_before: float = 0.0


class Cluster:
    """Central queue and pods. Requests are indices into arrivals_s; done_s fills as they are answered."""

    def __init__(self, loop: EventLoop, config: SimConfig, arrivals_s: FloatArray, rng: np.random.Generator) -> None:
        self._loop = loop
        self._config = config
        self._arrivals_s = arrivals_s
        self.done_s = np.full(len(arrivals_s), np.nan)
        self.counts: list[PodCounts] = []
        self._service_s = _lognormal(rng, config.service_time_s, config.service_cv, len(arrivals_s))
        self._cold_starts_s = _uniform_forever(rng, config.cold_start_s)
        self._queue = QUEUES[config.order](config.slo_s)
        self._pods: list[Pod] = []
        self._meter = Meter()
        self._log = SecondLog()
        self.arrived = 0
        self.answered = 0
        self._pod_names = iter(range(10**9))
        for _ in range(config.initial_pods):
            self._become_ready(self._add_pod())
        loop.at(1.0, lambda: self._end_second(0))

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._queue)

    @property
    def in_flight(self) -> int:
        """Requests in pods."""
        return self.arrived - self.answered - len(self._queue)

    @property
    def wanted_pods(self) -> int:
        """Pods that are ready or starting."""
        return sum(1 for pod in self._pods if pod.phase is not PodPhase.TERMINATING)

    def arrive(self) -> None:
        """The next request comes in."""
        self._account()
        self._queue.push(self.arrived, self._loop.now_s)
        self.arrived += 1
        self._serve()

    def scale_to(self, pods: int) -> None:
        """Start pods, or stop the newest: starting ones first, then ready ones after what they serve."""
        pods = min(pods, self._config.max_pods)
        self._account()
        while self.wanted_pods < pods:
            self._start_pod()
        alive = [pod for pod in self._pods if pod.phase is not PodPhase.TERMINATING]
        alive.sort(key=lambda pod: (pod.phase is PodPhase.STARTING, pod.started_s))
        for pod in alive[pods:]:
            pod.phase = PodPhase.TERMINATING
            self._remove_if_idle(pod)

    def observe(self) -> Observation:
        """What a policy may know now."""
        now_s, service_time_s = self._loop.now_s, self._config.service_time_s
        oldest_s = self._queue.oldest_s()
        ready = sum(1 for pod in self._pods if pod.phase is PodPhase.READY)
        return Observation(
            now_s=now_s,
            ready_pods=ready,
            starting_pods=self.wanted_pods - ready,
            seconds=tuple(self._log.kept),
            arrived=self.arrived,
            waiting=self.waiting,
            in_flight=self.in_flight,
            oldest_wait_s=0.0 if oldest_s is None else now_s - oldest_s,
            feasible_backlog_s=self._queue.feasible(now_s, service_time_s) * service_time_s / self._config.concurrency,
            service_time_s=service_time_s if self.answered else None,
            pods=tuple(PodSample(p.name, p.phase, p.started_s, p.ready_s, p.cpu_seconds) for p in self._pods),
        )

    def cost(self) -> Cost:
        """What was used up to now."""
        self._account()
        return Cost(self._meter.pod_seconds, self._meter.terminating_pod_seconds, self._meter.cold_starts)

    def note_counts(self) -> None:
        """Keep the counts of now for the plots."""
        phases = [pod.phase for pod in self._pods]
        ready, starting, terminating = (phases.count(phase) for phase in PHASES)
        self.counts.append(PodCounts(self._loop.now_s, ready, starting, terminating, self.waiting))

    def _account(self) -> None:
        meter, now_s = self._meter, self._loop.now_s
        elapsed_s = now_s - meter.updated_s
        if elapsed_s <= 0:
            return
        wanted = self.wanted_pods
        meter.pod_seconds += wanted * elapsed_s
        meter.terminating_pod_seconds += (len(self._pods) - wanted) * elapsed_s
        meter.request_seconds += (self.arrived - self.answered) * elapsed_s
        meter.updated_s = now_s

    def _end_second(self, index: int) -> None:
        self._account()
        log, request_seconds = self._log, self._meter.request_seconds
        arrivals = self.arrived - log.arrived_before
        log.kept.append(Second(index, arrivals, request_seconds - log.request_seconds_before))
        log.arrived_before, log.request_seconds_before = self.arrived, request_seconds
        self.note_counts()
        self._loop.at(index + 2.0, lambda: self._end_second(index + 1))

    def _add_pod(self) -> Pod:
        pod = Pod(f"pod-{next(self._pod_names)}", self._loop.now_s)
        self._pods.append(pod)
        return pod

    def _start_pod(self) -> None:
        pod = self._add_pod()
        self._meter.cold_starts += 1
        self._loop.at(self._loop.now_s + next(self._cold_starts_s), lambda: self._become_ready(pod))

    def _become_ready(self, pod: Pod) -> None:
        if pod not in self._pods:  # stopped while starting
            return
        self._account()
        pod.phase, pod.ready_s = PodPhase.READY, self._loop.now_s
        pod.cpu_seconds += self._config.cpu_per_start_s
        self._serve()

    def _serve(self) -> None:
        for pod in self._pods:
            while pod.phase is PodPhase.READY and pod.serving < self._config.concurrency and len(self._queue):
                request = self._queue.pop(self._loop.now_s, self._config.service_time_s)
                pod.serving += 1
                done_s = self._loop.now_s + self._service_s[request]
                self._loop.at(done_s, lambda pod=pod, request=request: self._finish(pod, request))  # type: ignore[misc]

    def _finish(self, pod: Pod, request: int) -> None:
        self._account()
        self.done_s[request] = self._loop.now_s
        self.answered += 1
        pod.serving -= 1
        pod.cpu_seconds += self._config.cpu_per_request_s
        self._remove_if_idle(pod)
        self._serve()

    def _remove_if_idle(self, pod: Pod) -> None:
        if pod.phase is PodPhase.TERMINATING and pod.serving == 0:
            self._pods.remove(pod)


def _lognormal(rng: np.random.Generator, mean: float, cv: float, size: int) -> FloatArray:
    """Lognormal draws with this mean and coefficient of variation, shape (size,)."""
    variance = np.log1p(cv * cv)
    return rng.lognormal(np.log(mean) - variance / 2, np.sqrt(variance), size)


def _uniform_forever(rng: np.random.Generator, bounds: tuple[float, float]) -> Iterator[float]:
    while True:
        yield from rng.uniform(*bounds, size=64).tolist()
