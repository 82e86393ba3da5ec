"""A run as arrays: what gates, comparisons and plots compute on."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from loadgen.records import Record

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Columns:
    """One entry for each planned request, in the order of the plan; seconds from the schedule's zero.

    sent_s, done_s: nan where that never happened. good: answered whole, with 200.
    """

    intended_s: Floats
    sent_s: Floats
    done_s: Floats
    good: Bools

    @property
    def planned(self) -> int:
        """Requests that were meant to be sent."""
        return len(self.intended_s)

    @property
    def duration_s(self) -> float:
        """Up to the last intended send."""
        return float(self.intended_s.max(initial=0.0))

    @property
    def latency_s(self) -> Floats:
        """From the intended send; nan without an answer."""
        return self.done_s - self.intended_s

    @property
    def from_sent_s(self) -> Floats:
        """From the actual send; nan without an answer."""
        return self.done_s - self.sent_s

    @property
    def lag_s(self) -> Floats:
        """Intended to actual send; nan where it was never sent."""
        return self.sent_s - self.intended_s

    @property
    def useful_s(self) -> Floats:
        """Latency from the intended send for those who waited for a good answer: infinite where none came."""
        return np.where(self.good, self.latency_s, math.inf)

    @property
    def attack_s(self) -> float:
        """First send to last send; 0 if nothing was sent."""
        sent_s = self.sent_s[np.isfinite(self.sent_s)]
        return float(sent_s.max() - sent_s.min()) if sent_s.size else 0.0

    @property
    def took_s(self) -> float:
        """First send to last answer; 0 if nothing was sent."""
        sent_s = self.sent_s[np.isfinite(self.sent_s)]
        ends_s = np.concatenate((sent_s, self.done_s[np.isfinite(self.done_s)]))
        return float(ends_s.max() - sent_s.min()) if sent_s.size else 0.0

    def achieved_rps(self, duration_s: float) -> float:
        """Requests sent, over the plan's duration or until the last was sent, whichever is longer; nan of nothing."""
        sent_s = self.sent_s[np.isfinite(self.sent_s)]
        whole_s = max(duration_s, float(sent_s.max(initial=0.0)))
        return sent_s.size / whole_s if sent_s.size and whole_s else math.nan


def columns(records: Sequence[Record]) -> Columns:
    """The records' times and outcomes."""
    return Columns(
        _array(record.intended_s for record in records),
        _array(math.nan if record.sent_s is None else record.sent_s for record in records),
        _array(math.nan if record.done_s is None else record.done_s for record in records),
        np.fromiter((record.good for record in records), dtype=bool, count=len(records)),
    )


def quantile(values: Floats, share: float) -> float:
    """Linear between order statistics, as in the summary, but infinite values may be among them; nan of nothing.

    share: 0 to 1.
    """
    if not values.size:
        return math.nan
    place = (values.size - 1) * share
    below, above = math.floor(place), math.ceil(place)
    ordered = np.partition(values, (below, above))
    low, high = float(ordered[below]), float(ordered[above])
    return low if below == above or low == high else low + (high - low) * (place - below)


def _array(values: Iterable[float]) -> Floats:
    return np.fromiter(values, dtype=np.float64)
