"""A recorded run beside the simulator's: the same arrivals, the world fitted to one part, both judged on the rest."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import inf

import numpy as np

from autoscaler_tuning.fit import Fit, fit, tick_phase_s
from autoscaler_tuning.policies.base import Bounded, Policy
from autoscaler_tuning.policies.hpa import Hpa, HpaConfig
from autoscaler_tuning.policies.kpa import Kpa, KpaConfig
from autoscaler_tuning.policies.zero import ScaleToZero
from autoscaler_tuning.recorded import RecordedError, RecordedRun
from autoscaler_tuning.results import FloatArray
from autoscaler_tuning.simulator.cluster import Cluster
from autoscaler_tuning.simulator.run import ControlLoop
from autoscaler_tuning.simulator.world import SimConfig
from autoscaler_tuning.types import Decision, Observation

DRAIN_S = 60.0
KPA = "kpa"
RECORDED = "recorded"
# Of a pod that serves all the time, in whole per cent of its CPU request: where a run does not tell, the best is taken.
UTILIZATIONS = (25, 35, 50, 70, 85, 100, 120, 140, 170, 200, 250, 300, 400, 500)
HPA_SEEDS = 3


@dataclass(frozen=True, slots=True)
class Tolerances:
    """How far the simulator may be off."""

    pod_seconds_ratio: float = 0.05
    p99_ratio: float = 0.15
    ready_pods: float = 1.0
    slo_s: float = 0.5


@dataclass(frozen=True, slots=True)
class Choices:
    """How to replay.

    policy: kpa, hpaN, or recorded, which follows what the run's autoscaler decided when it did; None takes what `about`
        names. from_s, to_s: the part to fit, None is the first half. seeds: simulations, of which medians are shown.
    utilization_percent: see UTILIZATIONS; None is fitted. max_pods: None takes what `about` says, or 40.
    metrics_resolution_s: how often CPU is measured: 15 s by metrics-server's default, 5 s in the recording cluster.
    """

    policy: str | None = None
    from_s: float | None = None
    to_s: float | None = None
    seeds: int = 9
    utilization_percent: int | None = None
    metrics_resolution_s: float = 5.0
    max_pods: int | None = None


@dataclass(frozen=True, slots=True)
class Figures:
    """What is compared, of one part of a run; late counts what was not answered well within the SLO."""

    pod_seconds: float
    p50_s: float
    p99_s: float
    late: int
    mean_ready_pods: float


@dataclass(frozen=True, slots=True)
class Replayed:
    """One simulation on the recorded clock: done_s like the run's, pods at the run's looks."""

    done_s: FloatArray
    ready_pods: FloatArray
    alive_pods: FloatArray


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
    replays: tuple[Replayed, ...]


class AsRecorded:
    """Wants what the run's autoscaler wanted, when it did."""

    interval_s = 0.1

    def __init__(self, run: RecordedRun, offset_s: float, direct: bool) -> None:
        """offset_s: how much later the simulator's clock is than the run's."""
        middle_s = np.append(run.times_s[0], (run.times_s[1:] + run.times_s[:-1]) / 2)
        known = run.desired_pods >= 0
        self._times_s, self._pods = middle_s[known] + offset_s, run.desired_pods[known]
        self._direct = direct

    def decide(self, obs: Observation) -> Decision:
        latest = int(np.searchsorted(self._times_s, obs.now_s, side="right")) - 1
        if latest < 0:
            return Decision(obs.ready_pods + obs.starting_pods, "nothing was recorded yet", direct=self._direct)
        return Decision(int(self._pods[latest]), "as recorded", direct=self._direct)


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
    world = fit(run, from_s, to_s, _interval_s(policy))
    if policy == RECORDED:  # its times are those at which pods were seen to follow
        world = replace(world, actuation_s=0.0)
    replay = _Replay(run, world, replace(choices, policy=policy, from_s=from_s, to_s=to_s))
    if policy.startswith("hpa"):
        notes.append(replay.fit_utilization(from_s, to_s))
    replays = tuple(replay.once(seed, choices.seeds) for seed in range(choices.seeds))
    spans = [("fitted", from_s, to_s)]
    spans += [("judged", a, b) for a, b in ((0.0, from_s), (to_s, run.end_s)) if b - a >= 1]
    spans.append(("whole", 0.0, run.end_s))
    parts = tuple(_part(run, replays, span, tolerances.slo_s) for span in spans)
    return Validation(policy, tuple(notes), world, parts, replays)


def named_policy(run: RecordedRun) -> str:
    """kpa or hpaN where `about` says so of one with Knative's defaults, else recorded."""
    said = run.about.get("policy", "").lower()
    words = re.findall(r"[a-z]+|\d+", said)
    if "hpa" in words or re.search(r"\bhpa\d*", said):
        percent = re.search(r"hpa\D{0,20}?(\d{1,3})|(\d{1,3}) ?%", said)
        return f"hpa{(percent[1] or percent[2]) if percent else 70}"
    return (
        KPA
        if words[:1] == [KPA] or ("kpa" in words and not {"pin", "pins", "pinned", "min"} & set(words))
        else RECORDED
    )


def _interval_s(policy: str) -> float | None:
    """Between two decisions of the autoscaler, where that is known."""
    if policy == RECORDED:
        return None
    return KpaConfig().tick_s if policy == KPA else HpaConfig().sync_s


class _Replay:
    """The run's arrivals in a fitted world."""

    def __init__(self, run: RecordedRun, world: Fit, choices: Choices) -> None:
        self._run, self._choices = run, choices
        said = run.about.get("policy", "")
        most = re.search(r"max(?:-?scale|imum|[ -]pods)?\D{0,12}(\d+)", said)
        self._max_pods = choices.max_pods or (int(most[1]) if most else 40)
        ready = int(run.ready_pods[max(0, int(np.searchsorted(run.times_s, 0.0)) - 1)])
        concurrency = re.search(r"concurrency\D{0,5}(\d+)", " ".join(run.about.values()))
        self._utilization = float(choices.utilization_percent or 100)
        self._config = SimConfig(
            **world.settings(),  # type: ignore[arg-type]  # names and types are SimConfig's, a test compares them
            initial_pods=ready,
            max_pods=max(self._max_pods, ready),
            concurrency=int(concurrency[1]) if concurrency else 1,
        )
        policy = str(choices.policy)
        self._percent = int(policy.removeprefix("hpa") or 70) if policy.startswith("hpa") else 0
        part = (choices.from_s or 0.0, inf if choices.to_s is None else choices.to_s)
        self._interval_s = _interval_s(policy) or AsRecorded.interval_s
        self._tick_s = tick_phase_s(run, self._interval_s, *part)

    def fit_utilization(self, from_s: float, to_s: float) -> str:
        """Choose what CPU a busy pod uses, if nobody said, so that the pods of the fitted part come out best."""
        if self._choices.utilization_percent is not None:
            return f"a busy pod uses {self._utilization:g} % of its CPU request, as given"
        errors = {}
        for percent in UTILIZATIONS:
            self._utilization = float(percent)
            parts = [self.once(seed, HPA_SEEDS) for seed in range(HPA_SEEDS)]
            errors[percent] = float(np.mean([_ready_off(self._run, one, from_s, to_s) for one in parts]))
        best = min(errors, key=errors.__getitem__)
        self._utilization = float(best)
        return f"a busy pod uses {best} % of its CPU request: fitted, for the run does not say"

    def once(self, seed: int, seeds: int) -> Replayed:
        """One simulation. Seeds differ in service and start times, and in where the autoscaler's seconds begin."""
        rng = np.random.default_rng(seed)
        offset_s = (seed + 0.5) / seeds
        run = self._run
        tick_s = rng.uniform(0, self._interval_s) if self._tick_s is None else self._tick_s
        policy = self._policy(offset_s)
        loop = ControlLoop(
            Cluster(self._config, run.sent_s + offset_s, rng),
            policy,
            self._config,
            (tick_s + offset_s) % self._interval_s if self._choices.policy != RECORDED else 0.0,
        )
        looks_s = run.times_s + offset_s
        end_s = max(run.end_s + DRAIN_S, float(run.times_s[-1])) + offset_s
        loop.run_until(end_s)
        done_s = loop.cluster.done_s
        done_s[done_s > end_s] = np.nan
        ready, starting, _ = loop.cluster.pods_at(looks_s)
        return Replayed(done_s - offset_s, ready.astype(float), (ready + starting).astype(float))

    def _policy(self, offset_s: float) -> Policy:
        if self._choices.policy == RECORDED:
            path = self._run.about.get("path", "activator")
            return AsRecorded(self._run, offset_s, direct=not re.search("activator|dispatcher", path))
        if self._choices.policy == KPA:
            return Bounded(ScaleToZero(Kpa()), 0, self._max_pods)
        busy_cores = self._config.cpu_ratio * self._config.concurrency
        config = HpaConfig(
            target_utilization_percent=self._percent,
            cpu_request_milli=max(1, round(1000 * busy_cores * 100 / self._utilization)),
            sidecar_request_milli=0,
            metrics_resolution_s=self._choices.metrics_resolution_s,
            max_pods=self._max_pods,
        )
        return ScaleToZero(Hpa(config))


def _part(run: RecordedRun, replays: tuple[Replayed, ...], span: tuple[str, float, float], slo_s: float) -> Part:
    name, from_s, to_s = span
    alive = run.ready_pods + run.starting_pods
    real = _figures(run, (run.done_s, run.ready_pods, alive), from_s, to_s, slo_s)
    all_figures = [_figures(run, (one.done_s, one.ready_pods, one.alive_pods), from_s, to_s, slo_s) for one in replays]
    table = np.array(
        [[one.pod_seconds, one.p50_s, one.p99_s, one.late, one.mean_ready_pods] for one in all_figures], dtype=float
    )
    rows = [np.nanmedian(table, axis=0), np.nanmin(table, axis=0), np.nanmax(table, axis=0)]
    simulated, least, most = (Figures(*row[:3].tolist(), round(row[3]), float(row[4])) for row in rows)
    off = float(np.median([_ready_off(run, one, from_s, to_s) for one in replays]))
    return Part(f"{name}, {from_s:g} to {to_s:g} s", real, simulated, least, most, off)


def _figures(
    run: RecordedRun, what: tuple[FloatArray, FloatArray, FloatArray], from_s: float, to_s: float, slo_s: float
) -> Figures:
    done_s, ready, alive = what
    latency_s = (done_s - run.intended_s)[run.during(from_s, to_s)]
    good_s = latency_s[np.isfinite(latency_s)]
    if not len(good_s):
        raise RecordedError(f"no request was answered from {from_s:g} to {to_s:g} s")
    p50_s, p99_s = np.percentile(good_s, [50, 99])
    late = len(latency_s) - int(np.count_nonzero(good_s <= slo_s))
    pod_seconds = _integral(run.times_s, alive, from_s, to_s)
    mean_ready = _integral(run.times_s, ready, from_s, to_s) / (to_s - from_s)
    return Figures(pod_seconds, float(p50_s), float(p99_s), late, mean_ready)


def _ready_off(run: RecordedRun, one: Replayed, from_s: float, to_s: float) -> float:
    return _integral(run.times_s, np.abs(run.ready_pods - one.ready_pods), from_s, to_s) / (to_s - from_s)


def _integral(times_s: FloatArray, counts: FloatArray, from_s: float, to_s: float) -> float:
    """Of counts that hold from one look to the next, in count x seconds."""
    edges_s = np.clip(np.append(times_s, times_s[-1]), from_s, to_s)
    return float(np.sum(counts * np.diff(edges_s)))


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
    misses = [miss for part in validation.parts[1:] for miss in part.misses(tolerances)]
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
