"""The simulated service as a policy sees it: pods that start and stop behind one queue."""

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autoscaler_tuning.results import Cost, FloatArray, TimedPodCounts
from autoscaler_tuning.simulator.servers import Servers, Serving
from autoscaler_tuning.simulator.world import SimConfig, cold_starts, service_times
from autoscaler_tuning.types import Observation, PodPhase, PodSample, Second

SECONDS_KEPT = 120


@dataclass(slots=True)
class SimulatedPod:
    """One pod: when it was started, ready, stopped (removed_s) and terminated (gone_s).

    ready_s is known from the start; removed_s and gone_s are None until the pod is stopped. Requests reach the pod
    readiness_delay_s after it is ready.
    """

    name: str
    started_s: float
    ready_s: float
    removed_s: float | None = None
    gone_s: float | None = None


class Cluster:
    """Pods and the requests that they serve; the control loop advances both from moment to moment."""

    def __init__(self, config: SimConfig, arrivals_s: FloatArray, rng: np.random.Generator) -> None:
        self._config = config
        self.service_s = service_times(config, rng, len(arrivals_s))
        self._servers = Servers(arrivals_s, self.service_s, config, rng.spawn(1)[0])
        self._cold_starts_s = cold_starts(config, rng)
        self._node_free_s = [0.0] * config.nodes
        self.pods: list[SimulatedPod] = []
        self._alive: list[int] = []
        self._terminating: list[int] = []
        self._seconds: deque[Second] = deque(maxlen=SECONDS_KEPT)
        self._second_began = (0, 0.0)
        self._waiting: list[tuple[float, int]] = []
        for _ in range(config.initial_pods):
            self._add(SimulatedPod(f"pod-{len(self.pods)}", 0.0, 0.0))

    @property
    def wanted_pods(self) -> int:
        """Pods that are ready or starting."""
        return len(self._alive)

    @property
    def unanswered(self) -> int:
        """Requests that were neither assigned to a pod nor refused."""
        return len(self._servers.arrivals_s) - self._servers.served - self._servers.refused

    @property
    def done_s(self) -> FloatArray:
        """When each request was answered, shape (requests,); nan for requests that were not."""
        return np.array(self._servers.done_s)

    def advance(self, until_s: float) -> None:
        """Simulate the requests up to and including until_s."""
        self._servers.advance(until_s)

    def next_arrival_s(self, after_s: float) -> float | None:
        """Return when the first request after after_s arrives; None after the last one."""
        index = self._servers.arrived(after_s)
        return self._servers.arrivals_s[index] if index < len(self._servers.arrivals_s) else None

    def scale_to(self, pods: int, now_s: float) -> None:
        """Start pods, or stop the newest: starting pods first, then ready ones, which finish their requests."""
        pods = min(pods, self._config.max_pods)
        while len(self._alive) < pods:
            self._add(SimulatedPod(f"pod-{len(self.pods)}", now_s, self._ready_s(now_s)))
        if len(self._alive) > pods:
            self._alive.sort(key=lambda pod: (self.pods[pod].ready_s > now_s, self.pods[pod].started_s, pod))
            self._remove(self._alive[pods:], now_s)
            del self._alive[pods:]

    def set_direct(self, direct: bool, now_s: float) -> None:
        """Choose whether requests go straight to the pods; no effect if a dispatcher's queue is in front of them."""
        self._servers.set_direct(direct, now_s)

    def end_second(self, index: int) -> None:
        """Record the traffic of the second [index, index + 1); call it when the clock is at the second's end."""
        end_s = index + 1.0
        arrived_before, request_seconds_before = self._second_began
        arrived, request_seconds = self._servers.arrived(end_s), self._servers.request_seconds(end_s)
        concurrency = max(0.0, request_seconds - request_seconds_before)
        by_pod = self._servers.concurrency_by_pod(float(index), end_s)
        concurrency = concurrency if concurrency > 1e-6 else 0.0
        self._seconds.append(Second(index, arrived - arrived_before, concurrency, by_pod))
        self._second_began = arrived, request_seconds
        self._waiting.append((end_s, self._servers.waiting(end_s)))

    def observe(self, now_s: float) -> Observation:
        """Return what a policy may know now."""
        servers = self._servers
        self._terminating = [pod for pod in self._terminating if (self.pods[pod].gone_s or 0.0) > now_s]
        ready = sum(1 for pod in self._alive if self.pods[pod].ready_s <= now_s)
        busy = servers.in_flight(now_s)
        mean_s, oldest_s = servers.mean_service_s(), servers.oldest_s(now_s)
        work_s = (mean_s or self._config.service_time_s) / self._config.concurrency
        return Observation(
            now_s=now_s,
            ready_pods=ready,
            starting_pods=len(self._alive) - ready,
            seconds=tuple(self._seconds),
            arrived=servers.arrived(now_s),
            waiting=servers.waiting(now_s),
            in_flight=len(busy),
            oldest_wait_s=0.0 if oldest_s is None else now_s - oldest_s,
            feasible_backlog_s=servers.feasible(now_s) * work_s,
            service_time_s=mean_s,
            pods=self._samples(now_s, busy),
        )

    def cost(self, from_s: float, end_s: float) -> Cost:
        """Return the cost between the two times."""

        def within(time_s: float | None) -> float:
            return end_s if time_s is None else min(end_s, max(from_s, time_s))

        return Cost(
            pod_seconds=sum(within(pod.removed_s) - within(pod.started_s) for pod in self.pods),
            terminating_pod_seconds=sum(within(pod.gone_s) - within(pod.removed_s) for pod in self.pods),
            cold_starts=sum(from_s <= pod.started_s < end_s for pod in self.pods[self._config.initial_pods :]),
        )

    def counts(self, end_s: float) -> tuple[TimedPodCounts, ...]:
        """Return pods and waiting requests at each second and at the end, for the plots."""
        times_s = np.array([time_s for time_s, _ in self._waiting] + [end_s])
        waiting = [waiting for _, waiting in self._waiting] + [self._servers.waiting(end_s)]
        columns = zip(times_s, *self.pods_at(times_s), waiting, strict=True)
        return tuple(TimedPodCounts(float(time_s), *(int(count) for count in counts)) for time_s, *counts in columns)

    def check(self, end_s: float) -> None:
        """Check conservation and Little's law, as sums, up to end_s; raise RuntimeError if they are violated.

        Every request that arrived was served or refused or is still waiting, and the integral of the requests in the
        system equals the sum of the times that they spent in it.
        """
        servers = self._servers
        arrived = servers.arrived(end_s)
        arrivals_s, done_s = np.array(servers.arrivals_s[:arrived]), np.array(servers.done_s[:arrived])
        served, refused = np.isfinite(done_s), servers.refused
        waiting = servers.waiting(end_s)
        if waiting < 0 or arrived != int(served.sum()) + refused + waiting:
            raise RuntimeError(
                "arrived requests must equal served + refused + waiting, "
                f"got {arrived} and {served.sum()} + {refused} + {waiting}"
            )
        spent_s = float(np.sum(np.minimum(done_s[served], end_s) - arrivals_s[served]))
        waiting_s = servers.request_seconds(end_s) - spent_s  # time spent by the requests that are still waiting
        if not -1e-6 * max(1.0, spent_s) <= waiting_s <= waiting * end_s + 1e-6 * max(1.0, spent_s):
            raise RuntimeError(
                "the integral of requests in the system must equal the time spent by served and waiting ones, "
                f"got {spent_s + waiting_s} s, {spent_s} s by served ones and {waiting} waiting"
            )

    def pods_at(self, times_s: FloatArray) -> tuple[NDArray[np.intp], ...]:
        """Return the ready, starting and terminating pods at these times, each of shape (times,)."""
        started_s, ready_s = (_sorted([getattr(p, name) for p in self.pods]) for name in ("started_s", "ready_s"))
        removed = [pod for pod in self.pods if pod.removed_s is not None]
        removed_s, gone_s = (_sorted([getattr(p, name) for p in removed]) for name in ("removed_s", "gone_s"))
        never_ready_s = _sorted([pod.ready_s for pod in removed if pod.ready_s > (pod.removed_s or 0.0)])
        stopped_starting_s = _sorted([pod.removed_s or 0.0 for pod in removed if pod.ready_s > (pod.removed_s or 0.0)])

        def so_far(events_s: FloatArray) -> NDArray[np.intp]:
            return np.searchsorted(events_s, times_s, side="right")

        alive = so_far(started_s) - so_far(removed_s)
        ready = so_far(ready_s) - so_far(never_ready_s) - (so_far(removed_s) - so_far(stopped_starting_s))
        return ready, alive - ready, so_far(removed_s) - so_far(gone_s)

    def _ready_s(self, now_s: float) -> float:
        """Return when a pod started now becomes ready, after the pods that its node starts before it."""
        node = min(range(len(self._node_free_s)), key=self._node_free_s.__getitem__)
        self._node_free_s[node] = max(now_s, self._node_free_s[node]) + self._config.start_serial_s
        return self._node_free_s[node] + next(self._cold_starts_s)

    def _add(self, pod: SimulatedPod) -> None:
        number = len(self.pods)
        self.pods.append(pod)
        self._alive.append(number)
        delay_s = self._config.readiness_delay_s if pod.ready_s > pod.started_s else 0.0
        self._servers.add(number, pod.ready_s + delay_s)

    def _remove(self, pods: list[int], now_s: float) -> None:
        ends_s = self._servers.remove(set(pods), now_s)
        for number in pods:
            pod = self.pods[number]
            pod.removed_s = now_s
            pod.gone_s = max(now_s + self._config.termination_s, ends_s.get(number, 0.0))
        self._terminating += pods

    def _samples(self, now_s: float, busy: list[Serving]) -> tuple[PodSample, ...]:
        """Return the current pods as the resource metrics pipeline reports them."""
        config, servers, cpu_ratio = self._config, self._servers, self._config.cpu_ratio
        ahead_s = dict.fromkeys((one.pod for one in busy), 0.0)
        for one in busy:
            ahead_s[one.pod] += min(one.end_s - now_s, one.work_s)
        samples = []
        for number in self._alive + self._terminating:
            pod = self.pods[number]
            ready = pod.ready_s <= now_s
            phase = (
                PodPhase.TERMINATING if pod.removed_s is not None else PodPhase.READY if ready else PodPhase.STARTING
            )
            worked_s = servers.work_s[number] - ahead_s.get(number, 0.0)
            cpu_s = config.cpu_per_start_s * ready + cpu_ratio * worked_s
            samples.append(PodSample(pod.name, phase, pod.started_s, pod.ready_s if ready else None, cpu_s))
        return tuple(samples)


def _sorted(values: list[float]) -> FloatArray:
    return np.sort(np.array(values, dtype=float))
