"""The goals of `elastic` relative to KPA and to the clairvoyant bound: each with its value and whether it is met."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from autoscaler_tuning.experiments.estimates import Estimate, mean_of, paired_ratio
from autoscaler_tuning.experiments.first_start import has_first_start, late_in_first_start
from autoscaler_tuning.policies.shadow import LATE_PRICE
from autoscaler_tuning.results import PolicyRow, PolicyRun
from autoscaler_tuning.simulator.world import SimConfig

OURS = "elastic"
BASELINES = ("kpa", "kpa-tuned", "kpa-tuned@deadline")
POLICIES = (*BASELINES, OURS)
# Stretch goal for the share of late requests: on traffic without a rate jump, and with one, for which there may be too
# few pods.
STRETCH_LATE_RATIO, STRETCH_LATE_RATIO_JUMP = 0.001, 0.002
# Share of late requests that is good enough where KPA has hardly any.
FEW_LATE_RATIO = 0.0002


@dataclass(frozen=True, slots=True)
class Goal:
    """A limit on one figure of elastic, and the value that it has.

    must: a required goal; missing it is a failure. The others are stretch goals.
    value: met if at most limit.
    floor: clairvoyant lower bound on the value of any policy with as few late requests.
    """

    must: bool
    text: str
    value: Estimate
    limit: float
    floor: float = 0.0

    @property
    def met(self) -> bool:
        """Return whether the value itself is within the limit; nan never is."""
        return self.value.value <= self.limit

    @property
    def is_conclusive(self) -> bool:
        """Return whether the whole confidence interval is on the value's side of the limit."""
        return self.value.high <= self.limit if self.met else self.value.low > self.limit


def goals(rows: Mapping[str, Sequence[PolicyRow]], has_jump: bool) -> list[Goal]:
    """Return all goals with their values.

    rows: for each of POLICIES its rows, sorted by seed and with the MILP bound; their late requests are those after the
        first start.
    """
    ours, kpa, tuned, ordered = (rows[name] for name in (OURS, *BASELINES))
    late = mean_of([row.late_ratio for row in ours])
    lost = mean_of([float(row.lost) for row in ours])
    bound = mean_of([row.ratio_to_bound for row in ours])
    return [
        Goal(True, "late requests relative to stock KPA", _late_beyond(ours, kpa, FEW_LATE_RATIO), 1 / 10),
        *_cheaper_where_kpa_is_late(ours, kpa),
        Goal(True, "cost relative to stock KPA", _cost(ours, kpa), 1.05),
        Goal(True, "the better of late and pod-seconds relative to stock KPA", _better(ours, kpa), 1.0),
        Goal(True, "late requests relative to kpa-tuned", _late(ours, tuned), 1 / 2),
        Goal(True, "pod-seconds relative to kpa-tuned", _pods(ours, tuned), 0.9, _floor(ours, tuned)),
        Goal(True, "late requests relative to kpa-tuned@deadline", _late(ours, ordered), 1.0),
        Goal(True, "pod-seconds relative to kpa-tuned@deadline", _pods(ours, ordered), 1.0, _floor(ours, ordered)),
        Goal(True, "lost requests per run", lost, 0.0),
        Goal(True, "pod-seconds relative to the MILP bound", bound, 2.0),
        Goal(False, "share of late requests", late, STRETCH_LATE_RATIO_JUMP if has_jump else STRETCH_LATE_RATIO),
        Goal(False, "late requests relative to stock KPA", _late(ours, kpa), 1 / 20),
        Goal(False, "pod-seconds relative to stock KPA", _pods(ours, kpa), 0.6, _floor(ours, kpa)),
        Goal(False, "late requests relative to kpa-tuned", _late(ours, tuned), 1 / 5),
        Goal(False, "pod-seconds relative to the MILP bound", bound, 1.5),
    ]


def without_the_future(ours: Sequence[PolicyRow], informed: Sequence[PolicyRow]) -> list[Goal]:
    """Return the goal relative to the policy that is told the rate (informed.py), if there is such a policy."""
    if not informed:
        return []
    return [Goal(False, "pod-seconds relative to the policy that is told the rate", _pods(ours, informed), 1.2)]


def missed_required(listed: Sequence[Goal]) -> list[Goal]:
    """Return the required goals that are missed."""
    return [goal for goal in listed if goal.must and not goal.met]


def _late(ours: Sequence[PolicyRow], theirs: Sequence[PolicyRow]) -> Estimate:
    return _ratio([row.late for row in ours], [row.late for row in theirs])


def _ratio(ours: Sequence[int], theirs: Sequence[int]) -> Estimate:
    """Return the ratio of late requests; 0 / 0 counts as 0, because without late requests the goal is met."""
    return paired_ratio(ours, theirs, zero_over_zero=0.0) if any(ours) else Estimate(0.0, 0.0, 0.0)


def _late_beyond(ours: Sequence[PolicyRow], theirs: Sequence[PolicyRow], few_ratio: float) -> Estimate:
    """Return the ratio of late requests; 0 if their share is at most few_ratio."""
    if mean_of([row.late_ratio for row in ours]).value <= few_ratio:
        return Estimate(0.0, 0.0, 0.0)
    return _late(ours, theirs)


def _cheaper_where_kpa_is_late(ours: Sequence[PolicyRow], kpa: Sequence[PolicyRow]) -> list[Goal]:
    """Return the goal for the pod-seconds; none where stock KPA has no late requests, because there it has few pods."""
    if not any(row.late for row in kpa):
        return []
    return [Goal(True, "pod-seconds relative to stock KPA", _pods(ours, kpa), 0.8, _floor(ours, kpa))]


def _cost(ours: Sequence[PolicyRow], theirs: Sequence[PolicyRow]) -> Estimate:
    """Return the ratio of the costs, in pod-seconds with LATE_PRICE for each late request."""
    our_costs, their_costs = ([row.pod_seconds + LATE_PRICE * row.late for row in rows] for rows in (ours, theirs))
    return paired_ratio(our_costs, their_costs)


def _better(ours: Sequence[PolicyRow], theirs: Sequence[PolicyRow]) -> Estimate:
    """Return the lower of the two ratios: above 1, ours is worse in both."""
    return min(_late(ours, theirs), _pods(ours, theirs), key=lambda ratio: ratio.value)


def first_start(ours: Sequence[PolicyRun], kpa: Sequence[PolicyRun], sim: SimConfig) -> list[Goal]:
    """Return the goals for the first start from zero; none if the runs begin with pods or are judged from later on.

    No more pods than requests that have come when they are ready, and no more late requests than with stock KPA.
    """
    if not has_first_start(sim):
        return []
    pods = mean_of([_first_start_ratio(run) for run in ours])
    late, theirs = ([late_in_first_start(run, sim) for run in runs] for runs in (ours, kpa))
    return [
        Goal(True, "pods wanted in the first start relative to the requests by its end", pods, 1.0),
        Goal(True, "late requests in the first start relative to stock KPA", _ratio(late, theirs), 1.0),
    ]


def _first_start_ratio(run: PolicyRun) -> float:
    ready_s = next((one.time_s for one in run.pods if one.ready_pods), run.pods[-1].time_s)
    most = max((pods for time_s, pods in run.wanted_pods if time_s <= ready_s), default=0)
    return most / max(1, int(np.searchsorted(run.intended_s, ready_s, side="right")))


def _pods(ours: Sequence[PolicyRow], theirs: Sequence[PolicyRow]) -> Estimate:
    return paired_ratio([row.pod_seconds for row in ours], [row.pod_seconds for row in theirs])


def _floor(ours: Sequence[PolicyRow], theirs: Sequence[PolicyRow]) -> float:
    """Return the lower bound on the ratio of pod-seconds."""
    return sum(row.milp_bound_pod_seconds for row in ours) / sum(row.pod_seconds for row in theirs)
