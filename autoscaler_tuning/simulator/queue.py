"""The order in which waiting requests are served: as the dispatcher does it, without its sockets."""

from collections import deque
from typing import Protocol

from autoscaler_tuning.types import Order

# One release in this many goes to the oldest expired request while others can still be in time.
EXPIRED_SHARE = 10


class Queue(Protocol):
    """Waiting requests, each an index with an arrival time; arrivals come in order of time."""

    def __len__(self) -> int: ...

    def push(self, request: int, arrival_s: float) -> None: ...

    def pop(self, now_s: float, service_time_s: float) -> int: ...

    def oldest_s(self) -> float | None: ...

    def feasible(self, now_s: float, service_time_s: float) -> int: ...


class Fifo:
    """First come, first served, as Knative has it."""

    def __init__(self, slo_s: float) -> None:
        self._slo_s = slo_s
        self._waiting: deque[tuple[float, int]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def push(self, request: int, arrival_s: float) -> None:
        self._waiting.append((arrival_s, request))

    def pop(self, now_s: float, service_time_s: float) -> int:
        return self._waiting.popleft()[1]

    def oldest_s(self) -> float | None:
        return self._waiting[0][0] if self._waiting else None

    def feasible(self, now_s: float, service_time_s: float) -> int:
        return _still_feasible(self._waiting, now_s + service_time_s - self._slo_s)


class OldestFeasibleFirst:
    """The oldest that can still be in time, then the expired, oldest first; these get one release in ten besides."""

    def __init__(self, slo_s: float) -> None:
        self._slo_s = slo_s
        self._feasible: deque[tuple[float, int]] = deque()
        self._expired: deque[tuple[float, int]] = deque()
        self._since_expired = 0

    def __len__(self) -> int:
        return len(self._feasible) + len(self._expired)

    def push(self, request: int, arrival_s: float) -> None:
        self._feasible.append((arrival_s, request))

    def pop(self, now_s: float, service_time_s: float) -> int:
        self._expire(now_s + service_time_s - self._slo_s)
        self._since_expired += 1
        if self._expired and (not self._feasible or self._since_expired >= EXPIRED_SHARE):
            self._since_expired = 0
            return self._expired.popleft()[1]
        return self._feasible.popleft()[1]

    def oldest_s(self) -> float | None:
        first = self._expired or self._feasible
        return first[0][0] if first else None

    def feasible(self, now_s: float, service_time_s: float) -> int:
        self._expire(now_s + service_time_s - self._slo_s)
        return len(self._feasible)

    def _expire(self, too_old_s: float) -> None:
        while self._feasible and self._feasible[0][0] < too_old_s:
            self._expired.append(self._feasible.popleft())


def _still_feasible(waiting: deque[tuple[float, int]], too_old_s: float) -> int:
    """Count from the newest back: arrivals are in order, so the first too old one ends it."""
    count = 0
    for arrival_s, _ in reversed(waiting):
        if arrival_s < too_old_s:
            break
        count += 1
    return count


QUEUES: dict[Order, type[Fifo] | type[OldestFeasibleFirst]] = {"fifo": Fifo, "deadline": OldestFeasibleFirst}
