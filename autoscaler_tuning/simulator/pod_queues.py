"""Requests that the ingress hands straight to pods: each pod has its own queue, and nobody looks which is free.

Source: Envoy's round robin, one turn a worker; knative/serving pkg/queue/breaker.go (a queue of ten a concurrency).
"""

from bisect import insort
from collections import deque
from heapq import heapify, heapreplace

# Requests that a queue-proxy lets wait for each that its pod serves at a time.
QUEUE_DEPTH = 10


class PodQueues:
    """The pods that the ingress knows, each with the times at which its slots are free.

    ready: pods that get requests now, in the order in which they became ready.
    """

    def __init__(self, concurrency: int, workers: int) -> None:
        self._concurrency = concurrency
        self._turns = [0] * workers
        self._slots: dict[int, list[float]] = {}
        self._coming: list[tuple[float, int]] = []
        self._ends: dict[int, deque[float]] = {}
        self._stays: list[tuple[float, float, int]] = []
        self.ready: list[int] = []

    def add(self, pod: int, ready_s: float, slots_s: list[float]) -> None:
        """A pod that is ready from ready_s on, with its slots free from slots_s."""
        heapify(slots_s)
        self._slots[pod], self._ends[pod] = slots_s, deque(end_s for end_s in sorted(slots_s) if end_s > ready_s)
        insort(self._coming, (ready_s, pod))

    def remove(self, pods: set[int]) -> None:
        """These get nothing more; what they were given they finish."""
        self._coming = [(ready_s, pod) for ready_s, pod in self._coming if pod not in pods]
        self.ready = [pod for pod in self.ready if pod not in pods]
        for pod in pods & self._slots.keys():
            del self._slots[pod], self._ends[pod]

    def slots(self) -> list[tuple[float, int]]:
        """(free from, pod) of every slot."""
        return [(free_s, pod) for pod, slots_s in self._slots.items() for free_s in slots_s]

    def first_ready_s(self, now_s: float, until_s: float) -> float | None:
        """When there is a pod to send to, now or up to until_s; None if there is none."""
        if not self.ready and self._coming:
            now_s = max(now_s, self._coming[0][0])
        if now_s > until_s:
            return None
        while self._coming and self._coming[0][0] <= now_s:
            self.ready.append(self._coming.pop(0)[1])
        return now_s if self.ready else None

    def next_pod(self, worker: int) -> int:
        """Whose turn it is with this worker of the ingress; there must be a ready pod."""
        self._turns[worker] = (self._turns[worker] + 1) % len(self.ready)
        return self.ready[self._turns[worker]]

    def freest_pod(self) -> tuple[int, float]:
        """The ready pod with the earliest free slot, where an activator sends, which does look; and when it is free."""
        pod = min(self.ready, key=lambda one: self._slots[one][0])
        return pod, self._slots[pod][0]

    def give(self, pod: int, now_s: float, service_s: float, held: bool) -> float | None:
        """When the pod ends a request that comes now; None if its queue is full.

        held: an activator holds it until it is served, so it needs no place in the queue.
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
        """Mean requests in each ready pod, waiting there included, over a time that no later call goes behind."""
        there_s = dict.fromkeys(self.ready, 0.0)
        for came_s, end_s, pod in self._stays:
            if pod in there_s:
                there_s[pod] += max(0.0, min(end_s, to_s) - max(came_s, from_s))
        self._stays = [stay for stay in self._stays if stay[1] > to_s]
        return tuple(spent_s / (to_s - from_s) for spent_s in there_s.values())
