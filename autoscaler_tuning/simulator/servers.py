"""Requests and the pods that serve them, in one step per request.

The end of a request is known as soon as it is assigned to a pod, so it needs no event of its own: a heap orders the
pods by the time at which they are free, and each request takes one step. Only the control loop stops in between; it
chooses how far to advance. The queue is that of the activator or the dispatcher; set_direct() removes it.
"""

from bisect import bisect_right
from collections import deque
from heapq import heapify, heappush, heapreplace
from itertools import accumulate
from math import inf, nan
from typing import NamedTuple

import numpy as np

from autoscaler_tuning.results import FloatArray
from autoscaler_tuning.simulator.pod_queues import PodQueues
from autoscaler_tuning.simulator.world import SimConfig

# One release in this many goes to the oldest expired request while others can still meet the SLO.
EXPIRED_SHARE = 40


class Serving(NamedTuple):
    """A request in a pod: when it ends, in which pod, and an upper bound on its remaining work."""

    end_s: float
    pod: int
    work_s: float


class Servers:
    """A central queue in front of pods. A request is an index into arrivals_s; done_s is filled as requests are served.

    free: heap of (time from which it is free, pod), with one entry per request that a pod can serve at a time.
    work_s: sum of the service times of the requests assigned to each pod, by pod number.
    """

    def __init__(
        self, arrivals_s: FloatArray, service_s: FloatArray, config: SimConfig, rng: np.random.Generator | None = None
    ) -> None:
        """Start without pods; rng draws the ingress worker that receives each request."""
        self.arrivals_s: list[float] = arrivals_s.tolist()
        self.service_s: list[float] = service_s.tolist()
        self.done_s: list[float] = [nan] * len(self.arrivals_s)
        self.work_s: list[float] = []
        self.free: list[tuple[float, int]] = []
        self.served = 0
        self.refused = 0
        self._left_s = 0.0
        self._service_sum_s = 0.0
        self._arrived_sums_s: list[float] = [0.0, *accumulate(self.arrivals_s)]
        self._draining: list[Serving] = []
        self._ready_s: dict[int, float] = {}
        self._config = config
        self._queue: _ByDeadline | None = None
        if config.order == "deadline" or config.queue_limit is not None:
            self._queue = _ByDeadline(config)
        self._pod_queues: PodQueues | None = None
        self._direct_since_s = inf
        self._rng = rng or np.random.default_rng(0)
        self._workers: list[int] = []
        self._next = 0
        self._last_start_s = 0.0

    def add(self, pod: int, ready_s: float) -> None:
        """Add a pod that serves requests from ready_s on."""
        self._ready_s[pod] = ready_s
        self.work_s += [0.0] * (pod + 1 - len(self.work_s))
        if self._pod_queues is not None:
            self._pod_queues.add(pod, ready_s, [ready_s] * self._config.concurrency)
            return
        for _ in range(self._config.concurrency):
            heappush(self.free, (ready_s, pod))

    def remove(self, pods: set[int], now_s: float) -> dict[int, float]:
        """Assign these pods no further requests; return when the last request of each busy one ends."""
        if self._pod_queues is not None:
            self._pod_queues.remove(pods)
        for free_s, pod in self.free:
            if pod in pods and free_s > max(now_s, self._ready_s[pod]):
                self._draining.append(Serving(free_s, pod, inf))
        self.free = [slot for slot in self.free if slot[1] not in pods]
        heapify(self.free)
        ends_s: dict[int, float] = {}
        for end_s, pod, _ in self._draining:
            if pod in pods and end_s > now_s:
                ends_s[pod] = max(end_s, ends_s.get(pod, 0.0))
        return ends_s

    def set_direct(self, direct: bool, now_s: float) -> None:
        """Choose whether requests go straight to the pods from now on.

        Waiting requests then go to the pod with the first free slot. A queue by deadline or with a limit always stays.
        """
        if direct == (self._pod_queues is not None) or self._queue is not None:
            return
        if self._pod_queues is not None:
            self._leave_pod_queues(self._pod_queues)
            return
        self._pod_queues = PodQueues(self._config.concurrency, self._config.gateway_workers)
        self._direct_since_s = now_s
        self._workers = self._workers or self._drawn_workers()
        slots: dict[int, list[float]] = {}
        for free_s, pod in self.free:
            slots.setdefault(pod, []).append(free_s)
            if free_s > max(now_s, self._ready_s[pod]):
                self._draining.append(Serving(free_s, pod, inf))
        for pod, slots_s in slots.items():
            self._pod_queues.add(pod, self._ready_s[pod], slots_s)
        self.free = []

    def advance(self, until_s: float) -> None:
        """Assign requests to pods up to and including until_s."""
        if self._pod_queues is not None:
            self._advance_direct(until_s, self._pod_queues)
        elif self._queue is None:
            self._advance_in_order(until_s)
        else:
            self._advance_by_deadline(until_s, self._queue)

    def arrived(self, now_s: float) -> int:
        """Return the number of requests that have arrived up to now."""
        return bisect_right(self.arrivals_s, now_s)

    def waiting(self, now_s: float) -> int:
        """Return the number of requests in the queue."""
        return self.arrived(now_s) - self.served - self.refused

    def in_flight(self, now_s: float) -> list[Serving]:
        """Return the requests that pods serve or have in their own queues now."""
        self._draining = [one for one in self._draining if one.end_s > now_s]
        busy = [
            Serving(free_s, pod, inf) for free_s, pod in self.free if free_s > now_s and free_s > self._ready_s[pod]
        ]
        return busy + self._draining

    def request_seconds(self, now_s: float) -> float:
        """Return the integral of the requests in the system, waiting and in flight, up to now."""
        arrived, busy = self.arrived(now_s), self.in_flight(now_s)
        left = self.served + self.refused - len(busy)
        left_sum_s = self._left_s - float(sum(one.end_s for one in busy))
        return now_s * (arrived - left) - self._arrived_sums_s[arrived] + left_sum_s

    def concurrency_by_pod(self, from_s: float, to_s: float) -> tuple[float, ...]:
        """Return the mean requests in each ready pod; empty if requests wait in a shared queue."""
        return () if self._pod_queues is None else self._pod_queues.concurrency(from_s, to_s)

    def mean_service_s(self) -> float | None:
        """Return the mean time in a pod of the requests assigned so far; None before the first."""
        return self._service_sum_s / self.served if self.served else None

    def oldest_s(self, now_s: float) -> float | None:
        """Return when the oldest waiting request arrived; None if no request is waiting."""
        if self.waiting(now_s) <= 0:
            return None
        return self.arrivals_s[self._next if self._queue is None else self._queue.oldest()]

    def feasible(self, now_s: float) -> int:
        """Return the number of waiting requests that can still be answered within the SLO."""
        too_old_s = now_s + self._config.service_time_s - self._config.slo_s
        if self._queue is not None:
            return self._queue.feasible(now_s, too_old_s, self.arrivals_s)
        arrived = self.arrived(now_s)
        oldest = bisect_right(self.arrivals_s, too_old_s, self._next, arrived) if self._next < arrived else arrived
        return arrived - oldest

    def _advance_in_order(self, until_s: float) -> None:
        """Serve first come, first served: the next request starts when it has arrived and a pod is free."""
        free, arrivals_s, service_s = self.free, self.arrivals_s, self.service_s
        done_s, work_s = self.done_s, self.work_s
        request = first = self._next
        if not free:
            return
        for request in range(first, len(arrivals_s)):
            start_s, pod = free[0]
            came_s = arrivals_s[request]
            if start_s < came_s:  # noqa: PLR1730  # calling max() takes a tenth of this loop's time
                start_s = came_s
            if start_s > until_s:
                break
            work_s[pod] += service_s[request]
            done_s[request] = end_s = start_s + service_s[request]
            heapreplace(free, (end_s, pod))
        else:
            request = len(arrivals_s)
        self._next = request
        self.served += request - first
        self._left_s += sum(done_s[first:request])
        self._service_sum_s += sum(service_s[first:request])

    def _advance_direct(self, until_s: float, queues: PodQueues) -> None:
        """Assign requests by round robin; those that arrive at no ready pod wait in order for the first free slot."""
        arrivals_s = self.arrivals_s
        while self._next < len(arrivals_s) and arrivals_s[self._next] <= until_s:
            request, came_s = self._next, arrivals_s[self._next]
            sent_s = queues.first_ready_s(max(came_s, self._last_start_s), until_s)
            if sent_s is None:
                return
            waited = sent_s > came_s or came_s < self._direct_since_s
            pod, free_s = queues.first_free_pod() if waited else (queues.next_pod(self._workers[request]), 0.0)
            sent_s = max(sent_s, free_s)
            if sent_s > until_s:
                return
            self._next, self._last_start_s = request + 1, sent_s
            end_s = queues.assign(pod, sent_s, self.service_s[request], waited)
            if end_s is None:
                self.refused += 1
                self._left_s += came_s
                continue
            self.done_s[request] = end_s
            self.work_s[pod] += self.service_s[request]
            self._draining.append(Serving(end_s, pod, self.service_s[request]))
            self.served += 1
            self._left_s += end_s
            self._service_sum_s += self.service_s[request]

    def _drawn_workers(self) -> list[int]:
        drawn: list[int] = self._rng.integers(0, self._config.gateway_workers, len(self.arrivals_s)).tolist()
        return drawn

    def _leave_pod_queues(self, queues: PodQueues) -> None:
        """Put the slots back into one heap, which also counts the last request of each slot."""
        self.free, self._pod_queues, self._direct_since_s = queues.slots(), None, inf
        heapify(self.free)
        lasts = set(self.free)
        self._draining = [one for one in self._draining if (one.end_s, one.pod) not in lasts]

    def _advance_by_deadline(self, until_s: float, queue: "_ByDeadline") -> None:
        free, arrivals_s, service_s = self.free, self.arrivals_s, self.service_s
        count = len(arrivals_s)
        while True:
            start_s = max(free[0][0], self._last_start_s) if free else inf
            if not queue.count and start_s < inf:
                start_s = max(start_s, arrivals_s[self._next]) if self._next < count else inf
            limit_s = min(start_s, until_s)
            while self._next < count and arrivals_s[self._next] <= limit_s:
                if not queue.push(self._next):
                    self.refused += 1
                    self._left_s += arrivals_s[self._next]
                self._next += 1
            if start_s > until_s:
                return
            request = queue.pop(start_s, arrivals_s)
            end_s = start_s + service_s[request]
            self.work_s[free[0][1]] += service_s[request]
            heapreplace(free, (end_s, free[0][1]))
            self.done_s[request] = end_s
            self._last_start_s = start_s
            self.served += 1
            self._left_s += end_s
            self._service_sum_s += service_s[request]


class _ByDeadline:
    """A queue that releases the oldest request that can still meet the SLO first, then the expired ones, oldest first.

    One release in EXPIRED_SHARE goes to an expired request, so that they are not starved. With order fifo no request
    expires. A full queue refuses new requests.
    """

    def __init__(self, config: SimConfig) -> None:
        self._patience_s = config.slo_s - config.service_time_s if config.order == "deadline" else inf
        self._most = inf if config.queue_limit is None else config.queue_limit
        self._feasible: deque[int] = deque()
        self._expired: deque[int] = deque()
        self._since_expired = 0
        self.count = 0

    def push(self, request: int) -> bool:
        """Add a request; return False if the queue is full."""
        if self.count >= self._most:
            return False
        self._feasible.append(request)
        self.count += 1
        return True

    def pop(self, now_s: float, arrivals_s: list[float]) -> int:
        self._expire(now_s - self._patience_s, arrivals_s)
        self.count -= 1
        self._since_expired += 1
        if self._expired and (not self._feasible or self._since_expired >= EXPIRED_SHARE):
            self._since_expired = 0
            return self._expired.popleft()
        return self._feasible.popleft()

    def oldest(self) -> int:
        return (self._expired or self._feasible)[0]

    def feasible(self, now_s: float, too_old_s: float, arrivals_s: list[float]) -> int:
        """Return how many waiting requests can still meet the SLO: those that arrived at too_old_s or later."""
        if self._patience_s < inf:
            self._expire(now_s - self._patience_s, arrivals_s)
            return len(self._feasible)
        return sum(1 for request in self._feasible if arrivals_s[request] >= too_old_s)

    def _expire(self, too_old_s: float, arrivals_s: list[float]) -> None:
        while self._feasible and arrivals_s[self._feasible[0]] < too_old_s:
            self._expired.append(self._feasible.popleft())
