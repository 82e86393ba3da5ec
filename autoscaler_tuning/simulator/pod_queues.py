"""Requests that the ingress sends straight to pods: each pod has its own queue, and the ingress ignores which is free.

Source: Envoy's round robin, one per worker; knative/serving pkg/queue/breaker.go (a queue of 10 times the concurrency).
"""

from bisect import insort
from collections import deque
from heapq import heapify, heapreplace

# Waiting requests that a queue-proxy allows per request that its pod can serve at a time.
QUEUE_DEPTH = 10


class PodQueues:
    """The pods that the ingress knows, each with the times at which its slots become free.

    ready: pods that receive requests now, in the order in which they became ready.
    """

    def __init__(self, concurrency: int, workers: int) -> None:
        self._concurrency = concurrency
        self._turns = [0] * workers
        self._slots: dict[int, list[float]] = {}
        self._starting: list[tuple[float, int]] = []
        self._ends: dict[int, deque[float]] = {}
        self._stays: list[tuple[float, float, int]] = []
        self.ready: list[int] = []

    def add(self, pod: int, ready_s: float, slots_s: list[float]) -> None:
        """Add a pod that is ready from ready_s on and whose slots are free from slots_s on."""
        heapify(slots_s)
        self._slots[pod], self._ends[pod] = slots_s, deque(end_s for end_s in sorted(slots_s) if end_s > ready_s)
        insort(self._starting, (ready_s, pod))

    def remove(self, pods: set[int]) -> None:
        """Send these pods no further requests; they finish the ones that they have."""
        self._starting = [(ready_s, pod) for ready_s, pod in self._starting if pod not in pods]
        self.ready = [pod for pod in self.ready if pod not in pods]
        for pod in pods & self._slots.keys():
            del self._slots[pod], self._ends[pod]

    def slots(self) -> list[tuple[float, int]]:
        """Return (time from which it is free, pod) of every slot."""
        return [(free_s, pod) for pod, slots_s in self._slots.items() for free_s in slots_s]

    def first_ready_s(self, now_s: float, until_s: float) -> float | None:
        """Return the first time from now_s to until_s at which a pod is ready; None if there is none."""
        if not self.ready and self._starting:
            now_s = max(now_s, self._starting[0][0])
        if now_s > until_s:
            return None
        while self._starting and self._starting[0][0] <= now_s:
            self.ready.append(self._starting.pop(0)[1])
        return now_s if self.ready else None

    def next_pod(self, worker: int) -> int:
        """Return the next ready pod in this ingress worker's round robin; there must be one."""
        self._turns[worker] = (self._turns[worker] + 1) % len(self.ready)
        return self.ready[self._turns[worker]]

    def first_free_pod(self) -> tuple[int, float]:
        """Return the ready pod with the earliest free slot, which an activator would choose, and when it is free."""
        pod = min(self.ready, key=lambda one: self._slots[one][0])
        return pod, self._slots[pod][0]

    def assign(self, pod: int, now_s: float, service_s: float, held: bool) -> float | None:
        """Send a request to the pod now; return when it ends, or None if the pod's queue is full.

        held: an activator holds the request until it is served, so it needs no place in the queue.
        """
        ends_s, slots_s = self._ends[pod], self._slots[pod]
        while ends_s and ends_s[0] <= now_s:
            ends_s.popleft()
        if not held and len(ends_s) >= self._concurrency * (1 + QUEUE_DEPTH):
            return None
        end_s = max(now_s, slots_s[0]) + service_s
        self._stays.append((now_s, end_s, pod))
        heapreplace(slots_s, end_s)
        if ends_s and end_s < ends_s[-1]:
            insort(ends_s, end_s)  # a short request beside a long one
        else:
            ends_s.append(end_s)
        return end_s

    def concurrency(self, from_s: float, to_s: float) -> tuple[float, ...]:
        """Return the mean requests in each ready pod, including its queue, from from_s to to_s.

        Requests that ended by to_s are forgotten, so later calls must not reach back before it.
        """
        spent_s = dict.fromkeys(self.ready, 0.0)
        for sent_s, end_s, pod in self._stays:
            if pod in spent_s:
                spent_s[pod] += max(0.0, min(end_s, to_s) - max(sent_s, from_s))
        self._stays = [stay for stay in self._stays if stay[1] > to_s]
        return tuple(one_s / (to_s - from_s) for one_s in spent_s.values())
