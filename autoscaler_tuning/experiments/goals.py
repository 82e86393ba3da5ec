"""What `elastic` set out to reach beside KPA and the clairvoyant bound: each goal with its value, met or missed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, nan

from autoscaler_tuning.bounds.linear_program import unavoidable_late
from autoscaler_tuning.experiments.compare import Comparison, bound_config
from autoscaler_tuning.experiments.estimates import Estimate, mean_of, paired_ratio
from autoscaler_tuning.experiments.reaction import BEFORE_S, jumps
from autoscaler_tuning.results import PolicyRow

OURS = "elastic"
BASELINES = ("kpa", "kpa-tuned", "kpa-tuned@deadline")
POLICIES = (*BASELINES, OURS)
# Share of late answers to reach: on traffic without a jump, and with one, of which somebody has to bear the start.
REACH_LATE, REACH_LATE_JUMP = 0.001, 0.002
# From a jump to its first sign in the signals: half of elastic's interval and a scrape.
DECISION_S = 0.5


@dataclass(frozen=True, slots=True)
class Goal:
    """must: its miss is a failure; others are to reach for. value with its 95 % interval must be at most limit.

    floor: what nobody gets below who has as few late answers, for knowing every arrival in advance.
    """

    must: bool
    text: str
    value: Estimate
    limit: float
    floor: float = 0.0

    @property
    def met(self) -> bool:
        """By the value itself; nan meets nothing."""
        return self.value.value <= self.limit

    @property
    def sure(self) -> bool:
        """Whether the whole interval is on the value's side of the limit."""
        return self.value.high <= self.limit if self.met else self.value.low > self.limit


def goals(rows: Mapping[str, Sequence[PolicyRow]], unavoidable_ratio: float, has_jump: bool) -> list[Goal]:
    """From the rows of POLICIES, each sorted by seed and with the MILP bound.

    unavoidable_ratio: late share that no policy avoids which does not foresee the traffic's jumps.
    """
    ours, kpa, tuned, ordered = (rows[name] for name in (OURS, *BASELINES))
    late = mean_of([row.late_ratio for row in ours])
    lost = mean_of([float(row.lost) for row in ours])
    bound = mean_of([row.ratio_to_bound for row in ours])
    reach = max(REACH_LATE_JUMP if has_jump else REACH_LATE, unavoidable_ratio)
    return [
        Goal(True, "late answers over stock KPA's", _late(ours, kpa), 1 / 10),
        Goal(True, "pod-seconds over stock KPA's", _pods(ours, kpa), 0.8, _floor(ours, kpa)),
        Goal(True, "late answers over kpa-tuned's", _late(ours, tuned), 1 / 2),
        Goal(True, "pod-seconds over kpa-tuned's", _pods(ours, tuned), 0.9, _floor(ours, tuned)),
        Goal(True, "late answers over kpa-tuned@deadline's", _late(ours, ordered), 1.0),
        Goal(True, "pod-seconds over kpa-tuned@deadline's", _pods(ours, ordered), 1.0, _floor(ours, ordered)),
        Goal(True, "lost requests a run", lost, 0.0),
        Goal(True, "pod-seconds over the MILP bound", bound, 2.0),
        Goal(False, "late share of all requests", late, reach),
        Goal(False, "late answers over stock KPA's", _late(ours, kpa), 1 / 20),
        Goal(False, "pod-seconds over stock KPA's", _pods(ours, kpa), 0.6, _floor(ours, kpa)),
        Goal(False, "late answers over kpa-tuned's", _late(ours, tuned), 1 / 5),
        Goal(False, "pod-seconds over the MILP bound", bound, 1.5),
    ]


def missed_musts(listed: Sequence[Goal]) -> list[Goal]:
    """Those whose miss is a failure."""
    return [goal for goal in listed if goal.must and not goal.met]


def unavoidable(comparison: Comparison) -> float:
    """Share of late answers that no policy avoids which does not foresee the jumps of the rate, over all requests.

    For it, pods for the rate before the jump are ready, and new ones answer after the mean start and DECISION_S.
    """
    counts, sim = comparison.counts, comparison.sim
    arrivals_s = comparison.arrivals_s(0)
    blind_s = sum(sim.cold_start_s) / 2 + DECISION_S
    late = 0
    for second, _ in jumps(counts, int(sim.judged_from_s)):
        before_rps = sum(counts[second - BEFORE_S : second]) / BEFORE_S
        pods = max(1, ceil(before_rps * sim.service_time_s))
        late += unavoidable_late(arrivals_s, float(second), pods, blind_s, bound_config(sim), sim.service_time_s)
    judged = sum(counts[int(sim.judged_from_s) :])
    return late / judged if judged else nan


def _late(ours: Sequence[PolicyRow], theirs: Sequence[PolicyRow]) -> Estimate:
    """0 over 0 counts as 0: where nobody is late, there is nothing left to win."""
    if not any(row.late for row in ours):
        return Estimate(0.0, 0.0, 0.0)
    return paired_ratio([row.late for row in ours], [row.late for row in theirs])


def _pods(ours: Sequence[PolicyRow], theirs: Sequence[PolicyRow]) -> Estimate:
    return paired_ratio([row.pod_seconds for row in ours], [row.pod_seconds for row in theirs])


def _floor(ours: Sequence[PolicyRow], theirs: Sequence[PolicyRow]) -> float:
    """The bound's share of their pod-seconds."""
    return sum(row.milp_bound_pod_seconds for row in ours) / sum(row.pod_seconds for row in theirs)
