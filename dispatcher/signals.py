"""What the dispatcher tells about its traffic: exact arithmetic over events, no clock."""

from collections import deque
from dataclasses import dataclass

SECONDS_KEPT = 120
SERVICE_TIMES_KEPT = 256


@dataclass(frozen=True, slots=True)
class PerSecond:
    """The newest whole seconds, oldest first, without gaps; since_s is the start of the first.

    concurrency: time-weighted mean of requests waiting and in flight.
    """

    since_s: int
    arrivals: tuple[int, ...]
    concurrency: tuple[float, ...]


class TrafficLog:
    """Arrivals and mean concurrency of each whole second of the caller's clock, which starts at 0."""

    def __init__(self) -> None:
        self._second = 0
        self._updated_s = 0.0
        self._in_system = 0
        self._arrivals = 0
        self._request_seconds = 0.0
        self._kept: deque[tuple[int, float]] = deque(maxlen=SECONDS_KEPT)

    def arrive(self, now_s: float) -> None:
        """A request came in."""
        self.advance(now_s)
        self._arrivals += 1
        self._in_system += 1

    def leave(self, now_s: float) -> None:
        """A request was answered, refused or given up by its client."""
        self.advance(now_s)
        self._in_system -= 1

    def advance(self, now_s: float) -> None:
        """Close the seconds that have ended; time never runs backwards here."""
        while now_s >= self._second + 1:
            self._integrate(self._second + 1)
            self._kept.append((self._arrivals, self._request_seconds))
            self._arrivals, self._request_seconds = 0, 0.0
            self._second += 1
        self._integrate(now_s)

    def per_second(self, now_s: float) -> PerSecond:
        """The whole seconds up to now_s."""
        self.advance(now_s)
        arrivals, concurrency = zip(*self._kept, strict=True) if self._kept else ((), ())
        return PerSecond(self._second - len(self._kept), arrivals, concurrency)

    def _integrate(self, until_s: float) -> None:
        self._request_seconds += self._in_system * max(0.0, until_s - self._updated_s)
        self._updated_s = max(self._updated_s, until_s)


class ServiceTimes:
    """Mean and 95th percentile of the newest times from sending to a backend until its answer."""

    def __init__(self) -> None:
        self._kept: deque[float] = deque(maxlen=SERVICE_TIMES_KEPT)
        self._sum_s = 0.0

    def add(self, service_time_s: float) -> None:
        """One more; the oldest is forgotten."""
        if len(self._kept) == SERVICE_TIMES_KEPT:
            self._sum_s -= self._kept[0]
        self._kept.append(service_time_s)
        self._sum_s += service_time_s

    def mean_s(self) -> float | None:
        """None until one was measured."""
        return self._sum_s / len(self._kept) if self._kept else None

    def p95_s(self) -> float | None:
        """The nearest rank; None until one was measured."""
        if not self._kept:
            return None
        ranked = sorted(self._kept)
        return ranked[max(0, -(-95 * len(ranked) // 100) - 1)]
