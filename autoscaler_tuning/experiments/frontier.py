"""The Pareto frontier of each policy by its main knob: the fairest comparison is one of curves, not of points."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from autoscaler_tuning.experiments.compare import Case, Comparison, run_case
from autoscaler_tuning.experiments.parallel import each
from autoscaler_tuning.policies.registry import policy_named, with_knob


@dataclass(frozen=True, slots=True)
class Point:
    """One setting of a policy's main knob, as means over the seeds; efficient if no other beats it on both figures."""

    policy: str
    knob: str
    value: float
    late_ratio: float
    pod_seconds: float
    efficient: bool


def sweep_of(policy: str) -> list[tuple[str, str, float]]:
    """Return (policy with its main knob set, knob, value) at each value to try; none for a policy without a main knob.

    Other settings of the name stay as they are.
    """
    knob = policy_named(policy).entry.main_knob
    texts = [(with_knob(policy, value), value) for value in knob.values] if knob else []
    return [(text, knob.name, value) for text, value in texts if text and knob]


def frontiers(
    comparison: Comparison, policies: Sequence[str], seeds: int, said: Callable[[str], None]
) -> dict[str, list[Point]]:
    """The points of each policy that has a main knob, in the knob's order; none without seeds."""
    tried = [(policy, *step) for policy in policies for step in sweep_of(policy)] if seeds else []
    for _, name, _, _ in tried:
        policy_named(name)  # a wrong setting is told before anything runs
    cases = [Case(comparison, name, seed) for _, name, _, _ in tried for seed in range(seeds)]
    figures: list[tuple[float, float]] = []
    for case, run in zip(cases, each(run_case, cases), strict=True):
        said(f"{case.policy}, seed {case.seed}")
        figures.append((run.row.late_ratio, run.row.pod_seconds))
    means = [_mean(figures[first : first + seeds]) for first in range(0, len(figures), max(1, seeds))]
    found: dict[str, list[Point]] = {}
    for (policy, _, knob, value), (late, cost) in zip(tried, means, strict=True):
        found.setdefault(policy, []).append(Point(policy, knob, value, late, cost, efficient=False))
    return {policy: _marked(points) for policy, points in found.items()}


def _mean(figures: Sequence[tuple[float, float]]) -> tuple[float, float]:
    late, cost = zip(*figures, strict=True)
    return sum(late) / len(late), sum(cost) / len(cost)


def _marked(points: Sequence[Point]) -> list[Point]:
    return [
        Point(p.policy, p.knob, p.value, p.late_ratio, p.pod_seconds, not any(_beats(other, p) for other in points))
        for p in points
    ]


def _beats(one: Point, other: Point) -> bool:
    """No worse on both figures, and better on one."""
    no_worse = one.late_ratio <= other.late_ratio and one.pod_seconds <= other.pod_seconds
    return no_worse and (one.late_ratio, one.pod_seconds) != (other.late_ratio, other.pod_seconds)
