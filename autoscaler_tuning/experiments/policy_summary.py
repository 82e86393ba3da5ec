"""What the seeds of a comparison come to: a line a policy, and policies paired on the same arrivals."""

from collections.abc import Sequence
from dataclasses import dataclass

from autoscaler_tuning.experiments.estimates import Estimate, mean_of, paired_ratio
from autoscaler_tuning.results import PolicyRow


@dataclass(frozen=True, slots=True)
class PolicySummary:
    """Means over the seeds of one policy; late_ratio of all requests together, lost their sum over all seeds."""

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
    """One policy against another, seed by seed: ratios below 1 say that ours has less.

    fewer_late, cheaper: in how many of the seeds ours had fewer late answers, or fewer pod-seconds.
    """

    ours: str
    theirs: str
    late: Estimate
    pod_seconds: Estimate
    fewer_late: int
    cheaper: int
    seeds: int


def summaries(rows: Sequence[PolicyRow]) -> list[PolicySummary]:
    """One for each policy, in the order in which they come."""
    return [_summary(_of(rows, policy)) for policy in dict.fromkeys(row.policy for row in rows)]


def paired(rows: Sequence[PolicyRow], ours: str) -> list[Paired]:
    """One policy against each of the others; rows of the same place in their policies share their arrivals."""
    mine = _of(rows, ours)
    others = [policy for policy in dict.fromkeys(row.policy for row in rows) if policy != ours]
    return [_pair(mine, _of(rows, policy)) for policy in others]


def _of(rows: Sequence[PolicyRow], policy: str) -> list[PolicyRow]:
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


def _pair(mine: Sequence[PolicyRow], theirs: Sequence[PolicyRow]) -> Paired:
    pairs = list(zip(mine, theirs, strict=True))
    return Paired(
        ours=mine[0].policy,
        theirs=theirs[0].policy,
        late=paired_ratio([row.late for row in mine], [row.late for row in theirs]),
        pod_seconds=paired_ratio([row.pod_seconds for row in mine], [row.pod_seconds for row in theirs]),
        fewer_late=sum(a.late < b.late for a, b in pairs),
        cheaper=sum(a.pod_seconds < b.pod_seconds for a, b in pairs),
        seeds=len(pairs),
    )
