"""Two runs beside each other: what changed, how surely, and a verdict.

Latencies of neighbouring requests hang together (they waited in the same queue), so resampling single requests would
make intervals that are far too narrow. Whole blocks of time are drawn instead; where both runs sent the same plan, the
same blocks are drawn from both, which takes out what the arrivals alone do. How long a block must be is not known
beforehand, so two lengths are tried and the wider interval counts.
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
# Blocks that a run is cut into: few and long ones hold what hangs together, many and short ones guess less.
BLOCK_COUNTS = (20, 10)
LEAST_DURATION_S = 5.0
# A percentile is compared only if so many requests of each run lie beyond it.
LEAST_BEYOND = 10
PERCENTILES = (0.5, 0.95, 0.99, 0.999)

# A latency that changed by less than this share of itself is no news, however sure it is.
LEAST_CHANGE_RATIO = 0.05


class DiffError(ValueError):
    """The runs cannot be compared; the text says why."""


class Change(StrEnum):
    """What can be said of a figure."""

    BETTER = "better"
    WORSE = "WORSE"
    SAME = "no difference seen"

    @property
    def is_change(self) -> bool:
        """One way or the other."""
        return self is not Change.SAME


@dataclass(frozen=True, slots=True)
class FigureDiff:
    """One figure of both runs; low and high bound after - before. Latencies in seconds, late and errors in shares."""

    name: str
    before: float
    after: float
    low: float
    high: float

    @property
    def is_latency(self) -> bool:
        """Or a share of the requests."""
        return self.name not in ("late", "errors")

    @property
    def change(self) -> Change:
        """More is worse, of every figure here."""
        if self.is_latency and abs(self.after - self.before) < LEAST_CHANGE_RATIO * self.before:
            return Change.SAME
        if self.low > 0:
            return Change.WORSE
        return Change.BETTER if self.high < 0 else Change.SAME


@dataclass(frozen=True, slots=True)
class RunDiff:
    """confidence: that of each row; the rows together are wrong no more often than 1 - CONFIDENCE.

    left_out: figures that cannot be compared, each with its reason.
    """

    paired: bool
    confidence: float
    rows: tuple[FigureDiff, ...]
    left_out: tuple[str, ...]

    @property
    def verdict(self) -> Change:
        """Worse in anything is worse."""
        changes = {row.change for row in self.rows}
        return next((change for change in (Change.WORSE, Change.BETTER) if change in changes), Change.SAME)


@dataclass(frozen=True, slots=True)
class _Side:
    """One run, requests in ascending order of their latency; place: when in the run each was due, 0 to below 1."""

    latency_s: Floats
    place: Floats
    late: Floats


@dataclass(frozen=True, slots=True)
class _Draw:
    """How to resample."""

    shares: tuple[float, ...]
    paired: bool
    blocks: int
    rng: np.random.Generator


def same_plan(before: Columns, after: Columns) -> bool:
    """Whether both meant to send at the same moments."""
    return before.planned == after.planned and bool(np.array_equal(before.intended_s, after.intended_s))


def compare(before: Columns, after: Columns, slo_s: float, rng: np.random.Generator) -> RunDiff:
    """slo_s: latency from which a request counts as late, in both. Raises CompareError if a run is too short."""
    for run in (before, after):
        if run.duration_s < LEAST_DURATION_S:
            raise DiffError(f"a run must last {LEAST_DURATION_S:g} s to be compared, was {run.duration_s:.3g} s")
    paired = same_plan(before, after)
    old, new = _side(before, slo_s), _side(after, slo_s)
    shares, left_out = _comparable(old, new)
    names = ("mean", *(f"p{100 * share:g}" for share in shares), "late", "errors")
    alpha = (1 - CONFIDENCE) / len(names)
    widths = [_half_width(old, new, _Draw(shares, paired, blocks, rng), alpha) for blocks in BLOCK_COUNTS]
    half = np.max(widths, axis=0)
    olds, news = _points(old, shares), _points(new, shares)
    apart = _apart(olds, news)
    rows = zip(names, olds.tolist(), news.tolist(), (apart - half).tolist(), (apart + half).tolist(), strict=True)
    return RunDiff(paired, 1 - alpha, tuple(FigureDiff(*row) for row in rows), left_out)


def _side(run: Columns, slo_s: float) -> _Side:
    useful_s = run.useful_s
    order = np.argsort(useful_s)
    place = np.minimum(run.intended_s / run.duration_s, math.nextafter(1, 0))
    return _Side(useful_s[order], place[order], (useful_s[order] > slo_s).astype(np.float64))


def _comparable(old: _Side, new: _Side) -> tuple[tuple[float, ...], tuple[str, ...]]:
    """Percentiles with enough requests beyond them, all of those good; and why the others are left out."""
    shares, left_out = [], []
    for share in PERCENTILES:
        beyond = min(side.latency_s.size * (1 - share) for side in (old, new))
        if beyond < LEAST_BEYOND - 1e-6:
            left_out.append(f"p{100 * share:g}: fewer than {LEAST_BEYOND} requests beyond it")
        elif any(math.isinf(quantile(side.latency_s, share)) for side in (old, new)):
            left_out.append(f"p{100 * share:g}: more than {100 * (1 - share):g} % got no good answer")
        else:
            shares.append(share)
    return tuple(shares), tuple(left_out)


def _half_width(old: _Side, new: _Side, draw: _Draw, alpha: float) -> Floats:
    """Of the interval around each difference; infinite where some resamples had no end."""
    from scipy.special import stdtrit  # noqa: PLC0415  half a second that a run without a comparison need not wait

    apart = np.array([_difference(old, new, draw) for _ in range(RESAMPLES)])
    finite = np.isfinite(apart).all(axis=0)
    error = np.where(finite, np.where(finite, apart, 0.0).std(axis=0, ddof=1), math.inf)
    few = math.sqrt(draw.blocks / (draw.blocks - 1))
    return np.asarray(stdtrit(draw.blocks - 1, 1 - alpha / 2) * few * error)


def _difference(old: _Side, new: _Side, draw: _Draw) -> Floats:
    """One resample of both: as many blocks as there are, with replacement."""
    drawn, again = draw.rng.multinomial(draw.blocks, [1 / draw.blocks] * draw.blocks, size=2)
    return _apart(_figures(old, drawn, draw.shares), _figures(new, drawn if draw.paired else again, draw.shares))


def _apart(before: Floats, after: Floats) -> Floats:
    """No difference where both have no end."""
    both_lost = np.isinf(before) & np.isinf(after)
    return np.where(both_lost, 0.0, after) - np.where(both_lost, 0.0, before)


def _figures(side: _Side, drawn: NDArray[np.int64], shares: Sequence[float]) -> Floats:
    """Mean of good answers, percentiles, late, errors: each request counts as often as its block was drawn."""
    weights = drawn[(side.place * drawn.size).astype(np.int64)]
    up_to = np.cumsum(weights)
    total = int(up_to[-1])
    if not total:
        return np.zeros(len(shares) + 3)  # blocks without a request
    good = np.isfinite(side.latency_s)
    goods = int(weights[good].sum())
    mean_s = float(weights[good] @ side.latency_s[good]) / goods if goods else math.inf
    places = np.searchsorted(up_to, [share * (total - 1) for share in shares], side="right")
    return np.array([mean_s, *side.latency_s[places], float(weights @ side.late) / total, 1 - goods / total])


def _points(side: _Side, shares: Sequence[float]) -> Floats:
    """The run's own figures, percentiles as its report has them."""
    figures = _figures(side, np.ones(1, dtype=np.int64), ())
    return np.array([figures[0], *(quantile(side.latency_s, share) for share in shares), *figures[1:]])
