"""Traffic statistics for the controller: exact arithmetic over events, no clock."""

from collections import deque
from dataclasses import dataclass

SECONDS_KEPT = 120


@dataclass(frozen=True, slots=True)
class PerSecond:
    """Arrivals and concurrency of the latest whole seconds, oldest first, without gaps.

    since_s: start of the first second.
    concurrency: time-weighted mean number of requests waiting or in flight.
    """

    since_s: int
    arrivals: tuple[int, ...]
    concurrency: tuple[float, ...]


class TrafficLog:
    """Records arrivals and mean concurrency of each whole second; the caller's clock starts at 0."""

    def __init__(self) -> None:
        self._second = 0
        self._updated_s = 0.0
        self._in_system = 0
        self._arrivals = 0
        self._request_seconds = 0.0
        self._kept: deque[tuple[int, float]] = deque(maxlen=SECONDS_KEPT)

    def arrive(self, now_s: float) -> None:
        """Record the arrival of a request."""
        self.advance(now_s)
        self._arrivals += 1
        self._in_system += 1

    def leave(self, now_s: float) -> None:
        """Record that a request was answered, rejected or cancelled by its client."""
        self.advance(now_s)
        self._in_system -= 1

    def advance(self, now_s: float) -> None:
        """Close the seconds that have ended by now_s, which must not decrease between calls."""
        while now_s >= self._second + 1:
            self._integrate(self._second + 1)
            self._kept.append((self._arrivals, self._request_seconds))
            self._arrivals, self._request_seconds = 0, 0.0
            self._second += 1
        self._integrate(now_s)

    def per_second(self, now_s: float) -> PerSecond:
        """Return the whole seconds up to now_s."""
        self.advance(now_s)
        arrivals, concurrency = zip(*self._kept, strict=True) if self._kept else ((), ())
        return PerSecond(self._second - len(self._kept), arrivals, concurrency)

    def _integrate(self, until_s: float) -> None:
        self._request_seconds += self._in_system * max(0.0, until_s - self._updated_s)
        self._updated_s = max(self._updated_s, until_s)
