"""Simulation of a recorded run's arrivals, with settings fitted to a part of the run."""

from dataclasses import dataclass, replace
from math import inf

import numpy as np

from autoscaler_tuning.policies.base import Bounded, Policy
from autoscaler_tuning.policies.hpa.hpa import Hpa, HpaConfig
from autoscaler_tuning.policies.registry import KnativeClass, UnknownPolicyError, policy_named
from autoscaler_tuning.policies.scale_to_zero import ScalesDeployment
from autoscaler_tuning.results import FloatArray
from autoscaler_tuning.simulator.cluster import Cluster
from autoscaler_tuning.simulator.simulate import ControlLoop
from autoscaler_tuning.simulator.world import SimConfig
from autoscaler_tuning.types import Decision, Observation
from autoscaler_tuning.validation.fit import Fit, tick_phase_s
from autoscaler_tuning.validation.old_run import KPA, RECORDED, setup_of
from autoscaler_tuning.validation.recorded_run import RecordedError, RecordedRun
from autoscaler_tuning.validation.run_setup import RunSetup, knobs_of

__all__ = ["KPA", "RECORDED"]

DRAIN_S = 60.0
MOST_UNEXPLAINED_PODS = 1.0
# Candidates for the CPU use of a pod that is always busy, in per cent of its CPU request; used if the run does not
# state it.
UTILIZATIONS = tuple(round(20 * 1.07**step) for step in range(50))
TRIES = 2
# Candidates for the offset between the run's clock and the whole seconds in which the autoscaler counts. Those whose
# error is at most AS_GOOD_RATIO times the smallest are used, each with a random extra offset of up to OFFSET_BLUR_S.
# With each, the autoscaler's clock shows the next whole second either after each tick or before it, see ClockAhead.
OFFSETS_S = tuple(np.arange(0, 1, 0.1).tolist())
AHEAD_S = (0.0, 0.99)
PHASES = tuple((offset_s, ahead_s) for offset_s in OFFSETS_S for ahead_s in AHEAD_S)
# Has no factor in common with the number of phases, so that consecutive seeds spread over them.
PHASE_STEP = 7
OFFSET_BLUR_S = 0.1
AS_GOOD_RATIO = 1.3


@dataclass(frozen=True, slots=True)
class Choices:
    """Options of a resimulation.

    policy: a policy of the registry, or recorded, which repeats the recorded decisions; None takes that of the run.
    from_s, to_s: the part to fit; None means the first half.
    seeds: number of simulations, of which the report shows medians.
    utilization_percent: see UTILIZATIONS; None means that it is fitted.
    metrics_resolution_s: how often CPU is measured: 15 s by metrics-server's default, 5 s in the recording cluster.
    max_pods: None takes that of the run.
    """

    policy: str | None = None
    from_s: float | None = None
    to_s: float | None = None
    seeds: int = 15
    utilization_percent: int | None = None
    metrics_resolution_s: float = 5.0
    max_pods: int | None = None


@dataclass(frozen=True, slots=True)
class Resimulated:
    """Requests and pods of one simulation, on the run's clock and at its sample times.

    done_s: shape (requests,). ready_pods, alive_pods: shape (samples,); alive pods are ready or starting.
    """

    done_s: FloatArray
    ready_pods: FloatArray
    alive_pods: FloatArray


class AsRecorded:
    """A policy that repeats the decisions of the run's autoscaler at the same times."""

    interval_s = 0.1

    def __init__(self, run: RecordedRun, offset_s: float, direct: bool) -> None:
        """Read the decisions; the simulator's clock is offset_s ahead of the run's."""
        middle_s = np.append(run.times_s[0], (run.times_s[1:] + run.times_s[:-1]) / 2)
        known = run.desired_pods >= 0
        self._times_s, self._pods = middle_s[known] + offset_s, run.desired_pods[known]
        self._direct = direct

    def decide(self, obs: Observation) -> Decision:
        """Return the latest recorded decision; before the first one, keep the current pods."""
        latest = int(np.searchsorted(self._times_s, obs.now_s, side="right")) - 1
        if latest < 0:
            current = obs.ready_pods + obs.starting_pods
            return Decision(current, f"recorded: no decision yet, keep {current} pods", direct=self._direct)
        pods = int(self._pods[latest])
        return Decision(pods, f"recorded: {pods} pods", direct=self._direct)


@dataclass(slots=True)
class ClockAhead:
    """A policy whose clock is ahead_s, below 1 s, ahead of the seconds that are reported to it.

    Knative's activator reports each of its own seconds, and the autoscaler puts a report into the whole second of its
    clock in which it comes. A tick early in such a second finds no report in it yet. A panic window of one second, as
    with a window of 10 s, is then empty, and KPA does not panic.
    """

    inner: Policy
    ahead_s: float

    @property
    def interval_s(self) -> float:
        return self.inner.interval_s

    def decide(self, obs: Observation) -> Decision:
        """Decide at the time that the policy's clock shows."""
        return self.inner.decide(replace(obs, now_s=obs.now_s + self.ahead_s))


def setup_of_run(run: RecordedRun) -> RunSetup:
    """Return the set-up of a run; that of an old file is derived from its description."""
    return setup_of(run.about) if run.setup is None else run.setup


def named_policy(run: RecordedRun) -> str:
    """Return the policy of the run's set-up; `recorded` if an old file describes none with known settings."""
    return setup_of_run(run).policy


def is_direct(run: RecordedRun) -> bool:
    """Return whether requests went to the pods without an activator or dispatcher in between, as with HPA."""
    return setup_of_run(run).is_direct


def check_modelled(setup: RunSetup) -> None:
    """Raise RecordedError, which names what cannot be simulated, if the policy of this set-up is not ours."""
    if setup.policy == RECORDED:
        return
    advice = "--policy recorded repeats its decisions"
    try:
        ours = knobs_of(policy_named(setup.policy, setup.slo_s))
    except UnknownPolicyError as error:
        raise RecordedError(f"cannot simulate the policy {setup.policy!r} ({error}); {advice}") from error
    for name, value in setup.knobs.items():
        if name not in ours or ours[name] != value:
            raise RecordedError(
                f"cannot simulate the policy {setup.policy!r}: {name} must be {ours.get(name, 'absent')} as in this "
                f"version, got {value!r}; {advice}"
            )


def check_repeatable(run: RecordedRun) -> None:
    """Raise RecordedError if the recorded decisions are not those that set the pods, as under a pin of min-scale."""
    known = run.desired_pods >= 0
    off = np.abs(run.ready_pods + run.starting_pods - run.desired_pods)[known]
    if not len(off) or np.median(off) > MOST_UNEXPLAINED_PODS:
        found = f"a median difference of {np.median(off):g} pods" if len(off) else "no decision"
        raise RecordedError(
            f"recorded decisions must be those that set the pods, within {MOST_UNEXPLAINED_PODS:g} most of the time, "
            f"got {found}: they cannot be repeated"
        )


def is_hpa(policy: str) -> bool:
    """Return whether a policy scales through Kubernetes' HPA."""
    return policy != RECORDED and policy_named(policy).entry.knative_class is KnativeClass.HPA


def is_kpa(policy: str) -> bool:
    """Return whether a policy is Knative's own autoscaler, with any settings."""
    return policy != RECORDED and policy_named(policy).knobs is not None


def tick_s(policy: str) -> float | None:
    """Return the time between two ticks of the autoscaler; None for recorded decisions."""
    if policy == RECORDED:
        return None
    return HpaConfig().sync_s if is_hpa(policy) else policy_named(policy).make().interval_s


class Resimulation:
    """Simulates the run's arrivals with fitted settings.

    knows_utilization, utilization_percent: whether the CPU use of a busy pod is known, and its value; see UTILIZATIONS.
    """

    def __init__(self, run: RecordedRun, world: Fit, choices: Choices, own_phases: bool = True) -> None:
        """Take the settings that are not fitted from the choices or from the run's set-up.

        own_phases: take the phases of the autoscaler's ticks and seconds from the run; otherwise draw them.
        """
        self._run, self._choices, self._setup = run, choices, setup_of_run(run)
        self._max_pods = choices.max_pods or self._setup.max_pods
        ready = int(run.ready_pods[max(0, int(np.searchsorted(run.times_s, 0.0)) - 1)])
        stated = _stated_utilization_percent(self._setup)
        self.knows_utilization = choices.utilization_percent is not None or stated is not None
        self.utilization_percent = float(choices.utilization_percent or stated or 100)
        self._config = SimConfig(
            **world.settings(),  # type: ignore[arg-type]  # SimConfig's names and types; a test compares the names
            initial_pods=ready,
            max_pods=max(self._max_pods, ready),
            concurrency=self._setup.concurrency,
            order=self._setup.order,
            slo_s=self._setup.slo_s,
        )
        policy = str(choices.policy)
        part = (choices.from_s or 0.0, inf if choices.to_s is None else choices.to_s)
        self._interval_s = tick_s(policy) or AsRecorded.interval_s
        self._tick_s = tick_phase_s(run, self._interval_s, *part) if own_phases else None
        self._phases: tuple[tuple[float, float], ...] = ((0.5, 0.0),) if own_phases else PHASES

    def fit_utilization(self, from_s: float, to_s: float) -> str:
        """Choose the CPU use of a busy pod with which the ready pods of the fitted part agree best; describe it.

        A utilization that the choices or the run's set-up state is kept.
        """
        if self.knows_utilization:
            return f"CPU use of a busy pod: {self.utilization_percent:.0f} % of its request, as given"
        errors = {}
        for percent in UTILIZATIONS:
            self.utilization_percent = float(percent)
            errors[percent] = self._error(from_s, to_s)
        best = min(errors, key=errors.__getitem__)
        self.utilization_percent = float(best)
        return f"CPU use of a busy pod: {best} % of its request, fitted because the run does not state it"

    def fit_seconds(self, from_s: float, to_s: float) -> str:
        """Choose the starts of the autoscaler's counting seconds with which its pods agree best, or nearly best.

        The age of the last count at a tick matters in a burst: panic mode then wants twice the pods, or half of them.
        Returns a description of the result.
        """
        errors = {}
        for phase in PHASES:
            self._phases = (phase,)
            errors[phase] = self._error(from_s, to_s)
        best = min(errors.values())
        self._phases = tuple(one for one in PHASES if errors[one] <= best * AS_GOOD_RATIO)
        ticks = "unknown" if self._tick_s is None else f"{self._tick_s:.2f} s"
        begins = ", ".join(f"{begin:.1f}" for begin in sorted({(1 - one) % 1 for one, _ in self._phases}))
        return f"fitted: phase of the autoscaler's ticks {ticks}, its counting seconds begin at one of {begins} s"

    def _error(self, from_s: float, to_s: float) -> float:
        """Return the mean error of the ready pods over time in the fitted part."""
        tries = [self.once(seed) for seed in range(TRIES)]
        return float(np.mean([ready_pods_error(self._run, one, from_s, to_s) for one in tries]))

    def once(self, seed: int) -> Resimulated:
        """Run one simulation; seeds differ in service and start times, and slightly in the autoscaler's seconds."""
        rng = np.random.default_rng(seed)
        offset_s, ahead_s = self._phases[PHASE_STEP * seed % len(self._phases)]
        offset_s += rng.uniform(0, OFFSET_BLUR_S)
        run = self._run
        tick_s = rng.uniform(0, self._interval_s) if self._tick_s is None else self._tick_s
        policy = self._policy(offset_s)
        if is_kpa(str(self._choices.policy)):
            policy = ClockAhead(policy, ahead_s)
        loop = ControlLoop(
            Cluster(self._config, run.sent_s + offset_s, rng),
            policy,
            self._config,
            (tick_s + offset_s) % self._interval_s if self._choices.policy != RECORDED else 0.0,
        )
        sample_times_s = run.times_s + offset_s
        end_s = max(run.end_s + DRAIN_S, float(run.times_s[-1])) + offset_s
        loop.run_until(end_s)
        done_s = loop.cluster.done_s
        done_s[done_s > end_s] = np.nan
        ready, starting, _ = loop.cluster.pods_at(sample_times_s)
        return Resimulated(done_s - offset_s, ready.astype(float), (ready + starting).astype(float))

    def _policy(self, offset_s: float) -> Policy:
        if self._choices.policy == RECORDED:
            return AsRecorded(self._run, offset_s, is_direct(self._run))
        spec = policy_named(str(self._choices.policy), self._setup.slo_s)
        if spec.entry.knative_class is not KnativeClass.HPA:
            least = min(self._max_pods, max(self._setup.min_pods, spec.revision.min_pods))
            return Bounded(spec.on_knative(), least, min(self._max_pods, spec.revision.max_pods or self._max_pods))
        busy_cores = self._config.cpu_ratio * self._config.concurrency
        config = replace(
            spec.config,
            cpu_request_milli=max(1, round(1000 * busy_cores * 100 / self.utilization_percent)),
            sidecar_request_milli=0,
            metrics_resolution_s=self._choices.metrics_resolution_s,
            max_pods=self._max_pods,
        )
        return ScalesDeployment(Hpa(config)) if self._setup.is_direct else Hpa(config)


def _stated_utilization_percent(setup: RunSetup) -> float | None:
    """Return the CPU use of a busy pod as the set-up states it, in per cent of its request; None if it does not."""
    if setup.cpu_per_request_s is None or setup.service_time_s is None or setup.cpu_request_cores is None:
        return None
    return 100 * setup.concurrency * setup.cpu_per_request_s / setup.service_time_s / setup.cpu_request_cores


def ready_pods_error(run: RecordedRun, one: Resimulated, from_s: float, to_s: float) -> float:
    """Return the mean absolute difference of the ready pods over time."""
    return integral(run.times_s, np.abs(run.ready_pods - one.ready_pods), from_s, to_s) / (to_s - from_s)


def integral(times_s: FloatArray, counts: FloatArray, from_s: float, to_s: float) -> float:
    """Return the integral of counts that hold from one sample to the next, in count x seconds."""
    edges_s = np.clip(np.append(times_s, times_s[-1]), from_s, to_s)
    return float(np.sum(counts * np.diff(edges_s)))
