"""A run as arrays, the input of gates, comparisons and plots."""

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
    """One entry for each planned request, in the order of the plan; times are seconds since the start of the schedule.

    sent_s, done_s: nan if the event never happened. good: whether the request was successful.
    """

    intended_s: Floats
    sent_s: Floats
    done_s: Floats
    good: Bools

    @property
    def planned(self) -> int:
        """Return the number of planned requests."""
        return len(self.intended_s)

    @property
    def duration_s(self) -> float:
        """Return the time of the last intended send."""
        return float(self.intended_s.max(initial=0.0))

    @property
    def latency_s(self) -> Floats:
        """Return latencies from the intended send; nan without a response."""
        return self.done_s - self.intended_s

    @property
    def from_sent_s(self) -> Floats:
        """Return latencies from the actual send; nan without a response."""
        return self.done_s - self.sent_s

    @property
    def lag_s(self) -> Floats:
        """Return the time from intended to actual send; nan for requests that were never sent."""
        return self.sent_s - self.intended_s

    @property
    def slo_latency_s(self) -> Floats:
        """Return latencies from the intended send; infinite for requests that were not successful."""
        return np.where(self.good, self.latency_s, math.inf)

    @property
    def attack_s(self) -> float:
        """Return the time from first to last send; 0 if nothing was sent."""
        sent_s = self.sent_s[np.isfinite(self.sent_s)]
        return float(sent_s.max() - sent_s.min()) if sent_s.size else 0.0

    @property
    def took_s(self) -> float:
        """Return the time from first send to last response; 0 if nothing was sent."""
        sent_s = self.sent_s[np.isfinite(self.sent_s)]
        ends_s = np.concatenate((sent_s, self.done_s[np.isfinite(self.done_s)]))
        return float(ends_s.max() - sent_s.min()) if sent_s.size else 0.0

    def achieved_rps(self, duration_s: float) -> float:
        """Return the requests sent per second of the plan, or of the time until the last send if that is longer.

        nan if nothing was sent.
        """
        sent_s = self.sent_s[np.isfinite(self.sent_s)]
        total_s = max(duration_s, float(sent_s.max(initial=0.0)))
        return sent_s.size / total_s if sent_s.size and total_s else math.nan


def columns(records: Sequence[Record]) -> Columns:
    """Return the times and outcomes of records."""
    return Columns(
        _array(record.intended_s for record in records),
        _array(math.nan if record.sent_s is None else record.sent_s for record in records),
        _array(math.nan if record.done_s is None else record.done_s for record in records),
        np.fromiter((record.good for record in records), dtype=bool, count=len(records)),
    )


def quantile(values: Floats, share: float) -> float:
    """Return a quantile, interpolated linearly as in the summary; nan for no values. Values may be infinite.

    share: 0 to 1.
    """
    if not values.size:
        return math.nan
    position = (values.size - 1) * share
    below, above = math.floor(position), math.ceil(position)
    ordered = np.partition(values, (below, above))
    low, high = float(ordered[below]), float(ordered[above])
    return low if below == above or low == high else low + (high - low) * (position - below)


def _array(values: Iterable[float]) -> Floats:
    return np.fromiter(values, dtype=np.float64)
