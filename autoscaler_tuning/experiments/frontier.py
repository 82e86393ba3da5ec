"""The Pareto frontier of each policy by its main knob: the fairest comparison is one of curves, not of points."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from autoscaler_tuning.experiments.compare import Case, Comparison, run_case
from autoscaler_tuning.experiments.parallel import each
from autoscaler_tuning.policies.registry import policy_named

# What each policy has between more pods and more late answers, and where it is tried.
MAIN_KNOBS: dict[str, tuple[str, tuple[float, ...]]] = {
    "kpa": ("target-utilization-percentage", (30, 40, 50, 60, 70, 80, 90, 100)),
    "kpa-tuned": ("target-utilization-percentage", (30, 40, 50, 60, 70, 80, 90, 100)),
    "hpa": ("target_utilization_percent", (30, 50, 70, 90, 120, 200, 300, 400)),
    "peak": ("utilization", (0.4, 0.5, 0.6, 0.7, 0.85, 1.0)),
    "elastic": ("late_price", (4, 10, 25, 60, 120, 250, 600)),
}


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
    """(policy with its knob set, knob, value) at each value; none for a policy without a main knob.

    Settings that the name has already stay as they are, save the knob.
    """
    match = re.fullmatch(r"([a-z-]+?)\d*(?:\[(.*)\])?(@.*)?", policy)
    if match is None or match[1] not in MAIN_KNOBS:
        return []
    base, settings, order = match[1], match[2] or "", match[3] or ""
    knob, values = MAIN_KNOBS[base]
    others = [part for part in settings.split(",") if part and part.partition("=")[0].strip() != knob]
    return [(f"{base}[{','.join([*others, f'{knob}={value:g}'])}]{order}", knob, value) for value in values]


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
