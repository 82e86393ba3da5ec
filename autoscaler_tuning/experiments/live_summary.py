"""Summaries of live runs: medians over the runs of each policy, beside what the simulator predicts."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan, nan

import numpy as np

from autoscaler_tuning.results import PolicyRow, PolicyRun

# Requests that were due this long after the first pod was ready have no excuse in the first start.
AFTER_START_S = 1.0
INVALID = "INVALID"


@dataclass(frozen=True, slots=True)
class MedianRange:
    """Median, least and most of a figure over several runs; nan without a run."""

    median: float
    least: float
    most: float


@dataclass(frozen=True, slots=True)
class Predicted:
    """Medians over several simulations of one run's arrivals."""

    late_ratio: float
    p99_s: float
    pod_seconds: float


@dataclass(frozen=True, slots=True)
class LiveRow:
    """One live run.

    valid: nothing in its notes forbids to use its figures.
    late_after_start_ratio: share of late requests among those due more than AFTER_START_S after the first pod was
        ready; nan if there are none.
    start_s: median time from creation to ready of its pods; nan if none started.
    predicted: None without a prediction.
    """

    policy: str
    run: int
    path: tuple[str, ...]
    valid: bool
    requests: int
    late_ratio: float
    late_after_start_ratio: float
    lost: int
    p50_s: float
    p99_s: float
    pod_seconds: float
    cold_starts: int
    start_s: float
    new_revisions: int
    predicted: Predicted | None


@dataclass(frozen=True, slots=True)
class LiveMedians:
    """The valid runs of one policy, or all of its runs if none is valid, which valid_runs tells.

    runs: how many there were, valid or not. lost, new_revisions: sums over them.
    """

    policy: str
    path: tuple[str, ...]
    runs: int
    valid_runs: int
    late_ratio: MedianRange
    late_after_start_ratio: MedianRange
    lost: int
    p50_s: MedianRange
    p99_s: MedianRange
    pod_seconds: MedianRange
    cold_starts: MedianRange
    start_s: MedianRange
    new_revisions: int


def live_row(run: PolicyRun, slo_s: float, predicted: Predicted | None) -> LiveRow:
    """Return the row of a live run."""
    row, facts = run.row, run.live
    after = run.intended_s > facts.first_ready_s + AFTER_START_S
    late = ~(run.done_s - run.intended_s <= slo_s)
    return LiveRow(
        policy=row.policy,
        run=row.seed,
        path=facts.path,
        valid=is_valid(row),
        requests=row.requests,
        late_ratio=row.late_ratio,
        late_after_start_ratio=float(late[after].mean()) if after.any() else nan,
        lost=row.lost,
        p50_s=row.p50_s,
        p99_s=row.p99_s,
        pod_seconds=row.pod_seconds,
        cold_starts=row.cold_starts,
        start_s=float(np.median(facts.starts_s)) if facts.starts_s else nan,
        new_revisions=facts.new_revisions,
        predicted=predicted,
    )


def is_valid(row: PolicyRow) -> bool:
    """Return whether no note of the row says that its figures must not be used."""
    return not any(note.startswith(INVALID) for note in row.notes)


def medians(rows: Sequence[LiveRow]) -> list[LiveMedians]:
    """Return one line for each policy, in the order of their first rows."""
    return [_medians([row for row in rows if row.policy == name]) for name in dict.fromkeys(row.policy for row in rows)]


def predicted(rows: Sequence[PolicyRow]) -> Predicted:
    """Return the medians of simulated rows of one policy on the same arrivals."""
    late, p99_s, cost = ([getattr(row, name) for row in rows] for name in ("late_ratio", "p99_s", "pod_seconds"))
    return Predicted(float(np.median(late)), float(np.median(p99_s)), float(np.median(cost)))


def error_ratio(simulated: float, live: float) -> float:
    """Return the error of a prediction relative to the live value; nan if that is 0 or unknown."""
    return simulated / live - 1 if live else nan


def _medians(rows: Sequence[LiveRow]) -> LiveMedians:
    valid = [row for row in rows if row.valid]
    used = valid or rows

    def spread(name: str) -> MedianRange:
        values = [value for row in used if not isnan(value := float(getattr(row, name)))]
        return MedianRange(float(np.median(values)), min(values), max(values)) if values else MedianRange(nan, nan, nan)

    return LiveMedians(
        policy=rows[0].policy,
        path=rows[0].path,
        runs=len(rows),
        valid_runs=len(valid),
        late_ratio=spread("late_ratio"),
        late_after_start_ratio=spread("late_after_start_ratio"),
        lost=sum(row.lost for row in rows),
        p50_s=spread("p50_s"),
        p99_s=spread("p99_s"),
        pod_seconds=spread("pod_seconds"),
        cold_starts=spread("cold_starts"),
        start_s=spread("start_s"),
        new_revisions=sum(row.new_revisions for row in rows),
    )
