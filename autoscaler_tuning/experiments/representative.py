"""The part of a workload that stands best for the whole of it, chosen from the workload alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import wasserstein_distance

from autoscaler_tuning.results import FloatArray

# A longer workload is searched at this many evenly spaced seconds, so that a day takes seconds and not minutes.
MOST_CANDIDATES = 1000
RULE = "requests per second, and their changes from one second to the next, are distributed most like the whole's"


@dataclass(frozen=True, slots=True)
class NearestPart:
    """Some seconds of a workload; distance: 0 if its rates and their changes are distributed as in the whole."""

    from_s: int
    seconds: int
    distance: float


def representative_part(counts: Sequence[int], seconds: int) -> NearestPart:
    """Return the part of this length that is nearest to the whole; the earliest of equals.

    counts: requests of each second, not empty.
    seconds: length of the part, above 0; a shorter workload is taken whole.
    The distance is the sum of two Wasserstein distances, each divided by its mean over the whole: of the rates, which
    set how many pods are needed, and of the sizes of their changes, which set how often more are needed at once.
    """
    rates_rps = np.asarray(counts, dtype=float)
    most = len(rates_rps) - seconds
    if most <= 0:
        return NearestPart(0, len(rates_rps), 0.0)
    starts_s = np.unique(np.linspace(0, most, min(most + 1, MOST_CANDIDATES)).astype(int))
    parts = (
        NearestPart(int(at_s), seconds, distance(rates_rps[at_s : at_s + seconds], rates_rps)) for at_s in starts_s
    )
    return min(parts, key=lambda part: (part.distance, part.from_s))


def distance(part_rps: FloatArray, whole_rps: FloatArray) -> float:
    """Return how far the rates of a part and their changes are from those of the whole; 0 if they are alike."""
    return _relative(part_rps, whole_rps) + _relative(np.abs(np.diff(part_rps)), np.abs(np.diff(whole_rps)))


def _relative(part: FloatArray, whole: FloatArray) -> float:
    """Return the Wasserstein distance of two samples over the mean of the second; 0 if that is 0 or one is empty."""
    mean = float(whole.mean()) if len(whole) and len(part) else 0.0
    return float(wasserstein_distance(part, whole)) / mean if mean else 0.0
