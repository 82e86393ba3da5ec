"""Requests with independent, identically distributed times between them: Gamma or Weibull, from calm to very bursty.

Such fits were published for requests to language models. Source: ServeGen, arXiv 2505.09999 (Gamma and Weibull), and
BurstGPT, arXiv 2401.17644 (Gamma).
"""

from collections.abc import Callable
from math import lgamma

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
# Draws gaps between requests, shape (size,), with a mean of 1; or the time from a random moment to the next request.
Gaps = Callable[[np.random.Generator, int], Floats]
CHUNK = 8192


def gamma_gaps(cv: float) -> tuple[Gaps, Gaps]:
    """Return draws of the gaps and of the first time, for this coefficient of variation of the gaps."""
    shape = cv**-2
    return (
        lambda rng, size: rng.gamma(shape, 1 / shape, size),
        lambda rng, size: rng.random(size) * rng.gamma(shape + 1, 1 / shape, size),
    )


def weibull_gaps(cv: float) -> tuple[Gaps, Gaps]:
    """Return draws of the gaps and of the first time, for this coefficient of variation of the gaps."""
    shape = weibull_shape(cv)
    scale = np.exp(-lgamma(1 + 1 / shape))
    return (
        lambda rng, size: scale * rng.weibull(shape, size),
        lambda rng, size: rng.random(size) * scale * rng.gamma(1 + 1 / shape, 1.0, size) ** (1 / shape),
    )


def weibull_shape(cv: float) -> float:
    """Return the shape of the Weibull distribution with this coefficient of variation, by bisection."""
    low, high = 0.05, 100.0
    for _ in range(80):
        middle = (low * high) ** 0.5
        squared = np.expm1(lgamma(1 + 2 / middle) - 2 * lgamma(1 + 1 / middle))
        low, high = (middle, high) if squared > cv * cv else (low, middle)
    return low


def renewal_counts(gaps: tuple[Gaps, Gaps], rate_rps: float, seconds: int, rng: np.random.Generator) -> Floats:
    """Return the requests of each second, shape (seconds,), of a process that began long before.

    The first request comes after what is left of a gap, and long gaps are more often found than short ones: that draw
    is of the length-biased gap times a uniform number. Otherwise a run would begin busier than it goes on.
    """
    between, first = gaps
    counts = np.zeros(seconds)
    time_s = float(first(rng, 1)[0]) / rate_rps
    while time_s < seconds:
        times_s = time_s + np.concatenate([[0.0], np.cumsum(between(rng, CHUNK)) / rate_rps])
        time_s = float(times_s[-1])
        within_s = times_s[:-1][times_s[:-1] < seconds]
        counts += np.bincount(within_s.astype(np.int64), minlength=seconds)
    return counts
