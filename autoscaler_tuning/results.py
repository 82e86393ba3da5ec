"""Results of one run of one policy, simulated or live: its row in the report and its course over time."""

from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PolicyRow:
    """One row of the report.

    late_ratio: share of the planned requests that are late: not answered successfully within the SLO, counted from the
        intended send. Slow, refused, failed and lost requests all count as late.
    lost: planned requests without a successful response.
    p50_s, p95_s, p99_s: latency of the successful responses, from the intended send; nan if there are none.
    pod_seconds: integral over time of ready + starting pods; terminating pods count in terminating_pod_seconds.
    cold_starts: pods started.
    seed: seed of the arrivals, service times and pod starts; rows with the same seed are comparable.
    reaction_s: mean time from a rate jump to the first decision for more pods (reaction.py); nan without a rate jump.
    lp_bound_pod_seconds: lower bound on the pod-seconds of any policy at this late_ratio.
    milp_bound_pod_seconds: the same for the policies that change their pods only on a time grid. Both bounds are nan if
        they were not computed or nothing could be proved.
    ratio_to_bound: pod_seconds / milp_bound_pod_seconds.
    cost_per_1000_in_slo: price of the pod-seconds per thousand responses within the SLO; nan if there are none.
    until_s: how long pods were counted; nan if it was not recorded.
    notes: caveats that a reader must know before comparing this row with others.
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
        """Number of late requests."""
        return round(self.late_ratio * self.requests)


@dataclass(frozen=True, slots=True)
class TimedPodCounts:
    """Pods and waiting requests at one moment; time_s counts from the start of the run.

    waiting: None if nothing in the path of the requests tells it.
    """

    time_s: float
    ready_pods: int
    starting_pods: int
    terminating_pods: int
    waiting: int | None


@dataclass(frozen=True, slots=True)
class LiveFacts:
    """What is known of a live run alone.

    path: the hops of its requests, as in RunSetup.
    first_ready_s: when the first pod was ready, from the start of the run; 0 if one was ready before, nan if none was.
    starts_s: time from creation to ready of each pod that started.
    new_revisions: Revisions that the Service got during the run.
    """

    path: tuple[str, ...] = ()
    first_ready_s: float = nan
    starts_s: tuple[float, ...] = ()
    new_revisions: int = 0


@dataclass(frozen=True, slots=True)
class PolicyRun:
    """One run: its row and the data behind it.

    intended_s, done_s: shape (requests,), from the start of the run; done_s is nan for requests without a successful
        response.
    wanted_pods: (time_s, pods) of each decision that changed the wanted pods.
    """

    row: PolicyRow
    intended_s: FloatArray
    done_s: FloatArray
    pods: tuple[TimedPodCounts, ...]
    wanted_pods: tuple[tuple[float, int], ...] = ()
    live: LiveFacts = LiveFacts()


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of a run: its pod-seconds and the number of pods it started."""

    pod_seconds: float
    terminating_pod_seconds: float
    cold_starts: int


def summarise(
    policy: str, target: str, intended_s: FloatArray, done_s: FloatArray, slo_s: float, cost: Cost
) -> PolicyRow:
    """Return the row of a run from its latencies and cost; PolicyRow defines the columns.

    target: where the pods ran: simulated, local or knative.
    """
    latency_s = done_s - intended_s
    good_s = latency_s[np.isfinite(latency_s)]
    in_time = int(np.count_nonzero(good_s <= slo_s))
    requests = len(intended_s)
    p50_s, p95_s, p99_s = np.percentile(good_s, [50, 95, 99]) if len(good_s) else (np.nan,) * 3
    return PolicyRow(
        policy=policy,
        target=target,
        requests=requests,
        late_ratio=(requests - in_time) / requests if requests else 0.0,
        lost=requests - len(good_s),
        p50_s=float(p50_s),
        p95_s=float(p95_s),
        p99_s=float(p99_s),
        pod_seconds=cost.pod_seconds,
        terminating_pod_seconds=cost.terminating_pod_seconds,
        cold_starts=cost.cold_starts,
    )
