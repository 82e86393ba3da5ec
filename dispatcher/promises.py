"""Retry-After as a promise: refused clients form a line of their own, paced at the rate at which the queue drains."""

from collections import deque
from dataclasses import dataclass
from math import ceil, exp

PROMISES_KEPT = 10_000
# How long a place is kept after the second at which the client was told to return.
GRACE_S = 2.0
LONGEST_RETRY_S = 600.0
# What is assumed before anything was measured.
UNKNOWN_RATE_RPS = 10.0
UNKNOWN_START_S = 1.0

DRAIN_WINDOW_S = 30.0
# Completed requests that must have been seen before their rate is trusted: of the first ones, the short ones end first.
DRAIN_EVIDENCE = 20
# A start that was asked for longer ago than this, and without a request since, belongs to another story.
START_FORGOTTEN_S = 60.0


class DrainRate:
    """Requests per second that one slot completes while others wait, over about DRAIN_WINDOW_S of such time."""

    def __init__(self) -> None:
        self._seen_s = 0.0
        self._slots = 0.0
        self._completed = 0.0
        self._slot_seconds = 0.0

    def update(self, now_s: float, slots: float) -> None:
        """Note how many slots work while requests wait from now on; 0 stops the measurement, but forgets nothing."""
        if self._slots > 0 and now_s > self._seen_s:
            kept = exp((self._seen_s - now_s) / DRAIN_WINDOW_S)
            self._completed *= kept
            self._slot_seconds = self._slot_seconds * kept + self._slots * DRAIN_WINDOW_S * (1 - kept)
        self._seen_s, self._slots = now_s, slots

    def complete(self) -> None:
        """Count a request that was answered while others waited."""
        if self._slots > 0:
            self._completed += 1

    def per_slot_rps(self) -> float | None:
        """Return the completed requests per second and slot; None before there is evidence."""
        if self._completed < DRAIN_EVIDENCE or self._slot_seconds <= 0:
            return None
        return self._completed / self._slot_seconds


class StartTime:
    """The time from the first request that finds no slot until there is one, as it was the last time."""

    def __init__(self) -> None:
        self._asked_s: float | None = None
        self._last_asked_s = 0.0
        self._start_s: float | None = None

    def ask(self, now_s: float) -> None:
        """Note a request that finds no slot, whether it waits or is refused."""
        if self._asked_s is None or now_s > self._last_asked_s + START_FORGOTTEN_S:
            self._asked_s = now_s
        self._last_asked_s = now_s

    def ready(self, now_s: float) -> None:
        """Note that there is a slot."""
        if self._asked_s is not None:
            self._start_s, self._asked_s = now_s - self._asked_s, None

    def left_s(self, now_s: float) -> float | None:
        """Return how long a slot is still expected to take; None before the first start."""
        if self._start_s is None:
            return None
        return self._start_s if self._asked_s is None else max(0.0, self._asked_s + self._start_s - now_s)


@dataclass(slots=True)
class _Promise:
    """due_s: from then on a place is kept for the client, until lapses_s."""

    due_s: float
    key: bytes
    returned: bool = False

    @property
    def lapses_s(self) -> float:
        # the client rounds up to the whole second
        return self.due_s + 1.0 + GRACE_S


class Promises:
    """Remembers who was told to return when, and how many places of the queue are kept for those that are due.

    Clients that do not return let their promises lapse; the share that returned lately scales the places kept and the
    pace of new promises, so that pods do not idle for clients that never come back.
    """

    def __init__(self) -> None:
        self._line: deque[_Promise] = deque()
        self._due: deque[_Promise] = deque()
        self._due_by_key: dict[bytes, deque[_Promise]] = {}
        self._due_count = 0
        self._last_due_s = 0.0
        self._share = 1.0

    def next_due_s(self, first_s: float, rate_rps: float) -> float:
        """Return when a client that is refused now would have its place.

        first_s: when the queue begins to drain, now or after a start. rate_rps: places that become free per second.
        """
        return max(first_s, self._last_due_s) + self._share / rate_rps

    def promise(self, key: bytes, now_s: float, first_s: float, rate_rps: float) -> float:
        """Promise a place; return in how many seconds, not rounded."""
        self._advance(now_s)
        due_s = min(self.next_due_s(first_s, rate_rps), now_s + LONGEST_RETRY_S)
        self._last_due_s = max(self._last_due_s, due_s)
        if len(self._line) + len(self._due) < PROMISES_KEPT:
            self._line.append(_Promise(due_s, key))
        return due_s - now_s

    def claim(self, key: bytes, now_s: float) -> bool:
        """Return whether a client with this key was told to return about now; its promise is then kept."""
        self._advance(now_s)
        mine = self._due_by_key.get(key)
        if not mine:
            return False
        self._settle(mine.popleft(), returned=True)
        if not mine:
            del self._due_by_key[key]
        return True

    def reserved(self, now_s: float) -> int:
        """Return how many places are kept for clients that are due and have not returned."""
        self._advance(now_s)
        return ceil(self._due_count * self._share - 1e-9)

    def _advance(self, now_s: float) -> None:
        while self._line and self._line[0].due_s <= now_s:
            promise = self._line.popleft()
            self._due.append(promise)
            self._due_by_key.setdefault(promise.key, deque()).append(promise)
            self._due_count += 1
        while self._due and (self._due[0].returned or self._due[0].lapses_s <= now_s):
            promise = self._due.popleft()
            if not promise.returned:
                self._lapse(promise)

    def _lapse(self, promise: _Promise) -> None:
        mine = self._due_by_key[promise.key]
        mine.popleft()
        if not mine:
            del self._due_by_key[promise.key]
        self._settle(promise, returned=False)

    def _settle(self, promise: _Promise, returned: bool) -> None:
        """Take the promise off the kept places; the share follows the last fifty or so."""
        promise.returned = True
        self._due_count -= 1
        self._share = max(0.05, self._share + (returned - self._share) / 50)
