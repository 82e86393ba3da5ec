"""The control loop: read the dispatcher's signals, ask the policy, scale the pods and announce their capacity."""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge

from autoscaler_tuning.live.signals import ScrapeError, Signals, observe
from autoscaler_tuning.live.targets import ScaleTarget, TargetState
from autoscaler_tuning.policies.base import Policy
from autoscaler_tuning.types import Decision, Observation, PodPhase

log = logging.getLogger(__name__)

RETRY_AFTER_S = 1.0


class SignalSource(Protocol):
    """Where the controller reads signals and announces capacity; in production, the class Dispatchers."""

    def signals(self) -> Signals: ...

    def announce(self, ready_pods: int, concurrency: int, valid_s: float, backends: tuple[str, ...] | None) -> None: ...


@dataclass(frozen=True, slots=True)
class ControllerConfig:
    """Settings of the control loop.

    concurrency: requests that a pod serves at once.
    signals_every_s: time between two reads of the dispatcher's signals, independent of the policy's interval.
    stale_after_s: age at which the policy's observations are marked as not fresh.
    capacity_valid_s: how long an announced capacity is valid; it is renewed after half of this time.
    """

    concurrency: int = 1
    signals_every_s: float = 0.1
    stale_after_s: float = 5.0
    capacity_valid_s: float = 5.0


@dataclass(frozen=True, slots=True)
class NamedPolicy:
    """The name of a policy, and a function that makes one, called at the start and after a dispatcher restart."""

    name: str
    make: Callable[[], Policy]


class ReadOnlySource:
    """A source for shadow mode: its signals can be read, but announcing capacity does nothing."""

    def __init__(self, inner: SignalSource) -> None:
        self._inner = inner

    def signals(self) -> Signals:
        """Return the source's signals. Raises ScrapeError."""
        return self._inner.signals()

    def announce(self, ready_pods: int, concurrency: int, valid_s: float, backends: tuple[str, ...] | None) -> None:
        """Do nothing."""


class Recorder:
    """Writes one JSON line for each second and each decision; the report's plots are drawn from them."""

    def __init__(self, path: Path | None) -> None:
        self._file: IO[str] | None = path.open("w", buffering=1, encoding="utf-8") if path else None

    def write(self, line: dict[str, object]) -> None:
        if self._file:
            self._file.write(json.dumps(line) + "\n")


class ControllerMetrics:
    """The metrics that the controller exports in the caller's registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.wanted = Gauge("autoscaler_wanted_pods", "Pods that the policy wants", ["policy"], registry=registry)
        self.pods = Gauge("autoscaler_pods", "Pods by phase", ["phase"], registry=registry)
        self.decisions = Counter("autoscaler_decisions", "Decisions that changed the pods wanted", registry=registry)
        about = "Figures behind the last decision"
        self.figures = Gauge("autoscaler_figure", about, ["policy", "name"], registry=registry)
        self.failures = Counter("autoscaler_failed_ticks", "Ticks that failed, by step", ["step"], registry=registry)


@dataclass(slots=True)
class PodSecondsMeter:
    """Integrates the number of pods over time."""

    updated_s: float | None = None
    pod_seconds: float = 0.0
    terminating_pod_seconds: float = 0.0

    def account(self, now_s: float, state: TargetState) -> None:
        """Add the time since the last call, a few hundredths of a second, multiplied by the current number of pods."""
        if self.updated_s is not None:
            elapsed_s = now_s - self.updated_s
            terminating = sum(1 for pod in state.pods if pod.phase is PodPhase.TERMINATING)
            self.pod_seconds += (len(state.pods) - terminating) * elapsed_s
            self.terminating_pod_seconds += terminating * elapsed_s
        self.updated_s = now_s


class Controller:
    """Scales one target with one policy. step() does what is due; the caller sleeps between steps."""

    def __init__(
        self,
        policy: NamedPolicy,
        source: SignalSource,
        target: ScaleTarget,
        config: ControllerConfig,
        metrics: ControllerMetrics,
        recorder: Recorder,
    ) -> None:
        self._named_policy, self._policy = policy, policy.make()
        self._source, self._target = source, target
        self._config, self._metrics, self._recorder = config, metrics, recorder
        self._signals: Signals | None = None
        self._signals_read_s = float("-inf")
        self._signals_tried_s = float("-inf")
        self._decided_s = float("-inf")
        self._decided_arrived = 0
        self._announced: tuple[int, tuple[str, ...] | None] | None = None
        self._announced_s = float("-inf")
        self._recorded_s = float("-inf")
        self._retry_at_s = float("-inf")
        self._decision = Decision(0, "no decision yet")
        self._usage = PodSecondsMeter()

    def step(self, now_s: float, unix_s: float) -> None:
        """Do what is due at now_s.

        now_s: monotonic time.
        unix_s: the same moment as Unix time, only for the record.
        A step that fails is logged, and the next one runs RETRY_AFTER_S later. If steps keep failing, the announced
        capacity expires, so that a broken controller does not get in the way of Knative's own autoscaler.
        """
        if now_s < self._retry_at_s:
            return
        try:
            self._step(now_s, unix_s)
        except Exception:
            self._metrics.failures.labels("step").inc()
            self._retry_at_s = now_s + RETRY_AFTER_S
            log.exception("control step failed; retrying in %g s", RETRY_AFTER_S)

    def _step(self, now_s: float, unix_s: float) -> None:
        state = self._target.poll()
        self._usage.account(now_s, state)
        self._announce_capacity(now_s, state)
        if now_s - self._signals_tried_s >= self._config.signals_every_s:
            self._read_signals(now_s)
        if self._signals and (now_s - self._decided_s >= self._policy.interval_s or self._must_wake(state)):
            self._decide(now_s, state, self._signals)
            self._record(now_s, unix_s, state)
        elif now_s - self._recorded_s >= 1:
            self._record(now_s, unix_s, state)

    def _must_wake(self, state: TargetState) -> bool:
        """Return whether there is demand at zero pods; like Knative's activator, it triggers a decision at once.

        A request that waits is demand, and so is one that was refused, because no pod could meet its deadline.
        """
        if self._signals is None or self._decision.pods > 0:
            return False
        if any(pod.phase is not PodPhase.TERMINATING for pod in state.pods):
            return False
        return self._signals.waiting > 0 or self._signals.arrived > self._decided_arrived

    def _read_signals(self, now_s: float) -> None:
        self._signals_tried_s = now_s
        try:
            signals = self._source.signals()
        except ScrapeError as error:
            self._metrics.failures.labels("signals").inc()
            if now_s - self._signals_read_s > self._config.stale_after_s:
                log.warning("%s", error)
            return
        if self._signals and signals.now_s < self._signals.now_s:
            log.warning("the dispatcher restarted; starting with a new instance of the policy")
            self._policy = self._named_policy.make()
        self._signals, self._signals_read_s = signals, now_s

    def _announce_capacity(self, now_s: float, state: TargetState) -> None:
        ready = sum(1 for pod in state.pods if pod.phase is PodPhase.READY)
        capacity = (ready, state.backends)
        if capacity == self._announced and now_s - self._announced_s < self._config.capacity_valid_s / 2:
            return
        try:
            self._source.announce(ready, self._config.concurrency, self._config.capacity_valid_s, state.backends)
            self._announced, self._announced_s = capacity, now_s
        except ScrapeError as error:
            self._metrics.failures.labels("capacity").inc()
            log.debug("%s", error)

    def _decide(self, now_s: float, state: TargetState, signals: Signals) -> None:
        self._decided_s, self._decided_arrived = now_s, signals.arrived
        decision = self._policy.decide(self._observation(now_s, state, signals))
        if decision.pods != self._decision.pods:
            log.info("%s wants %d pods: %s", self._named_policy.name, decision.pods, decision.reason)
            self._metrics.decisions.inc()
        self._decision = decision
        self._target.scale_to(decision.pods)

    def _observation(self, now_s: float, state: TargetState, signals: Signals) -> Observation:
        """Return the observation, with all times moved to the dispatcher's clock, which is extrapolated to now."""
        offset_s = signals.now_s - self._signals_read_s
        pods = tuple(
            replace(
                pod,
                started_s=pod.started_s + offset_s,
                ready_s=None if pod.ready_s is None else pod.ready_s + offset_s,
            )
            for pod in state.pods
        )
        fresh = now_s - self._signals_read_s <= self._config.stale_after_s
        return observe(replace(signals, now_s=now_s + offset_s), pods, fresh)

    def _record(self, now_s: float, unix_s: float, state: TargetState) -> None:
        self._recorded_s = now_s
        phases = [pod.phase for pod in state.pods]
        counts = {phase.value: phases.count(phase) for phase in PodPhase}
        for phase, pods in counts.items():
            self._metrics.pods.labels(phase).set(pods)
        self._metrics.wanted.labels(self._named_policy.name).set(self._decision.pods)
        for name, value in self._decision.record.items():
            self._metrics.figures.labels(self._named_policy.name, name).set(value)
        self._recorder.write(
            {
                "unix_s": unix_s,
                **counts,
                "wanted_pods": self._decision.pods,
                "reason": self._decision.reason,
                "figures": dict(self._decision.record),
                "waiting": self._signals.waiting if self._signals else 0,
                "pod_seconds": self._usage.pod_seconds,
                "terminating_pod_seconds": self._usage.terminating_pod_seconds,
                "cold_starts": state.cold_starts,
            }
        )
