"""Fitting simulator settings to a recorded run: service times, pod starts and stops, and the autoscaler's ticks."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from autoscaler_tuning.results import FloatArray
from autoscaler_tuning.simulator.world import SimConfig
from autoscaler_tuning.validation.recorded_run import RecordedError, RecordedRun

# The activator probes a new pod every 0.2 s; the mean delay is half of that.
READINESS_DELAY_S = 0.1
# From a decision until a pod is created or stopped: PodAutoscaler, Deployment and ReplicaSet reconcile in turn.
ACTUATION_S = 0.1
LEAST_SERVICES = 20
BATCH_PAUSE_S = 0.5
SERIAL_STEPS_S = np.arange(0, 1.0, 0.005)
QUANTILES = 400
# Starts of several runs are put this far apart, so that they share no batch.
RUN_DISTANCE_S = 1e6


@dataclass(frozen=True, slots=True)
class Fit:
    """Fitted settings, with the names and meanings of SimConfig.

    service_samples_s: latencies of requests that found a free pod and so did not wait; quantiles if there are many.
    starts, services: how many pod starts and such requests the fit is based on.
    """

    service_samples_s: tuple[float, ...]
    cold_start_s: tuple[float, float]
    start_serial_s: float
    termination_s: float
    readiness_delay_s: float
    actuation_s: float
    starts: int
    services: int

    def settings(self) -> dict[str, object]:
        """Return the settings for SimConfig(**settings)."""
        mean_s = sum(self.service_samples_s) / len(self.service_samples_s)
        fitted: Mapping[str, object] = asdict(self)
        return {"service_time_s": mean_s} | {key: fitted[key] for key in fitted if key not in ("starts", "services")}


@dataclass(frozen=True, slots=True)
class FitPart:
    """A part of a run to fit to.

    interval_s: time between two ticks of the run's autoscaler; None if unknown.
    direct: requests went to the pods without a shared queue in front of them.
    """

    run: RecordedRun
    from_s: float
    to_s: float
    interval_s: float | None = None
    direct: bool = False


def fit(run: RecordedRun, from_s: float, to_s: float, interval_s: float | None = None, direct: bool = False) -> Fit:
    """Fit the simulator's settings to one part of a run; see fit_parts."""
    return fit_parts([FitPart(run, from_s, to_s, interval_s, direct)])


def fit_parts(parts: Sequence[FitPart]) -> Fit:
    """Fit the simulator's settings to parts of runs, together.

    If no pod started in a part, the starts of its whole run are used, or SimConfig's default if there are none at all.
    Raises RecordedError if too few requests of a part found a free pod.
    """
    services_s = np.concatenate([_services_s(part) for part in parts])
    all_starts = [_starts(part, index * RUN_DISTANCE_S) for index, part in enumerate(parts)]
    created_s, ready_s = (np.concatenate([pair[one] for pair in all_starts]) for one in (0, 1))
    sample_s = float(np.mean([_sample_interval_s(part.run) for part in parts]))
    cold_start_s, serial_s = start_model(created_s, ready_s, sample_s)
    # the middle of each of equally many parts: with both ends, one request in 400 would take as long as the slowest
    middles = (np.arange(QUANTILES) + 0.5) / QUANTILES
    kept_s = services_s if len(services_s) <= QUANTILES else np.quantile(services_s, middles)
    return Fit(
        service_samples_s=tuple(round(float(one), 5) for one in kept_s),
        cold_start_s=cold_start_s,
        start_serial_s=serial_s,
        termination_s=float(np.median([termination_s(part.run, part.from_s, part.to_s) for part in parts])),
        readiness_delay_s=READINESS_DELAY_S,
        actuation_s=ACTUATION_S,
        starts=len(created_s),
        services=len(services_s),
    )


def _services_s(part: FitPart) -> FloatArray:
    found_s = uncontended_s(part.run, part.from_s, part.to_s, part.direct)
    if len(found_s) < LEAST_SERVICES:
        raise RecordedError(
            f"to fit service times, at least {LEAST_SERVICES} requests must find a free pod from {part.from_s:g} to "
            f"{part.to_s:g} s, got {len(found_s)}"
        )
    return found_s


def _starts(part: FitPart, offset_s: float) -> tuple[FloatArray, FloatArray]:
    created_s, ready_s = starts(part.run, part.from_s, part.to_s, part.interval_s)
    if not len(created_s):
        created_s, ready_s = starts(part.run, -np.inf, np.inf, part.interval_s)
    return created_s + offset_s, ready_s + offset_s


def uncontended_s(run: RecordedRun, from_s: float, to_s: float, direct: bool = False) -> FloatArray:
    """Return the latencies from the actual send of the requests that found fewer in the system than ready pods.

    Requests sent while pods started are left out if enough others remain: pods that start together use the processor
    of their node, and a request beside 30 of them took 0.15 s instead of 0.11 s.
    direct: use only requests that found no other request, because without a shared queue a request may go to a busy
        pod although another one is free.
    The number of ready pods between two samples is taken as the smaller of the two.
    """
    ends_s = np.sort(np.where(np.isnan(run.done_s), run.sent_s, run.done_s))
    order = np.arange(len(run.sent_s))
    ahead = order - np.searchsorted(ends_s, run.sent_s, side="right")
    sample = np.clip(np.searchsorted(run.times_s, run.sent_s) - 1, 0, len(run.times_s) - 2)
    ready = np.ones(len(sample)) if direct else np.minimum(run.ready_pods[sample], run.ready_pods[sample + 1])
    alone = run.during(from_s, to_s) & (ahead < ready) & np.isfinite(run.done_s)
    calm = alone & (np.maximum(run.starting_pods[sample], run.starting_pods[sample + 1]) == 0)
    services_s: FloatArray = (run.done_s - run.sent_s)[calm if calm.sum() >= LEAST_SERVICES else alone]
    return services_s[services_s > 0]


def starts(
    run: RecordedRun, from_s: float, to_s: float, interval_s: float | None = None
) -> tuple[FloatArray, FloatArray]:
    """Return when pods were created and when they became ready, each in ascending order, shape (starts,).

    Events between two samples are spread evenly over the time between them.
    interval_s: time between two ticks of the autoscaler; a pod that a tick asked for was created after that tick.
    """
    alive = run.ready_pods + run.starting_pods
    removed = np.maximum(0, np.diff(run.terminating_pods))  # a removed pod would hide a start in the counts
    before_s, seen_s = run.times_s[:-1], run.times_s[1:]
    since_s = _since_s(run, interval_s, from_s, to_s)
    created_s = _events(since_s, seen_s, np.diff(alive) + removed, from_s, to_s)
    ready_s = _events(before_s, seen_s, np.diff(run.ready_pods) + removed, from_s, np.inf)
    if len(created_s):
        ready_s = ready_s[ready_s >= created_s[0]]
    pairs = min(len(created_s), len(ready_s))
    return created_s[:pairs], ready_s[:pairs]


def _since_s(run: RecordedRun, interval_s: float | None, from_s: float, to_s: float) -> FloatArray:
    """Return the earliest creation time of a pod that is new in a sample, for all but the first: shape (samples - 1,).

    That is the previous sample, or the autoscaler's tick between the two if the sample shows a new decision.
    """
    before_s, seen_s = run.times_s[:-1], run.times_s[1:]
    phase_s = tick_phase_s(run, interval_s, from_s, to_s) if interval_s else None
    if phase_s is None or interval_s is None:
        return before_s
    acted_s = before_s + (phase_s - before_s) % interval_s + ACTUATION_S
    decided = np.diff(_scaled_pods(run)) > 0
    since_s: FloatArray = np.where(decided & (acted_s < seen_s), acted_s, before_s)
    return since_s


def start_model(
    created_s: FloatArray, ready_s: FloatArray, sample_interval_s: float
) -> tuple[tuple[float, float], float]:
    """Fit (least, most) of the time of a single start, without its serial part, and the serial part.

    The serial part is the part of a start that pods on the same node run one after the other; a start waits for the
    serial parts that began before it. The rest of a start does not depend on other starts. The fit is by least squares,
    in which each batch of starts counts once, because a disturbance affects all starts of a batch. The variance that
    sampling adds is subtracted from the spread. Without a start, returns SimConfig's default.
    """
    if not len(created_s):
        return SimConfig().cold_start_s, 0.0
    weights = _batch_weights(created_s)
    best = (np.inf, 0.0, 0.0)
    for serial_s in SERIAL_STEPS_S:
        rest_s = ready_s - _serial_done_s(created_s, float(serial_s))
        mean_s = float(weights @ rest_s)
        error = float(weights @ (rest_s - mean_s) ** 2)
        if error < best[0] - 1e-9:
            best = (error, float(serial_s), mean_s)
    variance, serial_s, mean_s = best
    spread_s = float(np.sqrt(3 * max(0.0, variance - sample_interval_s**2 / 6)))
    return (round(max(0.0, mean_s - spread_s), 3), round(mean_s + spread_s, 3)), round(serial_s, 3)


def termination_s(run: RecordedRun, from_s: float, to_s: float) -> float:
    """Return the median time from stop to exit of a pod; Knative's 30 s if no pod was stopped."""
    change = np.diff(run.terminating_pods)
    before_s, seen_s = run.times_s[:-1], run.times_s[1:]
    stopped_s = _events(before_s, seen_s, change, from_s, to_s)
    gone_s = _events(before_s, seen_s, -change, from_s, np.inf)
    pairs = min(len(stopped_s), len(gone_s))
    lasted_s = gone_s[:pairs] - stopped_s[:pairs]
    return round(float(np.median(lasted_s)), 2) if pairs and (lasted_s > 0).all() else 30.0


def tick_phase_s(run: RecordedRun, interval_s: float, from_s: float, to_s: float) -> float | None:
    """Return when the autoscaler ticks, modulo interval_s; None if no change of its decision or its pods was sampled.

    A change that appears in a sample happened after the previous sample. The result is the phase that lies within most
    of these spans.
    """
    phases_s = np.linspace(0, interval_s, 200, endpoint=False)
    votes = np.zeros(len(phases_s))
    scaled = _scaled_pods(run)
    changes = np.flatnonzero(np.diff(scaled) != 0)
    for sample in changes:
        before_s, seen_s = run.times_s[sample], run.times_s[sample + 1]
        if scaled[sample] >= 0 and from_s <= seen_s < to_s and seen_s - before_s < interval_s:
            votes += (phases_s - before_s) % interval_s < seen_s - before_s
    if not votes.any():
        return None
    agreed = phases_s[votes == votes.max()]
    middle = np.angle(np.exp(2j * np.pi * agreed / interval_s).mean()) * interval_s / (2 * np.pi)
    return float(middle % interval_s)


def _scaled_pods(run: RecordedRun) -> FloatArray:
    """Return the pods that the autoscaler wanted in each sample, or those that it had if no decision was recorded."""
    if (run.desired_pods >= 0).any():
        return run.desired_pods
    had: FloatArray = run.ready_pods + run.starting_pods
    return had


def _batch_weights(created_s: FloatArray) -> FloatArray:
    """Return a weight for each start: they sum to 1, and to the same in each batch; BATCH_PAUSE_S separates batches."""
    batch = np.cumsum(np.diff(created_s, prepend=created_s[0]) > BATCH_PAUSE_S)
    each: FloatArray = 1.0 / np.bincount(batch)[batch]
    weights: FloatArray = each / each.sum()
    return weights


def _serial_done_s(created_s: FloatArray, serial_s: float) -> FloatArray:
    """Return when each start has finished its serial part, shape (starts,)."""
    done_s = np.empty(len(created_s))
    free_s = -np.inf
    for index, time_s in enumerate(created_s):
        free_s = done_s[index] = max(free_s, time_s) + serial_s
    return done_s


def _events(since_s: FloatArray, seen_s: FloatArray, change: FloatArray, from_s: float, to_s: float) -> FloatArray:
    """Return the times of events: `change` of them in each span from since_s to seen_s, spread evenly over it.

    Only spans that end in [from_s, to_s) count; a change below 0 is no event.
    """
    times_s: list[float] = []
    for span in np.flatnonzero(change > 0):
        begin_s, end_s = since_s[span], seen_s[span]
        if from_s <= end_s < to_s:
            count = round(change[span])
            times_s += [begin_s + (end_s - begin_s) * (one + 0.5) / count for one in range(count)]
    return np.array(times_s)


def _sample_interval_s(run: RecordedRun) -> float:
    return float(np.median(np.diff(run.times_s)))
