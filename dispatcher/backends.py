"""The backends that requests are forwarded to: one Knative route, or several URLs that share the load."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from operator import attrgetter
from typing import NamedTuple

from dispatcher.actions import Outcome
from dispatcher.estimates import AWAKE_S

FIRST_BACKOFF_S = 0.1
LONGEST_BACKOFF_S = 2.0
# Consecutive failures that eject a backend; one that cannot be reached is ejected at once.
FAILURES_TO_EJECT = 2

RETRY_WINDOW_S = 10
# Retries per second that are allowed whatever the traffic, so that a few requests survive the death of their pod.
LEAST_RETRIES_RPS = 10


class Slot(NamedTuple):
    """A slot taken at a backend; probe: the request tests whether an ejected backend works again."""

    url: str
    probe: bool


@dataclass(slots=True)
class _Backend:
    """One backend and what is in flight there.

    concurrency: largest number of requests in flight.
    failures: consecutive ones. ejections: consecutive ones; until opens_s the backend gets no request, then one probe.
    taken: number of the last take() that picked this backend.
    """

    url: str
    concurrency: float
    in_flight: int = 0
    failures: int = 0
    ejections: int = 0
    opens_s: float = 0.0
    probing: bool = False
    taken: int = 0
    answered_s: float = -inf

    def able(self, now_s: float) -> bool:
        """Return whether the backend may get a request now."""
        if self.in_flight >= self.concurrency:
            return False
        return not self.ejections or (self.opens_s <= now_s and not self.probing)

    def eject(self, now_s: float) -> None:
        """Back off, for longer after each consecutive ejection."""
        self.opens_s = now_s + min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2.0 ** min(self.ejections, 16))
        self.ejections += 1


class Backends:
    """Picks the backend with the fewest requests in flight; of equals, the least recently picked one.

    A backend is ejected when it fails. After its back-off one request probes it, and the probe's success readmits it.
    """

    def __init__(self, urls: Sequence[str], concurrency: Sequence[int]) -> None:
        """concurrency: one limit per URL; 0 means no limit, since a Knative route has a buffer of its own."""
        self._backends = {url: _Backend(url, most or inf) for url, most in zip(urls, concurrency, strict=True)}
        self._leaving: dict[str, _Backend] = {}
        self._taken = 0
        self._slots = self._count_slots()
        self.answered_s = -inf

    def __len__(self) -> int:
        return len(self._backends)

    def replace(self, urls: Sequence[str], concurrency: int) -> None:
        """Replace the backends; those that are removed still finish the requests they have."""
        before = {**self._leaving, **self._backends}
        self._backends = {url: before.get(url) or _Backend(url, concurrency) for url in urls}
        for backend in self._backends.values():
            backend.concurrency = concurrency or inf
        self._leaving = {
            url: backend for url, backend in before.items() if url not in self._backends and backend.in_flight
        }
        self._slots = self._count_slots()

    def ejected(self) -> int:
        """Return how many backends are ejected."""
        return sum(1 for backend in self._backends.values() if backend.ejections)

    def slots(self) -> float:
        """Return how many requests the backends accept at once; infinite without a limit."""
        return self._slots

    def free(self, now_s: float) -> bool:
        """Return whether a backend may get a request now."""
        return any(backend.able(now_s) for backend in self._backends.values())

    def take(self, now_s: float, avoid: str | None = None, eager: bool = False) -> Slot | None:
        """Occupy a slot of the best backend; return None if all are full or ejected.

        avoid: a backend that failed this request; used only if there is no other.
        eager: an ejected backend is better than to wait.
        """
        best = self._best(now_s, avoid, eager)
        if best is None:
            return None
        self._taken += 1
        best.in_flight, best.taken = best.in_flight + 1, self._taken
        probe = best.ejections > 0 and best.opens_s <= now_s and not best.probing
        best.probing = best.probing or probe
        return Slot(best.url, probe)

    def pick(self, now_s: float) -> str | None:
        """Return the best backend for a request that does not queue, and occupy nothing; None without a healthy one."""
        able = [backend for backend in self._backends.values() if not backend.ejections or backend.able(now_s)]
        return min(able, key=_load).url if able else None

    def release(self, slot: Slot, now_s: float, outcome: Outcome) -> None:
        """Free the slot; readmit or eject the backend according to the outcome."""
        backend = self._backends.get(slot.url) or self._leaving[slot.url]
        backend.in_flight -= 1
        if slot.url in self._leaving and not backend.in_flight:
            del self._leaving[slot.url]
        if slot.probe:
            backend.probing = False
        if outcome is Outcome.ANSWERED:
            self._answered(backend, now_s, slot.probe)
            return
        backend.failures += 1
        ejects = outcome is Outcome.UNREACHED or backend.failures >= FAILURES_TO_EJECT
        # failures of requests sent before the ejection say nothing new
        if slot.probe or (ejects and not backend.ejections):
            backend.eject(now_s)

    def awake(self, url: str, now_s: float) -> bool:
        """Return whether the backend answered within the last AWAKE_S."""
        return url in self._backends and self._backends[url].answered_s >= now_s - AWAKE_S

    def covers_alone(self, url: str) -> bool:
        """Return whether the request just sent there finds a free slot: it is alone, or the concurrency is bounded."""
        backend = self._backends[url]
        return backend.in_flight == 1 or backend.concurrency < inf

    def backoff_ends_s(self) -> list[float]:
        """Return when each ejected backend may be probed."""
        return [backend.opens_s for backend in self._backends.values() if backend.ejections and not backend.probing]

    def _count_slots(self) -> float:
        return sum(backend.concurrency for backend in self._backends.values())

    def _best(self, now_s: float, avoid: str | None, eager: bool) -> _Backend | None:
        able = [backend for backend in self._backends.values() if backend.able(now_s)]
        if not able and eager:
            able = [backend for backend in self._backends.values() if backend.in_flight < backend.concurrency]
        others = [backend for backend in able if backend.url != avoid] if avoid else able
        return min(others or able, key=_load, default=None)

    def _answered(self, backend: _Backend, now_s: float, probe: bool) -> None:
        self.answered_s = backend.answered_s = now_s
        backend.failures = 0
        if probe:
            backend.ejections = 0


_load = attrgetter("in_flight", "taken")


class RetryBudget:
    """Allows retries up to a share of the requests released in the last RETRY_WINDOW_S, and LEAST_RETRIES_RPS.

    Source: the parameters of Finagle's RetryBudget (window 10 s, at least 10 per second, 20 %).
    """

    def __init__(self, ratio: float) -> None:
        self._ratio = ratio
        self._released: deque[tuple[int, int]] = deque()
        self._retried: deque[tuple[int, int]] = deque()
        self._releases = self._retries = 0

    def release(self, now_s: float) -> None:
        """Count a request that is sent for the first time."""
        self._forget(now_s)
        _count(self._released, int(now_s))
        self._releases += 1

    def take(self, now_s: float) -> bool:
        """Count a retry and return True, or return False if the budget is used up."""
        self._forget(now_s)
        if self._retries >= self._ratio * self._releases + LEAST_RETRIES_RPS * RETRY_WINDOW_S:
            return False
        _count(self._retried, int(now_s))
        self._retries += 1
        return True

    def _forget(self, now_s: float) -> None:
        while self._released and self._released[0][0] <= now_s - RETRY_WINDOW_S:
            self._releases -= self._released.popleft()[1]
        while self._retried and self._retried[0][0] <= now_s - RETRY_WINDOW_S:
            self._retries -= self._retried.popleft()[1]


def _count(seconds: deque[tuple[int, int]], second: int) -> None:
    if seconds and seconds[-1][0] == second:
        seconds[-1] = (second, seconds[-1][1] + 1)
    else:
        seconds.append((second, 1))
