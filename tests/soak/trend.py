"""Whether a series of measurements grows: the slope of a line through it, with its interval.

The slope is by least squares. Neighbours in a series are alike, so the interval comes from a moving-block bootstrap of
the residuals. Source: Kuensch (1989), The jackknife and the bootstrap for general stationary observations.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

RESAMPLES, SHARE = 1000, 0.95
LEAST_SAMPLES = 20
HOUR_S = 3600.0


class Verdict(StrEnum):
    """flat: it grows by less than the limit. grows: by more. unsure: the interval has the limit in it."""

    FLAT = "flat"
    GROWS = "grows"
    UNSURE = "unsure"


@dataclass(frozen=True, slots=True)
class Trend:
    """Growth per hour, with the bounds of its 95 % interval."""

    per_hour: float
    low: float
    high: float

    def verdict(self, limit_per_hour: float) -> Verdict:
        """Judge the growth by the most that is allowed."""
        if self.high <= limit_per_hour:
            return Verdict.FLAT
        return Verdict.GROWS if self.low > limit_per_hour else Verdict.UNSURE


def trend(times_s: Sequence[float], values: Sequence[float], warm_up: float = 0.25) -> Trend:
    """Return the growth of values over time, without the first part of them.

    warm_up: the share that is left out, in which caches fill. Raises ValueError if too few samples are left.
    """
    first = int(len(times_s) * warm_up)
    x, y = np.asarray(times_s[first:], dtype=float), np.asarray(values[first:], dtype=float)
    if len(x) < LEAST_SAMPLES:
        raise ValueError(f"at least {LEAST_SAMPLES} samples must remain after the warm-up, got {len(x)}")
    x = x - x.mean()
    slope = float(x @ y / (x @ x))
    residuals = y - y.mean() - slope * x
    length = max(2, round(len(x) ** 0.5))
    rng = np.random.default_rng(0)
    starts = rng.integers(0, len(x) - length + 1, (RESAMPLES, -(-len(x) // length)))
    drawn = residuals[(starts[..., None] + np.arange(length)).reshape(RESAMPLES, -1)[:, : len(x)]]
    drawn = drawn - drawn.mean(axis=1, keepdims=True)
    slopes = slope + drawn @ x / (x @ x)
    low, high = np.quantile(slopes, ((1 - SHARE) / 2, (1 + SHARE) / 2))
    return Trend(slope * HOUR_S, float(low) * HOUR_S, float(high) * HOUR_S)
