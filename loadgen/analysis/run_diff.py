"""Comparison of two runs: the change of each figure, its confidence interval, and a verdict.

Latencies of neighbouring requests are correlated (they waited in the same queue), so resampling single requests would
give intervals that are far too narrow. Whole blocks of time are resampled instead. If both runs sent the same plan, the
same blocks are drawn from both, which removes the effect of the arrivals. The right block length is not known
beforehand, so two lengths are tried and the wider interval is used.
Source: block bootstrap, Künsch 1989; Student's t on its standard error, as for batch means.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from loadgen.analysis.columns import Columns, Floats, quantile

RESAMPLES = 500
CONFIDENCE = 0.95
# Numbers of blocks to divide a run into. Few long blocks preserve the correlation; many short ones make the standard
# error more precise.
BLOCK_COUNTS = (20, 10)
LEAST_DURATION_S = 5.0
# A percentile is compared only if at least this many requests of each run lie beyond it.
LEAST_BEYOND = 10
PERCENTILES = (0.5, 0.95, 0.99, 0.999)

# A latency that changed by less than this share is reported as unchanged, even if the change is significant.
LEAST_CHANGE_RATIO = 0.05


class DiffError(ValueError):
    """Runs that cannot be compared; the text contains the reason."""


class Change(StrEnum):
    """How a figure changed."""

    BETTER = "better"
    WORSE = "WORSE"
    SAME = "no significant change"

    @property
    def is_change(self) -> bool:
        """Return whether the figure became better or worse."""
        return self is not Change.SAME


@dataclass(frozen=True, slots=True)
class FigureDiff:
    """One figure of both runs; latencies are in seconds, late and errors are shares.

    low, high: confidence interval of after - before.
    """

    name: str
    before: float
    after: float
    low: float
    high: float

    @property
    def is_latency(self) -> bool:
        """Return whether the figure is a latency, not a share of the requests."""
        return self.name not in ("late", "errors")

    @property
    def change(self) -> Change:
        """Return how the figure changed; for every figure here, more is worse."""
        if self.is_latency and abs(self.after - self.before) < LEAST_CHANGE_RATIO * self.before:
            return Change.SAME
        if self.low > 0:
            return Change.WORSE
        return Change.BETTER if self.high < 0 else Change.SAME


@dataclass(frozen=True, slots=True)
class RunDiff:
    """The result of a comparison.

    paired: whether both runs sent the same plan. left_out: figures that cannot be compared, each with the reason.
    confidence: of each row; the probability that any row is wrong is at most 1 - CONFIDENCE.
    """

    paired: bool
    confidence: float
    rows: tuple[FigureDiff, ...]
    left_out: tuple[str, ...]

    @property
    def verdict(self) -> Change:
        """Return WORSE if any figure is worse, otherwise BETTER if any is better."""
        changes = {row.change for row in self.rows}
        return next((change for change in (Change.WORSE, Change.BETTER) if change in changes), Change.SAME)


@dataclass(frozen=True, slots=True)
class _Side:
    """One run, sorted by latency; position: when in the run each request was due, from 0 to below 1."""

    latency_s: Floats
    position: Floats
    late: Floats


@dataclass(frozen=True, slots=True)
class _Resampling:
    """The settings of the resampling."""

    shares: tuple[float, ...]
    paired: bool
    blocks: int
    rng: np.random.Generator


def same_plan(before: Columns, after: Columns) -> bool:
    """Return whether both runs planned to send at the same times."""
    return before.planned == after.planned and bool(np.array_equal(before.intended_s, after.intended_s))


def compare(before: Columns, after: Columns, slo_s: float, rng: np.random.Generator) -> RunDiff:
    """Compare two runs; raise DiffError if one is too short.

    slo_s: latency above which a request of either run is late.
    """
    for run in (before, after):
        if run.duration_s < LEAST_DURATION_S:
            raise DiffError(f"a run must last at least {LEAST_DURATION_S:g} s, got {run.duration_s:.3g} s")
    paired = same_plan(before, after)
    old, new = _side(before, slo_s), _side(after, slo_s)
    shares, left_out = _comparable(old, new)
    names = ("mean", *(f"p{100 * share:g}" for share in shares), "late", "errors")
    alpha = (1 - CONFIDENCE) / len(names)
    widths = [_half_width(old, new, _Resampling(shares, paired, blocks, rng), alpha) for blocks in BLOCK_COUNTS]
    half = np.max(widths, axis=0)
    olds, news = _run_figures(old, shares), _run_figures(new, shares)
    change = _difference(olds, news)
    rows = tuple(
        FigureDiff(
            name=name,
            before=float(olds[index]),
            after=float(news[index]),
            low=float(change[index] - half[index]),
            high=float(change[index] + half[index]),
        )
        for index, name in enumerate(names)
    )
    return RunDiff(paired, 1 - alpha, rows, left_out)


def _side(run: Columns, slo_s: float) -> _Side:
    slo_latency_s = run.slo_latency_s
    order = np.argsort(slo_latency_s)
    position = np.minimum(run.intended_s / run.duration_s, math.nextafter(1, 0))
    return _Side(slo_latency_s[order], position[order], (slo_latency_s[order] > slo_s).astype(np.float64))


def _comparable(old: _Side, new: _Side) -> tuple[tuple[float, ...], tuple[str, ...]]:
    """Return the percentiles that can be compared, and the reasons why the others cannot.

    Enough requests must lie beyond a percentile, and the percentile itself must be finite.
    """
    shares, left_out = [], []
    for share in PERCENTILES:
        beyond = min(side.latency_s.size * (1 - share) for side in (old, new))
        if beyond < LEAST_BEYOND - 1e-6:
            left_out.append(f"p{100 * share:g}: fewer than {LEAST_BEYOND} requests beyond it")
        elif any(math.isinf(quantile(side.latency_s, share)) for side in (old, new)):
            left_out.append(f"p{100 * share:g}: more than {100 * (1 - share):g} % of the requests were not successful")
        else:
            shares.append(share)
    return tuple(shares), tuple(left_out)


def _half_width(old: _Side, new: _Side, resampling: _Resampling, alpha: float) -> Floats:
    """Return half the width of each confidence interval; infinite if a resample was infinite."""
    from scipy.special import stdtrit  # noqa: PLC0415  half a second, which only a comparison needs

    changes = np.array([_resampled_difference(old, new, resampling) for _ in range(RESAMPLES)])
    finite = np.isfinite(changes).all(axis=0)
    error = np.where(finite, np.where(finite, changes, 0.0).std(axis=0, ddof=1), math.inf)
    few_blocks = math.sqrt(resampling.blocks / (resampling.blocks - 1))
    return np.asarray(stdtrit(resampling.blocks - 1, 1 - alpha / 2) * few_blocks * error)


def _resampled_difference(old: _Side, new: _Side, resampling: _Resampling) -> Floats:
    """Resample both runs, drawing as many blocks as there are with replacement; return the change of each figure."""
    drawn, again = resampling.rng.multinomial(resampling.blocks, [1 / resampling.blocks] * resampling.blocks, size=2)
    before = _figures(old, drawn, resampling.shares)
    after = _figures(new, drawn if resampling.paired else again, resampling.shares)
    return _difference(before, after)


def _difference(before: Floats, after: Floats) -> Floats:
    """Return after - before, and 0 where both are infinite."""
    both_infinite = np.isinf(before) & np.isinf(after)
    return np.where(both_infinite, 0.0, after) - np.where(both_infinite, 0.0, before)


def _figures(side: _Side, drawn: NDArray[np.int64], shares: Sequence[float]) -> Floats:
    """Return mean of successful requests, percentiles, late and errors, with each request weighted by its block."""
    weights = drawn[(side.position * drawn.size).astype(np.int64)]
    cumulative = np.cumsum(weights)
    total = int(cumulative[-1])
    if not total:
        return np.zeros(len(shares) + 3)  # only blocks without requests were drawn
    good = np.isfinite(side.latency_s)
    successful = int(weights[good].sum())
    mean_s = float(weights[good] @ side.latency_s[good]) / successful if successful else math.inf
    indices = np.searchsorted(cumulative, [share * (total - 1) for share in shares], side="right")
    return np.array([mean_s, *side.latency_s[indices], float(weights @ side.late) / total, 1 - successful / total])


def _run_figures(side: _Side, shares: Sequence[float]) -> Floats:
    """Return the figures of the run itself, with percentiles computed as in its report."""
    figures = _figures(side, np.ones(1, dtype=np.int64), ())
    return np.array([figures[0], *(quantile(side.latency_s, share) for share in shares), *figures[1:]])
