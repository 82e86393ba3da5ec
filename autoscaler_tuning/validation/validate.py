"""A recorded run beside the simulator's: the same arrivals, the world fitted to one part, both judged on the rest."""

from collections.abc import Iterator
from dataclasses import astuple, dataclass, replace

import numpy as np

from autoscaler_tuning.results import FloatArray
from autoscaler_tuning.validation.fit import Fit, fit
from autoscaler_tuning.validation.recorded_run import RecordedError, RecordedRun
from autoscaler_tuning.validation.resimulate import (
    KPA,
    RECORDED,
    Choices,
    Resimulated,
    Resimulation,
    integral,
    is_direct,
    is_hpa,
    named_policy,
    ready_off,
    tick_s,
)


@dataclass(frozen=True, slots=True)
class Tolerances:
    """How far the simulator may be off."""

    pod_seconds_ratio: float = 0.05
    p99_ratio: float = 0.15
    ready_pods: float = 1.0
    slo_s: float = 0.5


@dataclass(frozen=True, slots=True)
class Figures:
    """What is compared, of one part of a run; late counts what was not answered well within the SLO."""

    pod_seconds: float
    p50_s: float
    p99_s: float
    late: int
    mean_ready_pods: float


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the run, real and simulated; the latter are medians over the seeds.

    ready_pods_off: mean absolute difference of the ready pods over time. least, most: over the seeds.
    """

    name: str
    real: Figures
    simulated: Figures
    least: Figures
    most: Figures
    ready_pods_off: float

    def misses(self, tolerances: Tolerances) -> list[str]:
        """What is beyond its tolerance, in words."""
        real, simulated = self.real, self.simulated
        rules = (
            ("pod-seconds", simulated.pod_seconds / real.pod_seconds - 1, tolerances.pod_seconds_ratio),
            ("p99", simulated.p99_s / real.p99_s - 1, tolerances.p99_ratio),
        )
        missed = [
            f"{self.name}: {what} is {off:+.1%} off, more than {most:.0%}"
            for what, off, most in rules
            if not abs(off) <= most
        ]
        if not self.ready_pods_off <= tolerances.ready_pods:
            off = f"{self.ready_pods_off:.2f} off on average, more than {tolerances.ready_pods:g}"
            missed.append(f"{self.name}: ready pods are {off}")
        return missed


@dataclass(frozen=True, slots=True)
class Validation:
    """What was fitted, to which part, with which policy, and how all parts compare; the fitted part is the first."""

    policy: str
    notes: tuple[str, ...]
    fit: Fit
    parts: tuple[Part, ...]
    replays: tuple[Resimulated, ...]

    def misses(self, tolerances: Tolerances) -> list[str]:
        """What is beyond its tolerance, in the parts that were not only fitted."""
        return [miss for part in self.parts[1:] for miss in part.misses(tolerances)]


def validate(run: RecordedRun, choices: Choices, tolerances: Tolerances) -> Validation:
    """Fit one part of the run, replay all of it. Raises RecordedError."""
    from_s = 0.0 if choices.from_s is None else choices.from_s
    to_s = run.end_s / 2 if choices.to_s is None else choices.to_s
    if not 0 <= from_s < to_s:
        raise RecordedError(f"the part to fit must be 0 <= from < to, was {from_s:g} to {to_s:g}")
    notes: list[str] = []
    policy = choices.policy or named_policy(run)
    if policy == RECORDED and choices.policy is None:
        notes.append(f"no policy of ours is named {run.about.get('policy', '')!r}: its decisions are taken as recorded")
    world = fit(run, from_s, to_s, tick_s(policy), is_direct(run))
    if policy == RECORDED:  # its times are those at which pods were seen to follow
        world = replace(world, actuation_s=0.0)
    replay = Resimulation(run, world, replace(choices, policy=policy, from_s=from_s, to_s=to_s))
    if is_hpa(policy):
        notes.append(replay.fit_utilization(from_s, to_s))
    if policy == KPA:
        notes.append(replay.fit_seconds(from_s, to_s))
    replays = tuple(replay.once(seed) for seed in range(choices.seeds))
    spans = [("fitted", from_s, to_s)]
    spans += [("judged", a, b) for a, b in ((0.0, from_s), (to_s, run.end_s)) if b - a >= 1]
    spans.append(("whole", 0.0, run.end_s))
    parts = tuple(_part(run, replays, span, tolerances.slo_s) for span in spans)
    return Validation(policy, tuple(notes), world, parts, replays)


def _part(run: RecordedRun, replays: tuple[Resimulated, ...], span: tuple[str, float, float], slo_s: float) -> Part:
    name, from_s, to_s = span
    alive = run.ready_pods + run.starting_pods
    real = _figures(run, (run.done_s, run.ready_pods, alive), from_s, to_s, slo_s)
    if not np.isfinite(real.p99_s):
        raise RecordedError(f"no request was answered from {from_s:g} to {to_s:g} s")
    all_figures = [_figures(run, (one.done_s, one.ready_pods, one.alive_pods), from_s, to_s, slo_s) for one in replays]
    table = np.array([astuple(one) for one in all_figures], dtype=float)
    rows = [np.nanmedian(table, axis=0), np.nanmin(table, axis=0), np.nanmax(table, axis=0)]
    simulated, least, most = (
        Figures(float(pod_s), float(p50_s), float(p99_s), round(late), float(ready))
        for pod_s, p50_s, p99_s, late, ready in rows
    )
    off = float(np.median([ready_off(run, one, from_s, to_s) for one in replays]))
    return Part(f"{name}, {from_s:g} to {to_s:g} s", real, simulated, least, most, off)


def _figures(
    run: RecordedRun, what: tuple[FloatArray, FloatArray, FloatArray], from_s: float, to_s: float, slo_s: float
) -> Figures:
    done_s, ready, alive = what
    latency_s = (done_s - run.intended_s)[run.during(from_s, to_s)]
    good_s = latency_s[np.isfinite(latency_s)]
    p50_s, p99_s = np.percentile(good_s, [50, 99]) if len(good_s) else (np.nan, np.nan)
    late = len(latency_s) - int(np.count_nonzero(good_s <= slo_s))
    pod_seconds = integral(run.times_s, alive, from_s, to_s)
    mean_ready = integral(run.times_s, ready, from_s, to_s) / (to_s - from_s)
    return Figures(pod_seconds, float(p50_s), float(p99_s), late, mean_ready)


def lines(validation: Validation, tolerances: Tolerances) -> Iterator[str]:
    """The report, a line after the other."""
    found = validation.fit
    mean_s = sum(found.service_samples_s) / len(found.service_samples_s)
    yield f"policy {validation.policy}; medians of {len(validation.replays)} simulations (least to most)"
    yield from validation.notes
    yield (
        f"fitted: service {mean_s:.4f} s from {found.services} requests that found a free pod; start "
        f"{found.cold_start_s[0]:g} to {found.cold_start_s[1]:g} s + {found.start_serial_s:g} s one after the other, "
        f"from {found.starts} starts; termination {found.termination_s:g} s"
    )
    yield f"{'':<26}{'real':>10}{'simulated':>11}{'off':>8}   {'least to most':<20}"
    for part in validation.parts:
        yield part.name
        yield from _part_lines(part)
    misses = validation.misses(tolerances)
    yield "beyond tolerance: " + "; ".join(misses) if misses else "within tolerance"


def _part_lines(part: Part) -> Iterator[str]:
    rows = (
        ("pod-seconds", "pod_seconds", ".0f"),
        ("p50 s", "p50_s", ".4f"),
        ("p99 s", "p99_s", ".4f"),
        ("late", "late", "d"),
        ("mean ready pods", "mean_ready_pods", ".2f"),
    )
    for label, field, form in rows:
        real, simulated, least, most = (
            getattr(one, field) for one in (part.real, part.simulated, part.least, part.most)
        )
        off = f"{simulated / real - 1:+.1%}" if real else "-"
        yield f"  {label:<24}{real:>10{form}}{simulated:>11{form}}{off:>8}   {least:{form}} to {most:{form}}"
    yield f"  {'ready pods over time, mean difference':<45}{part.ready_pods_off:>10.2f}"
