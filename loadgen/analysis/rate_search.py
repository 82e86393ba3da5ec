"""Search for the highest rate that holds an SLO: which rate to try next, and what the trials so far say.

A rate's trials vote, since a run near the limit may hold or miss by chance; the limit is bracketed by doubling, then
the bracket is halved (in ratio) until it is narrow enough. No I/O: the shell tries rates and tells the outcome.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, StrEnum


class TrialOutcome(StrEnum):
    """Of one trial."""

    HELD = "held"
    MISSED = "missed"
    INVALID = "invalid"  # the generator itself could not keep to the schedule


class End(Enum):
    """Why a search ended."""

    FOUND = "the bracket is narrow enough"
    TRIALS = "no trial was left"
    MOST = "the highest rate allowed still holds it"
    LEAST = "not even the lowest rate allowed holds it"
    GENERATOR = "the generator cannot send faster from here"


@dataclass(frozen=True, slots=True)
class Limits:
    """tolerance_ratio: the bracket's upper end over its lower end at which to stop; agree: equal votes that decide."""

    first_rps: float
    least_rps: float
    most_rps: float
    tolerance_ratio: float = 1.05
    agree: int = 2
    most_trials: int = 40


@dataclass(slots=True)
class RateSearch:
    """Ask next_rps(), try it, tell(); until next_rps() is None. held_rps, missed_rps: the bracket so far."""

    limits: Limits
    held_rps: float = 0.0
    missed_rps: float = math.inf
    end: End | None = None
    votes: dict[float, list[TrialOutcome]] = field(default_factory=dict)
    _rate_rps: float = field(init=False)

    def __post_init__(self) -> None:
        self._rate_rps = self.limits.first_rps

    @property
    def trials(self) -> int:
        """So far."""
        return sum(map(len, self.votes.values()))

    def next_rps(self) -> float | None:
        """The rate to try, or None once the search has ended."""
        if self.end is None and self.trials >= self.limits.most_trials:
            self.end = End.TRIALS
        return None if self.end else self._rate_rps

    def tell(self, outcome: TrialOutcome) -> None:
        """What became of the trial of next_rps()."""
        votes = self.votes.setdefault(self._rate_rps, [])
        votes.append(outcome)
        if votes.count(outcome) < self.limits.agree:
            return
        if outcome is TrialOutcome.INVALID:
            self.end = End.GENERATOR
        elif outcome is TrialOutcome.HELD:
            self.held_rps = self._rate_rps
        else:
            self.missed_rps = self._rate_rps
        self.end = self.end or self._ended()
        if self.end is None:
            self._rate_rps = self._between()

    def _ended(self) -> End | None:
        if self.held_rps >= self.limits.most_rps:
            return End.MOST
        if self.missed_rps <= self.limits.least_rps:
            return End.LEAST
        if self.missed_rps <= self.held_rps * self.limits.tolerance_ratio:
            return End.FOUND
        return None

    def _between(self) -> float:
        """Double or halve until both ends are known, then their geometric mean."""
        if math.isinf(self.missed_rps):
            return min(2 * self.held_rps, self.limits.most_rps)
        if not self.held_rps:
            return max(self.missed_rps / 2, self.limits.least_rps)
        return math.sqrt(self.held_rps * self.missed_rps)

    def lines(self) -> Iterator[str]:
        """What is known, and how surely."""
        yield f"Search ended after {self.trials} trials: {(self.end or End.TRIALS).value}"
        for rate_rps, votes in sorted(self.votes.items()):
            if len(set(votes)) > 1:
                held = votes.count(TrialOutcome.HELD)
                yield f"Near the limit, trials differ: at {rate_rps:.4g}/s {held} of {len(votes)} held"
        if not self.held_rps:
            yield f"Highest rate that holds it: none found, down to {min(self.votes, default=math.nan):.4g}/s"
        elif math.isinf(self.missed_rps):
            yield f"Highest rate that holds it: at least {self.held_rps:.4g}/s; no valid trial missed it"
        else:
            lower, upper = self.votes[self.held_rps], self.votes[self.missed_rps]
            yield (
                f"Highest rate that holds it: {self.held_rps:.4g}/s to {self.missed_rps:.4g}/s "
                f"(held in {lower.count(TrialOutcome.HELD)} of {len(lower)} trials at the lower end, "
                f"missed in {upper.count(TrialOutcome.MISSED)} of {len(upper)} at the upper)"
            )
