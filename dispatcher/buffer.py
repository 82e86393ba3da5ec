"""The burst buffer decides which requests are forwarded, wait or are rejected; it has no I/O and no clock."""

from dataclasses import dataclass
from enum import StrEnum
from heapq import heapify, heappop, heappush
from math import inf
from typing import Literal

from dispatcher.backends import Backends
from dispatcher.signals import ServiceTimes

Order = Literal["deadline", "fifo"]

# One of this many released requests is the oldest expired one, even while others can still meet their deadlines.
EXPIRED_SHARE = 10


class Reason(StrEnum):
    """Why a request is rejected."""

    FULL = "queue full"
    DEADLINE = "deadline cannot be met"
    TIMEOUT = "waited too long"
    EXHAUSTED = "attempts exhausted"


class Outcome(StrEnum):
    """How a forwarded request ended at its backend."""

    ANSWERED = "answered"
    FAILED = "failed"
    UNREACHED = "unreached"


@dataclass(frozen=True, slots=True)
class Forward:
    """Send the request to the backend; attempt counts from 1."""

    request_id: int
    backend: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Reject:
    """Reject the request for good."""

    request_id: int
    reason: Reason


@dataclass(frozen=True, slots=True)
class Deliver:
    """Send the backend's response to the client."""

    request_id: int


Action = Forward | Reject | Deliver


@dataclass(frozen=True, slots=True)
class BufferConfig:
    """The buffer's settings.

    slo_s: a request without a deadline of its own is due this long after its arrival; this rejects no request.
    attempts: how often a request may fail at a backend.
    timeout_s: longest time a request may wait.
    hold: whether the capacity set by the controller limits the requests in flight.
    """

    slo_s: float = 0.5
    order: Order = "deadline"
    queue_limit: int = 1000
    attempts: int = 3
    timeout_s: float = 120.0
    hold: bool = True


@dataclass(frozen=True, slots=True)
class Capacity:
    """Number of requests that the pods can serve at once, as set by the controller; stale from valid_until_s on."""

    requests: int
    valid_until_s: float


@dataclass(slots=True)
class _Request:
    """due_s: when it should be answered. backend: where it is in flight, None while it waits."""

    arrival_s: float
    due_s: float
    client_deadline_s: float | None
    attempts: int = 0
    backend: str | None = None
    abandoned: bool = False


class BurstBuffer:
    """Holds requests while the pods are busy or do not exist yet.

    Every request ends exactly once: delivered, rejected, or cancelled by its client.
    """

    def __init__(self, config: BufferConfig, backends: Backends) -> None:
        self._config = config
        self._backends = backends
        self._capacity: Capacity | None = None
        self._requests: dict[int, _Request] = {}
        self._in_time: list[tuple[float, int]] = []
        self._expired: list[tuple[float, int]] = []
        self._drops: list[tuple[float, int]] = []
        self._since_expired = 0
        self.waiting = 0
        self.in_flight = 0
        self.service_times = ServiceTimes()

    def arrive(self, request_id: int, now_s: float, client_deadline_s: float | None = None) -> list[Action]:
        """Handle a new request: forward it, let it wait, or reject it."""
        due_s = now_s + self._config.slo_s if client_deadline_s is None else client_deadline_s
        self._requests[request_id] = _Request(now_s, due_s, client_deadline_s)
        self._wait(request_id)
        actions = self._advance(now_s)
        if self.waiting > self._config.queue_limit and self._is_waiting(request_id):
            actions.append(self._reject(request_id, Reason.FULL))
        return actions

    def finish(self, request_id: int, now_s: float, outcome: Outcome, service_time_s: float) -> list[Action]:
        """Handle the end of a forwarded request and free its slot.

        A failed request returns to its place in the queue unless its attempts are used up. An attempt that never
        reached its backend does not count.
        """
        request = self._requests[request_id]
        if request.backend is None:
            raise RuntimeError(f"request {request_id} finished without being in flight")
        self._backends.release(request.backend, now_s, outcome is Outcome.ANSWERED)
        self.in_flight -= 1
        request.backend = None
        if outcome is Outcome.ANSWERED:
            self.service_times.add(service_time_s)
        if outcome is Outcome.UNREACHED:
            request.attempts -= 1
        return [*self._settle(request_id, request, outcome), *self._advance(now_s)]

    def cancel(self, request_id: int, now_s: float) -> list[Action]:
        """Handle a client's disconnect: a waiting request is dropped.

        One in flight keeps its slot until the backend is done.
        """
        request = self._requests.get(request_id)
        if request is None:
            return []
        if request.backend is not None:
            request.abandoned = True
            return []
        self._forget_waiting(request_id)
        return self._advance(now_s)

    def set_capacity(self, capacity: Capacity, now_s: float) -> list[Action]:
        """Apply the capacity that the controller has set."""
        self._capacity = capacity
        return self._advance(now_s)

    def set_backends(self, urls: list[str], concurrency: int, now_s: float) -> list[Action]:
        """Replace the backends by those that the controller has named; requests in flight at others may finish."""
        self._backends.replace(urls, concurrency)
        return self._advance(now_s)

    def tick(self, now_s: float) -> list[Action]:
        """Act on deadlines, timeouts, back-offs and capacities that have expired by now_s."""
        return self._advance(now_s)

    def next_event_s(self, now_s: float) -> float | None:
        """Return when tick() is due if no other event comes first; None if no request waits."""
        if not self.waiting:
            return None
        times_s = [self._drops[0][0], *self._backends.backoff_ends_s()]
        if self._capacity is not None:
            times_s.append(self._capacity.valid_until_s)
        return min((time_s for time_s in times_s if time_s > now_s), default=None)

    def limit(self, now_s: float) -> float:
        """Return how many requests may be in flight now; infinite without a valid capacity."""
        if self._config.hold and self._capacity is not None and now_s < self._capacity.valid_until_s:
            return self._capacity.requests
        return inf

    def oldest_wait_s(self, now_s: float) -> float:
        """Return the age of the oldest waiting request; 0 if none waits."""
        arrivals_s = [request.arrival_s for request in self._requests.values() if request.backend is None]
        return now_s - min(arrivals_s) if arrivals_s else 0.0

    def feasible_backlog_s(self, now_s: float) -> float:
        """Return the waiting work that can still meet its deadlines, in seconds of one slot."""
        service_time_s = self._service_time_s()
        feasible = sum(
            1
            for request in self._requests.values()
            if request.backend is None and request.due_s >= now_s + service_time_s
        )
        return feasible * service_time_s

    def _advance(self, now_s: float) -> list[Action]:
        """Reject requests that are out of time, then fill the free slots in order."""
        actions: list[Action] = [*self._drop_overdue(now_s)]
        while self.waiting and self.in_flight < self.limit(now_s):
            backend = self._backends.take(now_s)
            if backend is None:
                break
            actions.append(self._forward(self._pop(now_s), backend))
        return actions

    def _forward(self, request_id: int, backend: str) -> Forward:
        request = self._requests[request_id]
        request.backend = backend
        request.attempts += 1
        self.waiting -= 1
        self.in_flight += 1
        return Forward(request_id, backend, request.attempts)

    def _settle(self, request_id: int, request: _Request, outcome: Outcome) -> list[Action]:
        if request.abandoned:
            del self._requests[request_id]
            return []
        if outcome is Outcome.ANSWERED:
            del self._requests[request_id]
            return [Deliver(request_id)]
        if request.attempts >= self._config.attempts:
            del self._requests[request_id]
            return [Reject(request_id, Reason.EXHAUSTED)]
        self._wait(request_id)
        return []

    def _wait(self, request_id: int) -> None:
        request = self._requests[request_id]
        key_s = request.due_s if self._config.order == "deadline" else request.arrival_s
        heappush(self._in_time, (key_s, request_id))
        drop_s = request.arrival_s + self._config.timeout_s
        if request.client_deadline_s is not None:
            drop_s = min(drop_s, request.client_deadline_s - self._service_time_s())
        heappush(self._drops, (drop_s, request_id))
        self.waiting += 1

    def _pop(self, now_s: float) -> int:
        """Return the next request to forward, in deadline order the first due of those that can still be in time.

        If there is none, and on one call in EXPIRED_SHARE, it is the oldest expired request instead.
        """
        if self._config.order == "deadline":
            self._demote(now_s)
        self._discard_ended(self._in_time)
        self._discard_ended(self._expired)
        self._since_expired += 1
        if self._expired and (not self._in_time or self._since_expired >= EXPIRED_SHARE):
            self._since_expired = 0
            return heappop(self._expired)[1]
        return heappop(self._in_time)[1]

    def _demote(self, now_s: float) -> None:
        latest_s = now_s + self._service_time_s()
        while self._in_time and self._in_time[0][0] < latest_s:
            _, request_id = heappop(self._in_time)
            if self._is_waiting(request_id):
                heappush(self._expired, (self._requests[request_id].arrival_s, request_id))

    def _drop_overdue(self, now_s: float) -> list[Action]:
        actions: list[Action] = []
        while self._drops and self._drops[0][0] <= now_s:
            _, request_id = heappop(self._drops)
            if self._is_waiting(request_id):
                has_deadline = self._requests[request_id].client_deadline_s is not None
                actions.append(self._reject(request_id, Reason.DEADLINE if has_deadline else Reason.TIMEOUT))
        return actions

    def _reject(self, request_id: int, reason: Reason) -> Reject:
        self._forget_waiting(request_id)
        return Reject(request_id, reason)

    def _forget_waiting(self, request_id: int) -> None:
        del self._requests[request_id]
        self.waiting -= 1
        if len(self._drops) > 64 + 4 * len(self._requests):  # most entries are of requests that have ended
            for heap in (self._drops, self._in_time, self._expired):
                heap[:] = [entry for entry in heap if self._is_waiting(entry[1])]
                heapify(heap)

    def _discard_ended(self, heap: list[tuple[float, int]]) -> None:
        while heap and not self._is_waiting(heap[0][1]):
            heappop(heap)

    def _is_waiting(self, request_id: int) -> bool:
        request = self._requests.get(request_id)
        return request is not None and request.backend is None

    def _service_time_s(self) -> float:
        return self.service_times.mean_s() or 0.0
