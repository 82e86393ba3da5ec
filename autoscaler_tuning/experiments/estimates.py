"""Confidence intervals of figures that were measured with a few seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, nan

import numpy as np
from scipy.special import stdtrit

from autoscaler_tuning.results import FloatArray

RESAMPLES = 4000
# With fewer pairs a resample often has one pair alone, and the interval is merely the range of the pairs.
LEAST_PAIRS = 6


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its 95 % confidence interval; low and high are nan if the interval cannot be estimated."""

    value: float
    low: float
    high: float


def mean_of(values: Sequence[float]) -> Estimate:
    """Return the mean over seeds, with Student's confidence interval."""
    sample = np.asarray(values, dtype=float)
    mean = float(sample.mean())
    if len(sample) < 2 or not np.isfinite(sample).all():
        return Estimate(mean, nan, nan)
    half = float(stdtrit(len(sample) - 1, 0.975) * sample.std(ddof=1) / np.sqrt(len(sample)))
    return Estimate(mean, mean - half, mean + half)


def paired_ratio(ours: Sequence[float], theirs: Sequence[float], zero_over_zero: float = 1.0) -> Estimate:
    """Return sum(ours) / sum(theirs), whose values are paired by seed; the interval is a bootstrap over the seeds.

    There is no interval below LEAST_PAIRS pairs. 0 / 0 counts as 1, because neither is better, unless the caller says
    otherwise. Anything else divided by 0 is infinite.
    Source: Efron and Tibshirani (1993), An Introduction to the Bootstrap, the percentile interval.
    """
    pairs = np.column_stack([ours, theirs]).astype(float)
    value = float(_ratios(pairs.sum(axis=0)[None], zero_over_zero)[0])
    if len(pairs) < LEAST_PAIRS:
        return Estimate(value, nan, nan)
    drawn = np.random.default_rng(0).integers(len(pairs), size=(RESAMPLES, len(pairs)))
    ratios = np.sort(_ratios(pairs[drawn].sum(axis=1), zero_over_zero))
    return Estimate(value, float(ratios[int(0.025 * RESAMPLES)]), float(ratios[int(0.975 * RESAMPLES) - 1]))


def _ratios(sums: FloatArray, zero_over_zero: float) -> FloatArray:
    ours, theirs = sums[:, 0], sums[:, 1]
    over_zero = np.where(ours > 0, inf, zero_over_zero)
    return np.where(theirs > 0, ours / np.where(theirs > 0, theirs, 1.0), over_zero)
