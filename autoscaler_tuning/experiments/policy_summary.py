"""Summaries over the seeds of a comparison: one for each policy, and one for each pair of policies."""

from collections.abc import Sequence
from dataclasses import dataclass

from autoscaler_tuning.experiments.estimates import Estimate, mean_of, paired_ratio
from autoscaler_tuning.results import PolicyRow


@dataclass(frozen=True, slots=True)
class PolicySummary:
    """Means over the seeds of one policy; lost is the sum over all seeds."""

    policy: str
    target: str
    seeds: int
    requests: int
    late_ratio: Estimate
    lost: int
    p50_s: float
    p95_s: float
    p99_s: float
    pod_seconds: Estimate
    terminating_pod_seconds: float
    cold_starts: float
    reaction_s: float
    lp_bound_pod_seconds: float
    milp_bound_pod_seconds: float
    ratio_to_bound: float
    cost_per_1000_in_slo: float
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Paired:
    """One policy compared with another, seed by seed on the same arrivals.

    late, pod_seconds: ratio of ours to theirs; below 1, ours has fewer.
    fewer_late, cheaper: number of seeds in which ours has fewer late requests, or fewer pod-seconds.
    """

    ours: str
    theirs: str
    late: Estimate
    pod_seconds: Estimate
    fewer_late: int
    cheaper: int
    seeds: int


def summaries(rows: Sequence[PolicyRow]) -> list[PolicySummary]:
    """Return one summary for each policy, in the order of their first rows."""
    return [_summary(_rows_of(rows, policy)) for policy in dict.fromkeys(row.policy for row in rows)]


def paired(rows: Sequence[PolicyRow], ours: str) -> list[Paired]:
    """Return the comparison of one policy with each of the others; every policy must have rows for the same seeds."""
    our_rows = _rows_of(rows, ours)
    others = [policy for policy in dict.fromkeys(row.policy for row in rows) if policy != ours]
    return [_pair(our_rows, _rows_of(rows, policy)) for policy in others]


def _rows_of(rows: Sequence[PolicyRow], policy: str) -> list[PolicyRow]:
    return sorted((row for row in rows if row.policy == policy), key=lambda row: row.seed)


def _summary(rows: Sequence[PolicyRow]) -> PolicySummary:
    def mean(name: str) -> float:
        return mean_of([getattr(row, name) for row in rows]).value

    return PolicySummary(
        policy=rows[0].policy,
        target=rows[0].target,
        seeds=len(rows),
        requests=rows[0].requests,
        late_ratio=mean_of([row.late_ratio for row in rows]),
        lost=sum(row.lost for row in rows),
        p50_s=mean("p50_s"),
        p95_s=mean("p95_s"),
        p99_s=mean("p99_s"),
        pod_seconds=mean_of([row.pod_seconds for row in rows]),
        terminating_pod_seconds=mean("terminating_pod_seconds"),
        cold_starts=mean("cold_starts"),
        reaction_s=mean("reaction_s"),
        lp_bound_pod_seconds=mean("lp_bound_pod_seconds"),
        milp_bound_pod_seconds=mean("milp_bound_pod_seconds"),
        ratio_to_bound=mean("ratio_to_bound"),
        cost_per_1000_in_slo=mean("cost_per_1000_in_slo"),
        notes=tuple(dict.fromkeys(note for row in rows for note in row.notes)),
    )


def _pair(ours: Sequence[PolicyRow], theirs: Sequence[PolicyRow]) -> Paired:
    pairs = list(zip(ours, theirs, strict=True))
    return Paired(
        ours=ours[0].policy,
        theirs=theirs[0].policy,
        late=paired_ratio([row.late for row in ours], [row.late for row in theirs]),
        pod_seconds=paired_ratio([row.pod_seconds for row in ours], [row.pod_seconds for row in theirs]),
        fewer_late=sum(a.late < b.late for a, b in pairs),
        cheaper=sum(a.pod_seconds < b.pod_seconds for a, b in pairs),
        seeds=len(pairs),
    )
