"""Decides whether a request is accepted: bounds in requests and bytes, deadlines that cannot be met, promises."""

from dataclasses import dataclass
from math import inf
from typing import NamedTuple

from dispatcher.actions import BufferConfig, Reason
from dispatcher.promises import UNKNOWN_RATE_RPS, UNKNOWN_START_S, DrainRate, Promises, StartTime
from dispatcher.waiting import HeldRequest, WaitingLine

# Bound on the requests that one arrival may displace to make room for its body.
MOST_DISPLACED = 16
# Promises are paced a little slower than the queue drains: one that comes too late costs no pod its work while newer
# requests take the places that are left, and one that comes too early is broken.
PACE = 0.95


class Supply(NamedTuple):
    """What serves the queue now.

    slots: requests that are served at once; infinite if nothing bounds them. service_s: mean, None while unknown.
    least_s: a service time that is rarely undercut; what needs longer than this is impossible.
    expected_s: from release to answer, rarely exceeded.
    """

    slots: float
    in_flight: int
    service_s: float | None
    least_s: float
    expected_s: float

    @property
    def bounded(self) -> bool:
        """Whether the wait behind other requests can be computed."""
        return 0 < self.slots < inf


@dataclass(frozen=True, slots=True)
class Ruling:
    """Accepted if reason is None, in place of the displaced requests.

    promises: whether waiting is the cause, so that the client may come back.
    """

    reason: Reason | None = None
    promises: bool = True
    displaced: tuple[int, ...] = ()


ACCEPTED = Ruling()


class Admission:
    """Judges arrivals and tells refused clients when to come back."""

    def __init__(self, config: BufferConfig, line: WaitingLine) -> None:
        self._config, self._line = config, line
        self._promises, self._drain, self._start = Promises(), DrainRate(), StartTime()
        self._last_slots = 1.0
        self._accepted_bytes = self._reading_bytes = 0

    def observe(self, now_s: float, slots: float, in_flight: int) -> None:
        """Note what serves the queue from now on; infinite slots count as those in use."""
        if slots > 0:
            self._start.ready(now_s)
            self._last_slots = slots if slots < inf else max(1.0, in_flight)
        self._drain.update(now_s, self._last_slots if len(self._line) and slots > 0 else 0.0)

    def complete(self) -> None:
        """Count an answer for the drain rate."""
        self._drain.complete()

    def reading(self, delta_bytes: int) -> bool:
        """Count bytes of bodies on their way; return False if that exceeds the bound in bytes."""
        self._reading_bytes += delta_bytes
        return self.held_bytes() <= self._config.queue_bytes

    def accept(self, request: HeldRequest) -> None:
        """Count the body of an accepted request."""
        self._accepted_bytes += request.terms.size_bytes

    def leave(self, request: HeldRequest) -> None:
        """Stop counting the body of a request that has ended."""
        self._accepted_bytes -= request.terms.size_bytes

    def judge(self, request: HeldRequest, now_s: float, supply: Supply, must_wait: bool) -> Ruling:
        """Decide on a new request. must_wait: no slot is free for it."""
        if must_wait and supply.slots <= 0:
            self._start.ask(now_s)
        request.promised = self._promises.claim(request.terms.promise_key, now_s)
        if ruling := self._too_late(request, now_s, supply, must_wait):
            return ruling
        reserved = 0 if request.promised else self._promises.reserved(now_s)
        full = must_wait and len(self._line) + 1 + reserved > self._config.queue_limit
        excess_bytes = self.held_bytes() + request.terms.size_bytes - self._config.queue_bytes
        if not full and excess_bytes <= 0:
            return ACCEPTED
        if not self._in_time(request, now_s, supply):
            return Ruling(Reason.FULL)
        return self._displacing(request, int(full), excess_bytes)

    def retry_after_s(self, now_s: float, supply: Supply) -> float:
        """Return in how many seconds a client that is refused now would have a place."""
        return self._promises.next_due_s(*self._pace(now_s, supply)) - now_s

    def promise(self, key: bytes, now_s: float, supply: Supply) -> float:
        """Promise a refused client a place, and return in how many seconds it will be free."""
        return self._promises.promise(key, now_s, *self._pace(now_s, supply))

    def held_bytes(self) -> int:
        """Return the bytes of all bodies, those on their way included."""
        return self._accepted_bytes + self._reading_bytes

    def _too_late(self, request: HeldRequest, now_s: float, supply: Supply, must_wait: bool) -> Ruling | None:
        """Refuse what its client's own deadline makes impossible, as far as that is certain."""
        deadline_s = request.firm_deadline_s
        if deadline_s is None:
            return None
        latest_s = deadline_s - supply.least_s
        if now_s >= latest_s:
            return Ruling(Reason.DEADLINE, promises=False)
        wait_s = self._least_wait_s(request, now_s, supply) if must_wait else 0.0
        return Ruling(Reason.DEADLINE) if now_s + wait_s >= latest_s else None

    def _least_wait_s(self, request: HeldRequest, now_s: float, supply: Supply) -> float:
        if supply.bounded:
            return self._line.ahead_of(request.terms.priority, request.due_s) * supply.least_s / supply.slots
        return (self._start.left_s(now_s) or 0.0) if supply.slots <= 0 else 0.0

    def _in_time(self, request: HeldRequest, now_s: float, supply: Supply) -> bool:
        """Return whether the request may displace another one: it is expected to be answered in time.

        Reserved places do not count: the request takes the place of the displaced one, and none that was promised.
        """
        ahead = 0 if request.promised else self._line.ahead_of(request.terms.priority, request.due_s)
        wait_s = ahead * supply.expected_s / supply.slots if supply.bounded else 0.0
        return request.due_s >= now_s + wait_s + supply.expected_s

    def _displacing(self, request: HeldRequest, places: int, excess_bytes: int) -> Ruling:
        """Accept the request in place of the fewest requests that make enough room; refuse it if there are none."""
        if excess_bytes > self._accepted_bytes:
            return Ruling(Reason.FULL)
        displaced: list[int] = []
        for request_id in self._line.victims(request.terms.priority, MOST_DISPLACED):
            displaced.append(request_id)
            excess_bytes -= self._line.size_bytes(request_id)
            if len(displaced) >= places and excess_bytes <= 0:
                return Ruling(displaced=tuple(displaced))
        return Ruling(Reason.FULL)

    def _pace(self, now_s: float, supply: Supply) -> tuple[float, float]:
        """Return when the queue begins to drain, and how many places per second it then frees.

        Clients round up to whole seconds, so that those of one second may return at once: there must be room for them.
        """
        first_s = now_s
        if supply.slots <= 0:
            left_s = self._start.left_s(now_s)
            first_s += UNKNOWN_START_S if left_s is None else left_s
        per_slot_rps = self._drain.per_slot_rps()
        if per_slot_rps is None:
            per_slot_rps = 1 / supply.service_s if supply.service_s else UNKNOWN_RATE_RPS
        return first_s, min(PACE * per_slot_rps * self._last_slots, float(self._config.queue_limit))
