"""Validation of the simulator: fitted to one part of a run or to another run, and judged on the rest."""

from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, replace

import numpy as np

from autoscaler_tuning.validation.fit import Fit, FitPart, fit, fit_parts
from autoscaler_tuning.validation.recorded_run import RecordedError, RecordedRun
from autoscaler_tuning.validation.resimulate import (
    RECORDED,
    Choices,
    Resimulated,
    Resimulation,
    check_modelled,
    check_repeatable,
    integral,
    is_direct,
    is_hpa,
    is_kpa,
    named_policy,
    ready_pods_error,
    setup_of_run,
    tick_s,
)

FITTED = "fitted"


@dataclass(frozen=True, slots=True)
class Tolerances:
    """Largest accepted errors of the simulator, and the SLO.

    late_ratio: of the late requests; twice the square root of their number is accepted too, because it is chance.
    """

    pod_seconds_ratio: float = 0.05
    p99_ratio: float = 0.15
    ready_pods: float = 1.0
    late_ratio: float = 0.3
    slo_s: float = 0.5


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of one part of a run that are compared.

    late: requests that were not answered successfully within the SLO.
    """

    pod_seconds: float
    p50_s: float
    p99_s: float
    late: int
    mean_ready_pods: float


@dataclass(frozen=True, slots=True)
class RunSpan:
    """A part of a run, and its role: fitted, judged or whole."""

    role: str
    from_s: float
    to_s: float


@dataclass(frozen=True, slots=True)
class Part:
    """Figures of one part of the run, real and simulated.

    simulated, least, most: medians, minima and maxima over the seeds.
    ready_pods_off: mean absolute difference of the ready pods over time.
    """

    name: str
    real: Figures
    simulated: Figures
    least: Figures
    most: Figures
    ready_pods_off: float

    def misses(self, tolerances: Tolerances) -> list[str]:
        """Describe each figure that exceeds its tolerance."""
        real, simulated = self.real, self.simulated
        rules = (
            ("pod-seconds", simulated.pod_seconds / real.pod_seconds - 1, tolerances.pod_seconds_ratio),
            ("p99", simulated.p99_s / real.p99_s - 1, tolerances.p99_ratio),
        )
        missed = [
            f"{self.name}: {figure} must be within {100 * most:g}% of the real run, got {off:+.1%}"
            for figure, off, most in rules
            if not abs(off) <= most
        ]
        if not self.ready_pods_off <= tolerances.ready_pods:
            rule = f"ready pods must be within {tolerances.ready_pods:g} of the real run on average"
            missed.append(f"{self.name}: {rule}, got {self.ready_pods_off:.2f}")
        most_late = max(tolerances.late_ratio * real.late, 2 * max(1, real.late) ** 0.5)
        if not abs(simulated.late - real.late) <= most_late:
            rule = f"late requests must be within {most_late:.0f} of the real run, {real.late}"
            missed.append(f"{self.name}: {rule}, got {simulated.late}")
        return missed


@dataclass(frozen=True, slots=True)
class Validation:
    """Result of a validation: the fitted settings and the comparison of all parts; the last one is the whole run.

    fitted_on: whether the settings were fitted to this run, to its first part, or to another run.
    """

    policy: str
    notes: tuple[str, ...]
    fit: Fit
    parts: tuple[Part, ...]
    replays: tuple[Resimulated, ...]

    def misses(self, tolerances: Tolerances) -> list[str]:
        """Describe each figure that exceeds its tolerance, in all parts but the fitted one."""
        judged = [part for part in self.parts if not part.name.startswith(FITTED)]
        return [miss for part in judged for miss in part.misses(tolerances)]


def validate_by(
    others: Sequence[RecordedRun], run: RecordedRun, choices: Choices, tolerances: Tolerances
) -> Validation:
    """Fit the simulator to other runs and simulate this one; raise RecordedError if that is impossible.

    Nothing of this run is fitted: the phases of the autoscaler's ticks and seconds differ from simulation to
    simulation, because they differ from run to run.
    """
    policy, notes = _simulated_policy(run, choices)
    world = fit_parts([FitPart(one, 0.0, one.end_s, tick_s(named_policy(one)), is_direct(one)) for one in others])
    if policy == RECORDED:
        world = replace(world, actuation_s=0.0)
    replay = Resimulation(run, world, replace(choices, policy=policy), own_phases=False)
    if is_hpa(policy):
        notes.append(_fit_utilization_by(others, replay, world, choices))
    replays = tuple(replay.once(seed) for seed in range(choices.seeds))
    part = _part(run, replays, RunSpan("judged", 0.0, run.end_s), tolerances.slo_s)
    return Validation(policy, tuple(notes), world, (part,), replays)


def _fit_utilization_by(others: Sequence[RecordedRun], replay: Resimulation, world: Fit, choices: Choices) -> str:
    """Set the CPU use of a busy pod, as given or as fitted to another run of HPA; describe it."""
    if replay.knows_utilization:
        return replay.fit_utilization(0.0, 0.0)
    other = next((one for one in others if is_hpa(named_policy(one))), None)
    if other is None:
        raise RecordedError(
            "the CPU use of a busy pod must be known to simulate HPA: fit to a run of HPA, or use "
            f"--utilization-percent; got a fit to {', '.join(map(named_policy, others))}"
        )
    known = Resimulation(other, world, replace(choices, policy=named_policy(other)), own_phases=False)
    note = known.fit_utilization(0.0, other.end_s)
    replay.utilization_percent = known.utilization_percent
    return note


def validate(run: RecordedRun, choices: Choices, tolerances: Tolerances) -> Validation:
    """Fit the simulator to one part of the run and simulate all of it; raise RecordedError if that is impossible."""
    from_s = 0.0 if choices.from_s is None else choices.from_s
    to_s = run.end_s / 2 if choices.to_s is None else choices.to_s
    if not 0 <= from_s < to_s:
        raise RecordedError(f"the part to fit must be 0 <= from < to, got {from_s:g} to {to_s:g}")
    policy, notes = _simulated_policy(run, choices)
    world = fit(run, from_s, to_s, tick_s(policy), is_direct(run))
    if policy == RECORDED:  # the recorded times of its decisions already include the actuation
        world = replace(world, actuation_s=0.0)
    replay = Resimulation(run, world, replace(choices, policy=policy, from_s=from_s, to_s=to_s))
    if is_hpa(policy):
        notes.append(replay.fit_utilization(from_s, to_s))
    if is_kpa(policy):
        notes.append(replay.fit_seconds(from_s, to_s))
    replays = tuple(replay.once(seed) for seed in range(choices.seeds))
    spans = [RunSpan(FITTED, from_s, to_s)]
    spans += [RunSpan("judged", a, b) for a, b in ((0.0, from_s), (to_s, run.end_s)) if b - a >= 1]
    spans.append(RunSpan("whole", 0.0, run.end_s))
    parts = tuple(_part(run, replays, span, tolerances.slo_s) for span in spans)
    return Validation(policy, tuple(notes), world, parts, replays)


def _simulated_policy(run: RecordedRun, choices: Choices) -> tuple[str, list[str]]:
    """Return the policy to simulate, and notes on the run. Raises RecordedError if it cannot be simulated."""
    setup, notes = setup_of_run(run), []
    if caveats := setup.about.get("notes"):
        notes.append(f"the run says: {caveats}")
    if choices.policy is None:
        check_modelled(setup)
        if setup.policy == RECORDED:
            description = run.about.get("policy", "")
            notes.append(
                f"policy {description!r} is not kpa or hpa with Knative's defaults: repeated its recorded decisions"
            )
    policy = choices.policy or setup.policy
    if policy == RECORDED:
        check_repeatable(run)
    return policy, notes


def _part(run: RecordedRun, replays: tuple[Resimulated, ...], span: RunSpan, slo_s: float) -> Part:
    recorded = Resimulated(run.done_s, run.ready_pods, run.ready_pods + run.starting_pods)
    real = _figures(run, recorded, span, slo_s)
    where = f"the part from {span.from_s:g} to {span.to_s:g} s"
    if not np.isfinite(real.p99_s):
        raise RecordedError(f"{where} must contain a successful response, got none")
    if not (real.pod_seconds > 0 and real.p99_s > 0):
        figures = f"{real.pod_seconds:g} pod-seconds and a p99 of {real.p99_s:g} s"
        raise RecordedError(f"{where} must have pods that took time to answer, got {figures}")
    all_figures = [_figures(run, one, span, slo_s) for one in replays]
    table = np.array([astuple(one) for one in all_figures], dtype=float)
    rows = [np.nanmedian(table, axis=0), np.nanmin(table, axis=0), np.nanmax(table, axis=0)]
    simulated, least, most = (
        Figures(float(pod_s), float(p50_s), float(p99_s), round(late), float(ready))
        for pod_s, p50_s, p99_s, late, ready in rows
    )
    off = float(np.median([ready_pods_error(run, one, span.from_s, span.to_s) for one in replays]))
    return Part(f"{span.role}, {span.from_s:g} to {span.to_s:g} s", real, simulated, least, most, off)


def _figures(run: RecordedRun, one: Resimulated, span: RunSpan, slo_s: float) -> Figures:
    """Return the figures of the recorded or a simulated run within the span."""
    from_s, to_s = span.from_s, span.to_s
    latency_s = (one.done_s - run.intended_s)[run.during(from_s, to_s)]
    good_s = latency_s[np.isfinite(latency_s)]
    p50_s, p99_s = np.percentile(good_s, [50, 99]) if len(good_s) else (np.nan, np.nan)
    late = len(latency_s) - int(np.count_nonzero(good_s <= slo_s))
    pod_seconds = integral(run.times_s, one.alive_pods, from_s, to_s)
    mean_ready = integral(run.times_s, one.ready_pods, from_s, to_s) / (to_s - from_s)
    return Figures(pod_seconds, float(p50_s), float(p99_s), late, mean_ready)


def lines(validation: Validation, tolerances: Tolerances) -> Iterator[str]:
    """Yield the lines of the report."""
    found = validation.fit
    mean_s = sum(found.service_samples_s) / len(found.service_samples_s)
    yield f"policy {validation.policy}; medians of {len(validation.replays)} simulations (min to max)"
    yield from validation.notes
    yield (
        f"fitted: service time {mean_s:.4f} s, from {found.services} requests that found a free pod; cold start "
        f"{found.cold_start_s[0]:g} to {found.cold_start_s[1]:g} s plus {found.start_serial_s:g} s serial per node, "
        f"from {found.starts} starts; termination {found.termination_s:g} s"
    )
    yield f"{'':<26}{'real':>10}{'simulated':>11}{'error':>8}   {'min to max':<20}"
    for part in validation.parts:
        yield part.name
        yield from _part_lines(part)
    misses = validation.misses(tolerances)
    yield "outside tolerance: " + "; ".join(misses) if misses else "within tolerance"


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
