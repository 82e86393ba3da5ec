"""The backends that requests are forwarded to: one Knative route, or several URLs that share the load."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

FIRST_BACKOFF_S = 0.1
LONGEST_BACKOFF_S = 2.0


@dataclass(slots=True)
class _Backend:
    """One backend and what is in flight there.

    concurrency: largest number of requests in flight.
    failures: consecutive ones; after each, the backend gets no request until backoff_until_s.
    taken: number of the last take() that picked this backend.
    """

    url: str
    concurrency: float
    in_flight: int = 0
    failures: int = 0
    backoff_until_s: float = 0.0
    taken: int = 0


class Backends:
    """Picks the backend with the fewest requests in flight; of equals, the least recently picked one."""

    def __init__(self, urls: Sequence[str], concurrency: Sequence[int]) -> None:
        """concurrency: one limit per URL; 0 means no limit, since a Knative route has a buffer of its own."""
        self._backends = {url: _Backend(url, most or inf) for url, most in zip(urls, concurrency, strict=True)}
        self._leaving: dict[str, _Backend] = {}
        self._taken = 0

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

    def take(self, now_s: float) -> str | None:
        """Occupy a slot of the best backend and return its URL; return None if all are full or backing off."""
        able = [
            backend
            for backend in self._backends.values()
            if backend.in_flight < backend.concurrency and backend.backoff_until_s <= now_s
        ]
        if not able:
            return None
        best = min(able, key=lambda backend: (backend.in_flight, backend.taken))
        self._taken += 1
        best.in_flight, best.taken = best.in_flight + 1, self._taken
        return best.url

    def release(self, url: str, now_s: float, answered: bool) -> None:
        """Free a slot of this backend; if it failed to answer, back off, for longer after each consecutive failure."""
        backend = self._backends.get(url) or self._leaving[url]
        backend.in_flight -= 1
        if url in self._leaving and not backend.in_flight:
            del self._leaving[url]
        if answered:
            backend.failures, backend.backoff_until_s = 0, 0.0
        else:
            backoff_s = min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2**backend.failures)
            backend.failures, backend.backoff_until_s = backend.failures + 1, now_s + backoff_s

    def backoff_ends_s(self) -> list[float]:
        """Return when each failed backend may be tried again."""
        return [backend.backoff_until_s for backend in self._backends.values() if backend.backoff_until_s > 0]
