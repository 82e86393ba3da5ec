"""Search for the highest rate that meets the SLOs: the next rate to try, and the result of the trials so far.

Near the limit a run may hold or miss by chance, so several trials of a rate vote. Doubling finds a bracket around the
limit, which is then halved (as a ratio) until it is narrow enough. This module does no I/O; its caller runs the trials.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, StrEnum


class TrialOutcome(StrEnum):
    """The outcome of one trial."""

    HELD = "held"
    MISSED = "missed"
    INVALID = "invalid"  # the generator could not keep to its schedule


class SearchEnd(Enum):
    """Why a search ended; the value completes "Search ended after 7 trials: "."""

    FOUND = "the bracket is narrow enough"
    TRIALS = "the limit on trials was reached"
    MOST = "even the highest allowed rate meets the SLOs"
    LEAST = "even the lowest allowed rate misses the SLOs"
    GENERATOR = "the generator on this machine cannot send faster"


@dataclass(frozen=True, slots=True)
class Limits:
    """The range of a search and when it stops.

    tolerance_ratio: the search stops when the missed rate is at most this many times the held rate.
    agree: equal outcomes that decide a rate.
    """

    first_rps: float
    least_rps: float
    most_rps: float
    tolerance_ratio: float = 1.05
    agree: int = 2
    most_trials: int = 40


@dataclass(slots=True)
class RateSearch:
    """A search in progress: call next_rps(), try that rate, call record(), and repeat until next_rps() returns None.

    held_rps, missed_rps: the bracket so far.
    """

    limits: Limits
    held_rps: float = 0.0
    missed_rps: float = math.inf
    end: SearchEnd | None = None
    votes: dict[float, list[TrialOutcome]] = field(default_factory=dict)
    _rate_rps: float = field(init=False)

    def __post_init__(self) -> None:
        self._rate_rps = self.limits.first_rps

    @property
    def trials(self) -> int:
        """Return the number of trials so far."""
        return sum(map(len, self.votes.values()))

    def next_rps(self) -> float | None:
        """Return the rate to try, or None if the search has ended."""
        if self.end is None and self.trials >= self.limits.most_trials:
            self.end = SearchEnd.TRIALS
        return None if self.end else self._rate_rps

    def record(self, outcome: TrialOutcome) -> None:
        """Record the outcome of the trial of next_rps()."""
        votes = self.votes.setdefault(self._rate_rps, [])
        votes.append(outcome)
        if votes.count(outcome) < self.limits.agree:
            return
        if outcome is TrialOutcome.INVALID:
            self.end = SearchEnd.GENERATOR
        elif outcome is TrialOutcome.HELD:
            self.held_rps = self._rate_rps
        else:
            self.missed_rps = self._rate_rps
        self.end = self.end or self._ended()
        if self.end is None:
            self._rate_rps = self._next_rate_rps()

    def _ended(self) -> SearchEnd | None:
        if self.held_rps >= self.limits.most_rps:
            return SearchEnd.MOST
        if self.missed_rps <= self.limits.least_rps:
            return SearchEnd.LEAST
        if self.missed_rps <= self.held_rps * self.limits.tolerance_ratio:
            return SearchEnd.FOUND
        return None

    def _next_rate_rps(self) -> float:
        """Double or halve until both ends of the bracket are known, then return their geometric mean."""
        if math.isinf(self.missed_rps):
            return min(2 * self.held_rps, self.limits.most_rps)
        if not self.held_rps:
            return max(self.missed_rps / 2, self.limits.least_rps)
        return math.sqrt(self.held_rps * self.missed_rps)

    def lines(self) -> Iterator[str]:
        """Yield the result and the votes behind it."""
        yield f"Search ended after {self.trials} trials: {(self.end or SearchEnd.TRIALS).value}"
        for rate_rps, votes in sorted(self.votes.items()):
            if len(set(votes)) > 1:
                held = votes.count(TrialOutcome.HELD)
                yield f"Near the limit, trials differ: at {rate_rps:.4g}/s, {held} of {len(votes)} met the SLOs"
        if not self.held_rps:
            lowest_rps = min(self.votes, default=math.nan)
            yield f"Highest rate that meets the SLOs: none found; lowest rate tried: {lowest_rps:.4g}/s"
        elif math.isinf(self.missed_rps):
            yield f"Highest rate that meets the SLOs: at least {self.held_rps:.4g}/s; no valid trial missed them"
        else:
            lower, upper = self.votes[self.held_rps], self.votes[self.missed_rps]
            yield (
                f"Highest rate that meets the SLOs: {self.held_rps:.4g}/s to {self.missed_rps:.4g}/s "
                f"(met in {lower.count(TrialOutcome.HELD)} of {len(lower)} trials at the lower rate, "
                f"missed in {upper.count(TrialOutcome.MISSED)} of {len(upper)} at the higher)"
            )
