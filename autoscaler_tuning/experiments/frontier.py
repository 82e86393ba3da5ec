"""The Pareto frontier of each policy over its main knob.

A policy trades late requests for pod-seconds, so comparing curves is fairer than comparing single settings.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from autoscaler_tuning.experiments.compare import Case, Comparison, run_case
from autoscaler_tuning.experiments.parallel import parallel_map
from autoscaler_tuning.policies.registry import policy_named, with_knob


@dataclass(frozen=True, slots=True)
class Point:
    """One setting of a policy's main knob, with means over the seeds; efficient if no other setting dominates it."""

    policy: str
    knob: str
    value: float
    late_ratio: float
    pod_seconds: float
    efficient: bool


def sweep_of(policy: str) -> list[tuple[str, str, float]]:
    """Return (policy with its main knob set, knob, value) for each value to try.

    Other settings in the policy's name are kept. The list is empty for a policy without a main knob.
    """
    knob = policy_named(policy).entry.main_knob
    texts = [(with_knob(policy, value), value) for value in knob.values] if knob else []
    return [(text, knob.name, value) for text, value in texts if text and knob]


def frontiers(
    comparison: Comparison, policies: Sequence[str], seeds: int, progress: Callable[[str], None]
) -> dict[str, list[Point]]:
    """Return the points of each policy that has a main knob, ordered by its value; empty if seeds is 0."""
    tried = [(policy, *step) for policy in policies for step in sweep_of(policy)] if seeds else []
    for _, name, _, _ in tried:
        policy_named(name)  # raise for an invalid setting before anything runs
    cases = [Case(comparison, name, seed) for _, name, _, _ in tried for seed in range(seeds)]
    figures: list[tuple[float, float]] = []
    for case, run in zip(cases, parallel_map(run_case, cases), strict=True):
        progress(f"{case.policy}, seed {case.seed}")
        figures.append((run.row.late_ratio, run.row.pod_seconds))
    means = [_mean(figures[first : first + seeds]) for first in range(0, len(figures), max(1, seeds))]
    found: dict[str, list[Point]] = {}
    for (policy, _, knob, value), (late, cost) in zip(tried, means, strict=True):
        found.setdefault(policy, []).append(Point(policy, knob, value, late, cost, efficient=False))
    return {policy: _mark_efficient(points) for policy, points in found.items()}


def _mean(figures: Sequence[tuple[float, float]]) -> tuple[float, float]:
    late, cost = zip(*figures, strict=True)
    return sum(late) / len(late), sum(cost) / len(cost)


def _mark_efficient(points: Sequence[Point]) -> list[Point]:
    return [
        Point(p.policy, p.knob, p.value, p.late_ratio, p.pod_seconds, not any(_dominates(other, p) for other in points))
        for p in points
    ]


def _dominates(one: Point, other: Point) -> bool:
    """Return whether one is no worse on both figures and better on at least one."""
    no_worse = one.late_ratio <= other.late_ratio and one.pod_seconds <= other.pod_seconds
    return no_worse and (one.late_ratio, one.pod_seconds) != (other.late_ratio, other.pod_seconds)
