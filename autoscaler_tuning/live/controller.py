"""The loop that makes decisions real: observe the dispatcher, ask the policy, scale, tell the capacity."""

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

REST_S = 1.0


class SignalSource(Protocol):
    """Where the signals come from and the capacity goes to; Dispatchers in real life."""

    def signals(self) -> Signals: ...

    def announce(self, ready_pods: int, concurrency: int, valid_s: float, backends: tuple[str, ...] | None) -> None: ...


@dataclass(frozen=True, slots=True)
class ControllerConfig:
    """Times of the loop.

    signals_every_s: how often the dispatcher is read, whatever the policy's own interval.
    stale_after_s: without signals for this long, the policy is told that they are not fresh.
    capacity_valid_s: how long an announced capacity counts; renewed at half of it.
    """

    concurrency: int = 1
    signals_every_s: float = 0.1
    stale_after_s: float = 5.0
    capacity_valid_s: float = 5.0


class OnlyHeard:
    """Any source of signals, for looking on: no capacity is announced."""

    def __init__(self, inner: SignalSource) -> None:
        self._inner = inner

    def signals(self) -> Signals:
        """Raises ScrapeError."""
        return self._inner.signals()

    def announce(self, ready_pods: int, concurrency: int, valid_s: float, backends: tuple[str, ...] | None) -> None:
        """Nothing."""


class Recorder:
    """One JSON line a second and one for each change of decision; what the report's plots are drawn from."""

    def __init__(self, path: Path | None) -> None:
        self._file: IO[str] | None = path.open("w", buffering=1, encoding="utf-8") if path else None

    def write(self, line: dict[str, object]) -> None:
        if self._file:
            self._file.write(json.dumps(line) + "\n")


class ControllerMetrics:
    """What the controller exports; registry is the caller's."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.wanted = Gauge("autoscaler_wanted_pods", "Pods that the policy wants", ["policy"], registry=registry)
        self.pods = Gauge("autoscaler_pods", "Pods by phase", ["phase"], registry=registry)
        self.decisions = Counter("autoscaler_decisions", "Decisions that changed the pods wanted", registry=registry)
        about = "Figures behind the last decision"
        self.figures = Gauge("autoscaler_figure", about, ["policy", "name"], registry=registry)
        self.failures = Counter("autoscaler_failed_ticks", "Ticks that failed, by step", ["step"], registry=registry)


@dataclass(slots=True)
class PodSecondsMeter:
    """Pod-seconds so far."""

    updated_s: float | None = None
    pod_seconds: float = 0.0
    terminating_pod_seconds: float = 0.0

    def account(self, now_s: float, state: TargetState) -> None:
        """Add the time since the last call at the counts of now; calls come every few hundredths of a second."""
        if self.updated_s is not None:
            elapsed_s = now_s - self.updated_s
            terminating = sum(1 for pod in state.pods if pod.phase is PodPhase.TERMINATING)
            self.pod_seconds += (len(state.pods) - terminating) * elapsed_s
            self.terminating_pod_seconds += terminating * elapsed_s
        self.updated_s = now_s


class Controller:
    """One policy, one target. step() does what is due; the caller sleeps between steps."""

    def __init__(
        self,
        policy: tuple[str, Callable[[], Policy]],
        source: SignalSource,
        target: ScaleTarget,
        config: ControllerConfig,
        metrics: ControllerMetrics,
        recorder: Recorder,
    ) -> None:
        self._policy_name, self._make_policy = policy
        self._policy = self._make_policy()
        self._source, self._target = source, target
        self._config, self._metrics, self._recorder = config, metrics, recorder
        self._signals: Signals | None = None
        self._signals_read_s = float("-inf")
        self._signals_tried_s = float("-inf")
        self._decided_s = float("-inf")
        self._told: tuple[int, tuple[str, ...] | None] | None = None
        self._told_s = float("-inf")
        self._recorded_s = float("-inf")
        self._resting_until_s = float("-inf")
        self._decision = Decision(0, "no decision yet")
        self._usage = PodSecondsMeter()

    def step(self, now_s: float, unix_s: float) -> None:
        """Do what is due at now_s (monotonic; unix_s only labels the record).

        A step that fails is logged and survived; the next try is a second later. What was announced lapses meanwhile,
        so a broken controller leaves Knative to itself.
        """
        if now_s < self._resting_until_s:
            return
        try:
            self._step(now_s, unix_s)
        except Exception:
            self._metrics.failures.labels("step").inc()
            self._resting_until_s = now_s + REST_S
            log.exception("a step failed; trying again in %g s", REST_S)

    def _step(self, now_s: float, unix_s: float) -> None:
        state = self._target.poll()
        self._usage.account(now_s, state)
        self._tell(now_s, state)
        if now_s - self._signals_tried_s >= self._config.signals_every_s:
            self._read_signals(now_s)
        if self._signals and (now_s - self._decided_s >= self._policy.interval_s or self._is_poked(state)):
            self._decide(now_s, state, self._signals)
            self._record(now_s, unix_s, state)
        elif now_s - self._recorded_s >= 1:
            self._record(now_s, unix_s, state)

    def _is_poked(self, state: TargetState) -> bool:
        """From zero, the first request asks at once, as Knative's activator does."""
        alive = any(pod.phase is not PodPhase.TERMINATING for pod in state.pods)
        return not alive and self._decision.pods == 0 and self._signals is not None and self._signals.waiting > 0

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
            log.warning("the dispatcher was restarted: the policy starts anew")
            self._policy = self._make_policy()
        self._signals, self._signals_read_s = signals, now_s

    def _tell(self, now_s: float, state: TargetState) -> None:
        ready = sum(1 for pod in state.pods if pod.phase is PodPhase.READY)
        news = (ready, state.backends)
        if news == self._told and now_s - self._told_s < self._config.capacity_valid_s / 2:
            return
        try:
            self._source.announce(ready, self._config.concurrency, self._config.capacity_valid_s, state.backends)
            self._told, self._told_s = news, now_s
        except ScrapeError as error:
            self._metrics.failures.labels("capacity").inc()
            log.debug("%s", error)

    def _decide(self, now_s: float, state: TargetState, signals: Signals) -> None:
        self._decided_s = now_s
        decision = self._policy.decide(self._observation(now_s, state, signals))
        if decision.pods != self._decision.pods:
            log.info("%s wants %d pods: %s", self._policy_name, decision.pods, decision.reason)
            self._metrics.decisions.inc()
        self._decision = decision
        self._target.scale_to(decision.pods)

    def _observation(self, now_s: float, state: TargetState, signals: Signals) -> Observation:
        """Everything on the dispatcher's clock, carried on to now."""
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
        self._metrics.wanted.labels(self._policy_name).set(self._decision.pods)
        for name, value in self._decision.record.items():
            self._metrics.figures.labels(self._policy_name, name).set(value)
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
