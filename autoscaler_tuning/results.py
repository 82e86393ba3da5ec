"""What one run of one policy came to, simulated or live: a row of the table and its course over time."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PolicyRow:
    """One line of the report.

    late_ratio: planned requests that were not answered well within the SLO, counted from the intended send, over all
        planned: slow, refused, failed and lost alike.
    lost: planned requests without a good answer at all.
    p50_s, p95_s, p99_s: latency of those answered well, from the intended send; nan if there were none.
    pod_seconds: integral of ready + starting pods; terminating ones stand in terminating_pod_seconds.
    cold_starts: pods started.
    seed: of the arrivals, service times and starts; rows of one seed belong together.
    reaction_s: mean time from a jump of the rate to the first decision for more pods (reaction.py), nan without one.
    lp_bound_pod_seconds, milp_bound_pod_seconds: what no policy can undercut at this late_ratio; of the second, none
        that changes its pods on a grid. nan where nobody asked, or nothing could be proved.
    ratio_to_bound: pod_seconds over milp_bound_pod_seconds.
    cost_per_1000_in_slo: price of the pod-seconds of a thousand answers in time; nan if there was none.
    until_s: how long pods were counted; nan where nobody noted it.
    notes: what a reader must know before comparing this row.
    """

    policy: str
    target: str
    requests: int
    late_ratio: float
    lost: int
    p50_s: float
    p95_s: float
    p99_s: float
    pod_seconds: float
    terminating_pod_seconds: float
    cold_starts: int
    seed: int = 0
    reaction_s: float = nan
    lp_bound_pod_seconds: float = nan
    milp_bound_pod_seconds: float = nan
    ratio_to_bound: float = nan
    cost_per_1000_in_slo: float = nan
    until_s: float = nan
    notes: tuple[str, ...] = ()

    @property
    def late(self) -> int:
        """Late answers."""
        return round(self.late_ratio * self.requests)


@dataclass(frozen=True, slots=True)
class TimedPodCounts:
    """Pods at one moment; time_s from the start of the run."""

    time_s: float
    ready_pods: int
    starting_pods: int
    terminating_pods: int
    waiting: int


@dataclass(frozen=True, slots=True)
class PolicyRun:
    """A row and what it was made of.

    intended_s, done_s: shape (requests,), from the start of the run; done_s is nan where no good answer came.
    wishes: (time_s, pods) of each decision that changed the pods wanted.
    """

    row: PolicyRow
    intended_s: FloatArray
    done_s: FloatArray
    pods: tuple[TimedPodCounts, ...]
    wishes: tuple[tuple[float, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Cost:
    """What a run used, in pod-seconds, and how often it started a pod."""

    pod_seconds: float
    terminating_pod_seconds: float
    cold_starts: int


def summarise(
    label: tuple[str, str],
    intended_s: FloatArray,
    done_s: FloatArray,
    slo_s: float,
    cost: Cost,
    notes: Sequence[str] = (),
) -> PolicyRow:
    """The row of (policy, target) from the latencies and the cost; see Row for the definitions."""
    latency_s = done_s - intended_s
    good_s = latency_s[np.isfinite(latency_s)]
    in_time = int(np.count_nonzero(good_s <= slo_s))
    requests = len(intended_s)
    p50_s, p95_s, p99_s = np.percentile(good_s, [50, 95, 99]) if len(good_s) else (np.nan,) * 3
    return PolicyRow(
        policy=label[0],
        target=label[1],
        requests=requests,
        late_ratio=(requests - in_time) / requests if requests else 0.0,
        lost=requests - len(good_s),
        p50_s=float(p50_s),
        p95_s=float(p95_s),
        p99_s=float(p99_s),
        pod_seconds=cost.pod_seconds,
        terminating_pod_seconds=cost.terminating_pod_seconds,
        cold_starts=cost.cold_starts,
        notes=tuple(notes),
    )
