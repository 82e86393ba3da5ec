"""Bursts that come back: the times at which the next one is expected, from the intervals between past ones."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from autoscaler_tuning.policies.elastic.memory import Memory
from autoscaler_tuning.results import FloatArray

# Intervals at which schedulers usually repeat a job, from a minute to a day; each is tried once after the first burst.
SCHEDULED_S = (60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 86_400.0)
# A burst counts as expected if it comes within this share of the interval, but at least and at most so many seconds.
TOLERANCE_RATIO, LEAST_TOLERANCE_S, MOST_TOLERANCE_S = 0.015, 1.0, 5.0
# An interval explains its bursts after so many hits.
PROVEN_HITS = 2
# Bursts that an interval is measured to and counted from, intervals that are remembered beside the scheduled ones, and
# misses that one hit makes up for.
KEPT_BURSTS, KEPT_INTERVALS, MISSES_A_HIT = 4, 8, 2


@dataclass(slots=True)
class Interval:
    """An interval between bursts, and how often a burst came after it or did not."""

    seconds: float
    hits: int = 0
    misses: int = 0

    @property
    def tolerance_s(self) -> float:
        return min(MOST_TOLERANCE_S, max(LEAST_TOLERANCE_S, TOLERANCE_RATIO * self.seconds))

    @property
    def is_worth_trying(self) -> bool:
        """Whether pods may be started for it: once without any hit, and at most MISSES_A_HIT times for each hit."""
        return self.misses <= MISSES_A_HIT * self.hits

    @property
    def is_proven(self) -> bool:
        """Whether bursts follow it, and not chance: among many random bursts some are an interval apart."""
        return self.hits >= PROVEN_HITS and self.misses < self.hits

    def leads_from(self, before_s: float, now_s: float) -> bool:
        """Return whether the time between is a multiple of it, within the tolerance of each."""
        times = round((now_s - before_s) / self.seconds)
        return abs(now_s - before_s - times * self.seconds) <= times * self.tolerance_s

    @property
    def chance(self) -> float:
        """Return the share of hits. Source: Laplace's rule of succession."""
        return (self.hits + 1) / (self.hits + self.misses + 2)


@dataclass(slots=True)
class Recurrence:
    """The intervals after which bursts come back, and what came in the newest burst.

    A burst is expected one interval after each of the newest bursts. The intervals are the usual ones of schedulers and
    those that were seen between bursts; one that does not prove true is given up, so that a burst that never comes
    again is prepared for at most once an interval.
    steps, interval_s: length of a burst's profile in ticks, and of a tick.
    """

    steps: int
    interval_s: float
    _intervals: list[Interval] = field(default_factory=lambda: [Interval(seconds) for seconds in SCHEDULED_S])
    _bursts: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT_BURSTS))
    _expected: list[tuple[float, Interval]] = field(default_factory=list)
    _profile: FloatArray | None = None
    _growing: list[tuple[float, int]] = field(default_factory=list)

    def update(self, now_s: float, arrived: int) -> None:
        """Add one tick: continue the profile of a burst, and count the expected bursts that did not come."""
        if self._growing:
            self._growing.append((now_s, arrived))
            times_s, counts = np.array(self._growing).T
            wanted_s = times_s[0] + self.interval_s * np.arange(1, self.steps + 1)
            if now_s >= wanted_s[-1]:
                self._profile, self._growing = np.interp(wanted_s, times_s, counts) - counts[0], []
        past = [one for one in self._expected if one[0] < now_s]
        for expected in [one for one in past if one[0] + one[1].tolerance_s < now_s]:
            expected[1].misses += 1
            self._expected.remove(expected)

    def burst(self, now_s: float, arrived: int) -> list[float]:
        """Add a burst that began in the last tick; return how long ago bursts began that a proven interval explains.

        Empty if this one was not expected after an interval that is proven; else it is among them, as 0.
        arrived: requests that had arrived before it.
        """
        hits = [one for one in self._expected if abs(one[0] - now_s) <= one[1].tolerance_s]
        for expected in hits:
            expected[1].hits += 1
            self._expected.remove(expected)
        for before_s in self._bursts:
            self._add_interval(now_s - before_s)
        self._bursts.append(now_s)
        self._growing = [(now_s - self.interval_s, arrived)]
        proven = [interval for _, interval in hits if interval.is_proven]
        if proven:  # they explain the bursts, so other intervals need not be tried
            self._expected = [one for one in self._expected if one[1].is_proven]
        tried = proven or [one for one in self._intervals if one.is_worth_trying]
        self._expected += [(now_s + one.seconds, one) for one in tried]
        return [now_s - time_s for time_s in self._bursts if any(one.leads_from(time_s, now_s) for one in proven)]

    def scenarios(self, now_s: float, expected: FloatArray) -> Iterator[tuple[FloatArray, float]]:
        """Yield the cumulative arrivals with each burst that may begin within the ticks of `expected`, and its chance.

        It begins at once in them: pods that are ready before it comes cannot serve it in advance, so no fewer are
        needed for a later one.
        expected: cumulative arrivals without it, shape (ticks,).
        """
        if self._profile is None:
            return
        ticks = len(expected)
        for time_s, interval in self._expected:
            if time_s - interval.tolerance_s < now_s + ticks * self.interval_s and interval.is_worth_trying:
                yield np.maximum(expected, self._profile[:ticks]), interval.chance

    def bursts_before(self, now_s: float) -> tuple[float, ...]:
        """Return the times of the newest bursts, relative to now."""
        return tuple(time_s - now_s for time_s in self._bursts)

    @property
    def intervals(self) -> tuple[tuple[float, int, int], ...]:
        """The seconds, hits and misses of each interval."""
        return tuple((one.seconds, one.hits, one.misses) for one in self._intervals)

    @property
    def profile(self) -> tuple[float, ...]:
        """The cumulative arrivals of the newest burst in each tick; empty if there was none."""
        return () if self._profile is None else tuple(self._profile.tolist())

    def restore(self, memory: Memory, taken_s: float, now_s: float) -> None:
        """Take what was known at taken_s; bursts expected between then and now count neither as hits nor as misses."""
        self._intervals = [Interval(*one) for one in memory.intervals if one[0] > 0]
        self._bursts.extend(taken_s + time_s for time_s in memory.bursts)
        self._profile = np.array(memory.profile) if len(memory.profile) == self.steps else None
        self._expected = [
            (burst_s + one.seconds, one)
            for burst_s in self._bursts
            for one in self._intervals
            if one.is_worth_trying and burst_s + one.seconds + one.tolerance_s >= now_s
        ]

    def _add_interval(self, seconds: float) -> None:
        """Remember an interval between two bursts, instead of the one that proved true least often."""
        if any(abs(one.seconds - seconds) <= one.tolerance_s for one in self._intervals):
            return
        seen = self._intervals[len(SCHEDULED_S) :]
        if len(seen) >= KEPT_INTERVALS:
            self._intervals.remove(min(seen, key=lambda one: one.chance))
        self._intervals.append(Interval(seconds))
