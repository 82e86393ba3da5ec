"""Where requests can be sent: one Knative route, or several addresses that share the load."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

FIRST_REST_S = 0.1
LONGEST_REST_S = 2.0


@dataclass(slots=True)
class _Backend:
    """concurrency: most requests in flight there. It rests until rest_until_s after failures in a row."""

    url: str
    concurrency: float
    in_flight: int = 0
    failures: int = 0
    rest_until_s: float = 0.0
    taken: int = 0


class Backends:
    """Picks the least busy of those that have room and do not rest; among equals the one picked least lately."""

    def __init__(self, urls: Sequence[str], concurrency: Sequence[int]) -> None:
        """concurrency: one for each URL; 0 sets no limit, for a Knative route buffers by itself."""
        self._backends = {url: _Backend(url, most or inf) for url, most in zip(urls, concurrency, strict=True)}
        self._leaving: dict[str, _Backend] = {}
        self._taken = 0

    def __len__(self) -> int:
        return len(self._backends)

    def replace(self, urls: Sequence[str], concurrency: int) -> None:
        """From now on these; those that go finish what they have."""
        before = {**self._leaving, **self._backends}
        self._backends = {url: before.get(url) or _Backend(url, concurrency) for url in urls}
        for backend in self._backends.values():
            backend.concurrency = concurrency or inf
        self._leaving = {
            url: backend for url, backend in before.items() if url not in self._backends and backend.in_flight
        }

    def take(self, now_s: float) -> str | None:
        """Occupy one slot of the best backend; None if there is none to be had now."""
        able = [
            backend
            for backend in self._backends.values()
            if backend.in_flight < backend.concurrency and backend.rest_until_s <= now_s
        ]
        if not able:
            return None
        best = min(able, key=lambda backend: (backend.in_flight, backend.taken))
        self._taken += 1
        best.in_flight, best.taken = best.in_flight + 1, self._taken
        return best.url

    def release(self, url: str, now_s: float, answered: bool) -> None:
        """A slot of this backend is free again; one that did not answer rests, longer each time."""
        backend = self._backends.get(url) or self._leaving[url]
        backend.in_flight -= 1
        if url in self._leaving and not backend.in_flight:
            del self._leaving[url]
        if answered:
            backend.failures, backend.rest_until_s = 0, 0.0
        else:
            rest_s = min(LONGEST_REST_S, FIRST_REST_S * 2**backend.failures)
            backend.failures, backend.rest_until_s = backend.failures + 1, now_s + rest_s

    def rest_ends_s(self) -> list[float]:
        """When each resting backend may be tried again."""
        return [backend.rest_until_s for backend in self._backends.values() if backend.rest_until_s > 0]
