"""Averages and maxima over sliding windows, as Knative computes them.

Source: knative/serving pkg/autoscaler/aggregation (bucketing.go, max/window.go).
"""

from collections import deque
from math import ceil, floor, inf

# The weights of a full window sum to 1 - DECAY_REST, unless the newest bucket has the least weight, LEAST_WEIGHT.
DECAY_REST = 0.0001
LEAST_WEIGHT = 0.2


class TimedBuckets:
    """Sums of values in buckets of granularity_s, over the newest window_s."""

    def __init__(self, window_s: float, granularity_s: float = 1.0) -> None:
        self._window_s, self._granularity_s = window_s, granularity_s
        self._buckets = [0.0] * ceil(window_s / granularity_s)
        self._first: int | None = None
        self._last: int | None = None
        self._total = 0.0

    def record(self, time_s: float, value: float) -> None:
        """Add a value to the bucket of time_s; ignore it if it is older than the window."""
        index = self._index(time_s)
        if self._last is not None and self._seconds(index - self._last) <= -self._window_s:
            return
        if self._last is None or index > self._last:
            self._move_to(index)
        if self._first is None or index < self._first:
            self._first = index
        self._buckets[index % len(self._buckets)] += value
        self._total += value

    def is_empty(self, time_s: float) -> bool:
        """Whether nothing was recorded within the window."""
        return self._last is None or self._seconds(self._index(time_s) - self._last) > self._window_s

    def average(self, time_s: float) -> float:
        """Return the mean over the buckets from the first to the last record.

        Buckets without a record between the two count as 0; those after the last record do not count.
        """
        if self._last is None or self._first is None:
            return 0.0
        now = self._index(time_s)
        behind = max(0, now - self._last)
        if self._seconds(behind) >= self._window_s:
            return 0.0
        kept = self._total - sum(self._at(index) for index in range(self._last + 1, self._last + behind + 1))
        return _round6(kept / min(self._last - self._first + 1, len(self._buckets) - behind))

    def weighted_average(self, time_s: float) -> float:
        """Return the exponentially weighted mean, in which the newest bucket has the largest weight."""
        if self._last is None or self.is_empty(time_s):
            return 0.0
        count = len(self._buckets)
        weight = first_weight = max(1 - DECAY_REST ** (1 / count), LEAST_WEIGHT)
        behind = max(0, self._index(time_s) - self._last)
        weight *= (1 - first_weight) ** behind
        average = 0.0
        for age in range(count - behind):
            average += self._at(self._last - age) * weight
            weight *= 1 - first_weight
        return average

    def _move_to(self, index: int) -> None:
        """Make index the newest bucket and clear the buckets that fall out of the window."""
        if self._last is None or self._seconds(index - self._last) >= self._window_s:
            self._buckets = [0.0] * len(self._buckets)
            self._total, self._first = 0.0, index
        else:
            for passed in range(self._last + 1, index + 1):
                self._total -= self._at(passed)
                self._buckets[passed % len(self._buckets)] = 0.0
        self._last = index

    def _at(self, index: int) -> float:
        return self._buckets[index % len(self._buckets)]

    def _index(self, time_s: float) -> int:
        return floor(time_s / self._granularity_s)

    def _seconds(self, buckets: int) -> float:
        return buckets * self._granularity_s


class MaxWindow:
    """The largest value of the newest window_s, which moves in steps of granularity_s."""

    def __init__(self, window_s: float, granularity_s: float = 2.0) -> None:
        self._granularity_s = granularity_s
        self._steps = ceil(window_s / granularity_s)
        self._falling: deque[tuple[int, int]] = deque()

    def record(self, time_s: float, value: int) -> int:
        """Add a value and return the maximum of the window that ends at time_s."""
        index = floor(time_s / self._granularity_s)
        while self._falling and self._falling[-1][1] <= value:
            self._falling.pop()
        if not self._falling or self._falling[-1][0] != index:
            self._falling.append((index, value))
        while index - self._falling[0][0] >= self._steps:
            self._falling.popleft()
        return self._falling[0][1]


def _round6(value: float) -> float:
    """Round to six decimal places, halves away from zero as Go's math.Round does."""
    if value in (inf, -inf):
        return value
    scaled = abs(value) * 1e6
    rounded = floor(scaled) + (scaled - floor(scaled) >= 0.5)
    return rounded / 1e6 if value >= 0 else -rounded / 1e6
