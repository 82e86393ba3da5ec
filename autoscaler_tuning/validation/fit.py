"""What a recorded run tells of its world: service times, how pods start and stop, when the autoscaler ticked."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from autoscaler_tuning.results import FloatArray
from autoscaler_tuning.simulator.world import SimConfig
from autoscaler_tuning.validation.recorded_run import RecordedError, RecordedRun

# The activator looks every 0.2 s whether a new pod answers: half of it on average.
READINESS_DELAY_S = 0.1
# From a decision to a pod that is there, or told to stop: the PodAutoscaler's, Deployment's and ReplicaSet's turns.
ACTUATION_S = 0.1
LEAST_SERVICES = 20
BATCH_PAUSE_S = 0.5
SERIAL_STEPS_S = np.arange(0, 1.0, 0.005)
QUANTILES = 400


@dataclass(frozen=True, slots=True)
class Fit:
    """Names and meaning are those of SimConfig.

    service_samples_s: of requests that found a free pod, so nothing of it is waiting; quantiles if there were many.
    starts, services: how many were seen.
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
        """For SimConfig(**settings)."""
        mean_s = sum(self.service_samples_s) / len(self.service_samples_s)
        seen: Mapping[str, object] = asdict(self)
        return {"service_time_s": mean_s} | {key: seen[key] for key in seen if key not in ("starts", "services")}


def fit(run: RecordedRun, from_s: float, to_s: float, interval_s: float | None = None, direct: bool = False) -> Fit:
    """The world of one part of a run, whose autoscaler decides every interval_s, if that is known.

    direct: requests went to the pods with no shared queue before them.
    Where no pod was started in that part, all of the run tells of starts; where none was at all, SimConfig's default.
    Raises RecordedError if too little happened in it.
    """
    services_s = uncontended_s(run, from_s, to_s, direct)
    if len(services_s) < LEAST_SERVICES:
        raise RecordedError(
            f"from {from_s:g} to {to_s:g} s {len(services_s)} requests found a free pod: too few to know service times"
        )
    created_s, ready_s = starts(run, from_s, to_s, interval_s)
    if not len(created_s):
        created_s, ready_s = starts(run, -np.inf, np.inf, interval_s)
    cold_start_s, serial_s = start_model(created_s, ready_s, _look_s(run))
    kept_s = services_s if len(services_s) <= QUANTILES else np.quantile(services_s, np.linspace(0, 1, QUANTILES))
    return Fit(
        service_samples_s=tuple(round(float(one), 5) for one in kept_s),
        cold_start_s=cold_start_s,
        start_serial_s=serial_s,
        termination_s=termination_s(run, from_s, to_s),
        readiness_delay_s=READINESS_DELAY_S,
        actuation_s=ACTUATION_S,
        starts=len(created_s),
        services=len(services_s),
    )


def uncontended_s(run: RecordedRun, from_s: float, to_s: float, direct: bool = False) -> FloatArray:
    """Time from send to answer of the requests that found fewer in the system than ready pods.

    direct: that found none, for where nobody looks which pod is free they may have met the busy one. A look at the pods
    counts until the next; the smaller of both is believed.
    """
    ends_s = np.sort(np.where(np.isnan(run.done_s), run.sent_s, run.done_s))
    order = np.arange(len(run.sent_s))
    ahead = order - np.searchsorted(ends_s, run.sent_s, side="right")
    look = np.clip(np.searchsorted(run.times_s, run.sent_s) - 1, 0, len(run.times_s) - 2)
    ready = np.ones(len(look)) if direct else np.minimum(run.ready_pods[look], run.ready_pods[look + 1])
    alone = run.during(from_s, to_s) & (ahead < ready) & np.isfinite(run.done_s)
    services_s: FloatArray = (run.done_s - run.sent_s)[alone]
    return services_s[services_s > 0]


def starts(
    run: RecordedRun, from_s: float, to_s: float, interval_s: float | None = None
) -> tuple[FloatArray, FloatArray]:
    """When pods were created and when they became ready, each in order, shape (starts,); spread between two looks.

    interval_s: of the autoscaler's ticks: no pod was created between the look before a decision and its tick.
    """
    alive = run.ready_pods + run.starting_pods
    removed = np.maximum(0, np.diff(run.terminating_pods))  # none of these can have become ready and stayed
    since_s = _since_s(run, interval_s, from_s, to_s)
    created_s = _events((since_s, run.times_s[1:]), np.diff(alive) + removed, from_s, to_s)
    ready_s = _events((run.times_s[:-1], run.times_s[1:]), np.diff(run.ready_pods) + removed, from_s, np.inf)
    if len(created_s):
        ready_s = ready_s[ready_s >= created_s[0]]
    pairs = min(len(created_s), len(ready_s))
    return created_s[:pairs], ready_s[:pairs]


def _since_s(run: RecordedRun, interval_s: float | None, from_s: float, to_s: float) -> FloatArray:
    """For each look but the first, since when a pod that it shows may have been there, shape (looks - 1,)."""
    before_s, seen_s = run.times_s[:-1], run.times_s[1:]
    phase_s = tick_phase_s(run, interval_s, from_s, to_s) if interval_s else None
    if phase_s is None or interval_s is None:
        return before_s
    acted_s = before_s + (phase_s - before_s) % interval_s + ACTUATION_S
    decided = np.diff(run.desired_pods) > 0
    since_s: FloatArray = np.where(decided & (acted_s < seen_s), acted_s, before_s)
    return since_s


def start_model(created_s: FloatArray, ready_s: FloatArray, look_s: float) -> tuple[tuple[float, float], float]:
    """(least, most) time of a start by itself, and what of it pods on the same node do one after the other.

    A start that begins while others are in their serial part waits for them; the rest is the same for all.
    Least squares, each batch of starts counting once, for what disturbs one of them disturbs all of its batch. What the
    looks blur is taken off the spread. Without a start, SimConfig's default.
    """
    if not len(created_s):
        return SimConfig().cold_start_s, 0.0
    weights = _batch_weights(created_s)
    best = (np.inf, 0.0, 0.0)
    for serial_s in SERIAL_STEPS_S:
        rest_s = ready_s - _through(created_s, float(serial_s))
        mean_s = float(weights @ rest_s)
        error = float(weights @ (rest_s - mean_s) ** 2)
        if error < best[0] - 1e-9:
            best = (error, float(serial_s), mean_s)
    variance, serial_s, mean_s = best
    spread_s = float(np.sqrt(3 * max(0.0, variance - look_s**2 / 6)))
    return (round(max(0.0, mean_s - spread_s), 3), round(mean_s + spread_s, 3)), round(serial_s, 3)


def termination_s(run: RecordedRun, from_s: float, to_s: float) -> float:
    """Median time from being told to stop to being gone; Knative's 30 s where none was seen."""
    change = np.diff(run.terminating_pods)
    looks_s = (run.times_s[:-1], run.times_s[1:])
    stopped_s, gone_s = _events(looks_s, change, from_s, to_s), _events(looks_s, -change, from_s, np.inf)
    pairs = min(len(stopped_s), len(gone_s))
    lasted_s = gone_s[:pairs] - stopped_s[:pairs]
    return round(float(np.median(lasted_s)), 2) if pairs and (lasted_s > 0).all() else 30.0


def tick_phase_s(run: RecordedRun, interval_s: float, from_s: float, to_s: float) -> float | None:
    """When the autoscaler's clock ticks, modulo interval_s; None if it never changed its mind between two looks.

    A change that was first seen at a look happened since the look before. The phase in most of these spans is taken.
    """
    phases_s = np.linspace(0, interval_s, 200, endpoint=False)
    votes = np.zeros(len(phases_s))
    changes = np.flatnonzero(np.diff(run.desired_pods) != 0)
    for look in changes:
        before_s, seen_s = run.times_s[look], run.times_s[look + 1]
        if run.desired_pods[look] >= 0 and from_s <= seen_s < to_s and seen_s - before_s < interval_s:
            votes += (phases_s - before_s) % interval_s < seen_s - before_s
    if not votes.any():
        return None
    agreed = phases_s[votes == votes.max()]
    middle = np.angle(np.exp(2j * np.pi * agreed / interval_s).mean()) * interval_s / (2 * np.pi)
    return float(middle % interval_s)


def _batch_weights(created_s: FloatArray) -> FloatArray:
    """Of each start, adding up to 1 in all and to the same in each batch; a pause of BATCH_PAUSE_S ends a batch."""
    batch = np.cumsum(np.diff(created_s, prepend=created_s[0]) > BATCH_PAUSE_S)
    each: FloatArray = 1.0 / np.bincount(batch)[batch]
    weights: FloatArray = each / each.sum()
    return weights


def _through(created_s: FloatArray, serial_s: float) -> FloatArray:
    """When each is through the part that a node does one after the other."""
    through_s = np.empty(len(created_s))
    free_s = -np.inf
    for index, time_s in enumerate(created_s):
        free_s = through_s[index] = max(free_s, time_s) + serial_s
    return through_s


def _events(spans_s: tuple[FloatArray, FloatArray], change: FloatArray, from_s: float, to_s: float) -> FloatArray:
    """One moment for each count that rose between two looks, spread evenly over its span."""
    moments: list[float] = []
    for look in np.flatnonzero(change > 0):
        since_s, seen_s = spans_s[0][look], spans_s[1][look]
        if from_s <= seen_s < to_s:
            rose = round(change[look])
            moments += [since_s + (seen_s - since_s) * (one + 0.5) / rose for one in range(rose)]
    return np.array(moments)


def _look_s(run: RecordedRun) -> float:
    return float(np.median(np.diff(run.times_s)))
