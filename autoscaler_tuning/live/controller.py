"""The control loop: read the dispatcher's signals, ask the policy, scale the pods and announce their capacity."""

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass

from autoscaler_tuning.live.capacity_rule import CapacityRule, ScalingEvidence
from autoscaler_tuning.live.knowledge import TrafficKnowledge
from autoscaler_tuning.live.latest_signals import LatestSignals
from autoscaler_tuning.live.operator import Operator
from autoscaler_tuning.live.recording import ControllerMetrics, PodSecondsMeter, Recorder, counts_by_phase
from autoscaler_tuning.live.signals import ScrapeError, Signals
from autoscaler_tuning.live.sources import AnnouncedCapacity, SignalSource
from autoscaler_tuning.live.start_limit import StartLimit
from autoscaler_tuning.live.targets import ScaleTarget, TargetState
from autoscaler_tuning.live.troubles import Troubles
from autoscaler_tuning.policies.base import Policy
from autoscaler_tuning.types import Decision, PodPhase
from knative.errors import ClusterError

log = logging.getLogger(__name__)

RETRY_AFTER_S = 1.0
PAUSED = "an operator has paused this controller"


@dataclass(frozen=True, slots=True)
class ControllerConfig:
    """Settings of the control loop.

    concurrency: requests that a pod serves at once, if the target does not know it.
    signals_every_s: time between two reads of the dispatcher's signals while no pod is wanted: a request may wake one.
    busy_signals_every_s: the longest such time while pods are wanted; they are also read for each decision.
    stale_after_s: age at which the policy's observations are marked as not fresh.
    release_after_s: age of the signals at which the pods are left to another autoscaler; also the time after which a
        dispatcher that has seen no request counts as idle.
    capacity_valid_s: how long an announced capacity is valid; it is renewed after half of this time.
    zero_valid_s: the same while no pod is ready. It is short because requests may wait in vain then.
    stuck_after_s: time for which requests may wait without any pod before the dispatchers forward them.
    """

    concurrency: int = 1
    signals_every_s: float = 0.1
    busy_signals_every_s: float = 0.5
    stale_after_s: float = 5.0
    release_after_s: float = 30.0
    capacity_valid_s: float = 5.0
    zero_valid_s: float = 2.0
    stuck_after_s: float = 4.0


@dataclass(frozen=True, slots=True)
class NamedPolicy:
    """The name of a policy, and a function that makes one, called at the start and after a dispatcher restart."""

    name: str
    make: Callable[[], Policy]


@dataclass(frozen=True, slots=True)
class Moment:
    """What a controller knows at one moment.

    arrived: requests so far. arrived_s: when they were counted, on the dispatchers' clock; None without any signals.
    pod_seconds: used so far. signals_age_s: of the dispatchers' signals. ruler, why: who decides on the pods, and the
    reason.
    """

    unix_s: float
    state: TargetState
    decision: Decision
    arrived: int
    arrived_s: float | None
    pod_seconds: float
    signals_age_s: float
    ruler: str
    why: str


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
        self.observe: Callable[[Moment], None] = lambda _: None  # called once a second and for each decision
        self.operator = Operator(sys.maxsize)
        self._refused: str | None = "no decision was carried out yet"
        self._named_policy, self._policy = policy, policy.make()
        self._source, self._target = source, target
        self._config, self._metrics, self._recorder = config, metrics, recorder
        self._knowledge = TrafficKnowledge(config.release_after_s)
        self._rule = CapacityRule(config.stuck_after_s)
        self._starts = StartLimit()
        self._troubles = Troubles()
        self._latest = LatestSignals(source, metrics, self._troubles, config.stale_after_s)
        self._decided_s = self._announced_s = self._recorded_s = self._retry_at_s = float("-inf")
        self._decided_arrived = 0
        self._decided = self._failed = self._released = self._led_by_another = False
        self._announced: AnnouncedCapacity | None = None
        self._decision = Decision(0, "no decision yet")
        self._state = TargetState((), (), 0, confirmed=False)
        self._usage = PodSecondsMeter()

    @property
    def ready(self) -> bool:
        """Return whether a decision was carried out since the start, or another controller leads."""
        return self._announced is not None or self._led_by_another

    def wish(self, now_s: float) -> int | None:
        """Return the pods that the policy wants; None without a recent decision on recent signals."""
        age_s = max(self._latest.age_s(now_s), now_s - self._decided_s)
        return self._decision.pods if age_s < self._config.release_after_s else None

    def step(self, now_s: float, unix_s: float) -> None:
        """Do what is due at now_s.

        now_s: monotonic time.
        unix_s: the same moment as Unix time, only for the record.
        A step that fails is logged, once, and the next one runs RETRY_AFTER_S later. If steps keep failing, the
        announced capacity expires, and after release_after_s the pods are left to another autoscaler, so that a broken
        controller does not get in the way of Knative's own.
        """
        if now_s < self._retry_at_s:
            return
        try:
            self._step(now_s, unix_s)
            self._failed = False
            self._troubles.worked("control step", now_s)
        except ClusterError as error:
            self._step_failed(now_s, error, expected=True)
        except Exception as error:  # noqa: BLE001  # any failure must end with the next step, not with the process
            self._step_failed(now_s, error, expected=False)

    def _step_failed(self, now_s: float, error: Exception, expected: bool) -> None:
        self._metrics.failures.labels("step").inc()
        self._metrics.announcing.set(False)
        self._failed, self._retry_at_s = True, now_s + RETRY_AFTER_S
        self._troubles.failed("control step", now_s, error, expected)
        self._forget_old_wish(now_s)

    def _step(self, now_s: float, unix_s: float) -> None:
        if self._failed and self._decided and now_s - self._decided_s >= self._config.release_after_s:
            self._release(f"no decision for {self._config.release_after_s:g} s", self._state)
        self._state = state = self._target.poll()
        self._led_by_another = state.leader is not None
        self._usage.account(now_s, state)
        self._notice_problem(now_s, state)
        self._announce_capacity(now_s, state)
        if now_s - self._latest.tried_s >= self._signals_due_s():
            self._read_signals(now_s)
        if self._latest.signals and (now_s - self._decided_s >= self._policy.interval_s or self._must_wake(state)):
            self._decide(now_s, state, self._latest.signals)
            self._record(now_s, unix_s, state)
        elif now_s - self._recorded_s >= 1:
            self._record(now_s, unix_s, state)

    def _signals_due_s(self) -> float:
        """Return the time between two reads of the signals."""
        if self._latest.signals is None or self._decision.pods == 0:
            return self._config.signals_every_s
        return min(self._policy.interval_s, self._config.busy_signals_every_s)

    def _notice_problem(self, now_s: float, state: TargetState) -> None:
        """Log that pods cannot start, and why, once; and once when they can again."""
        if not self._starts.observe(now_s, state.problem, self._decision.pods):
            self._troubles.worked("pods cannot start", now_s)
        elif state.problem is not None:
            self._troubles.failed("pods cannot start", now_s, state.problem)

    def _must_wake(self, state: TargetState) -> bool:
        """Return whether there is demand at zero pods; like Knative's activator, it triggers a decision at once.

        A request that waits is demand, and so is one that was refused, because no pod could meet its deadline.
        """
        if self._latest.signals is None or self._decision.pods > 0:
            return False
        if any(pod.phase is not PodPhase.TERMINATING for pod in state.pods):
            return False
        return self._latest.signals.waiting > 0 or self._latest.signals.arrived > self._decided_arrived

    def _read_signals(self, now_s: float) -> None:
        if self._latest.read(now_s):
            log.warning("the dispatcher restarted; starting with a new instance of the policy")
            self._policy = self._named_policy.make()
            self._knowledge.restart()

    def _announce_capacity(self, now_s: float, state: TargetState) -> None:
        phases = [pod.phase for pod in state.pods]
        self._refused = objection = self._objection(now_s, state)
        self._metrics.announcing.set(objection is None)
        if objection is not None:
            return
        ready = phases.count(PodPhase.READY)
        concurrency = state.concurrency or self._config.concurrency
        capacity = AnnouncedCapacity(ready, concurrency, state.backends, state.problem)
        valid_s = self._config.capacity_valid_s if ready else self._config.zero_valid_s
        if capacity == self._announced and now_s - self._announced_s < valid_s / 2:
            return
        try:
            self._source.announce(capacity, valid_s)
            self._announced, self._announced_s = capacity, now_s
            self._troubles.worked("capacity", now_s)
        except ScrapeError as error:
            self._metrics.failures.labels("capacity").inc()
            self._troubles.failed("capacity", now_s, error)

    def _objection(self, now_s: float, state: TargetState) -> str | None:
        """Return why capacity must not be announced; the reason is logged if it appears after the first decision."""
        # behind a route there is an autoscaler that wakes; processes on this machine have none, and their pods do start
        signals = self._latest.signals if state.backends is None else None
        evidence = ScalingEvidence(
            confirmed=self._decided and state.confirmed and not self._failed,
            fresh=self._latest.is_fresh(now_s),
            demand=signals.waiting + signals.in_flight if signals else 0,
            # with a known problem the dispatchers go on holding, because they can tell their clients the reason
            starts=state.problem is not None or any(pod.phase is not PodPhase.TERMINATING for pod in state.pods),
        )
        objection = PAUSED if self.operator.paused else self._rule.objection(now_s, evidence)
        if objection is None:
            self._troubles.worked("capacity is not announced", now_s)
        elif evidence.confirmed:
            self._troubles.failed("capacity is not announced", now_s, objection)
        return objection

    def _decide(self, now_s: float, state: TargetState, signals: Signals) -> None:
        obs = self._latest.observation(signals, now_s, state, state.concurrency or self._config.concurrency)
        last = self._decision if self._decided else None
        decision = self._starts.applied(self._knowledge.applied(self._policy.decide(obs), last, obs, now_s))
        decision = self.operator.applied(decision)
        if decision.pods != self._decision.pods:
            log.info("%s wants %d pods: %s", self._named_policy.name, decision.pods, decision.reason)
            self._metrics.decisions.inc()
        self._decision = decision
        if self._latest.age_s(now_s) >= self._config.release_after_s:
            self._release(f"no signals for {self._config.release_after_s:g} s", state)
        elif self.operator.paused:
            self._release(PAUSED, state)
        else:
            self._released = False
            self._target.scale_to(decision.pods)
        self._decided, self._decided_s, self._decided_arrived = True, now_s, signals.arrived

    def _release(self, why: str, state: TargetState) -> None:
        if not self._released:
            self._released = True
            log.warning("%s; %s", why, _left(state))
            self._target.release()

    def _forget_old_wish(self, now_s: float) -> None:
        """Export no wish that is not known any more: another autoscaler may follow it."""
        if self.wish(now_s) is None:
            self._metrics.wanted.clear()

    def _ruler(self, state: TargetState) -> tuple[str, str]:
        """Return who decides on the pods, and the reason."""
        if state.leader is not None:
            return "another controller", f"{state.leader} leads"
        if self._refused is None:
            return self._named_policy.name, "its decisions are carried out"
        if self.operator.paused:
            return "paused", f"{PAUSED}; {_left(state)}"
        if self._released and state.backends is None:
            return "another autoscaler", self._refused
        return "lapsed", self._refused

    def _record(self, now_s: float, unix_s: float, state: TargetState) -> None:
        self._recorded_s = now_s
        counts = counts_by_phase([pod.phase for pod in state.pods])
        self._metrics.export(self._named_policy.name, self._decision, counts, state.problem)
        self._forget_old_wish(now_s)
        signals, used = self._latest.signals, self._usage.pod_seconds
        arrived, arrived_s = (signals.arrived, signals.now_s) if signals else (0, None)
        age_s = self._latest.age_s(now_s)
        self.observe(Moment(unix_s, state, self._decision, arrived, arrived_s, used, age_s, *self._ruler(state)))
        line = {
            "unix_s": unix_s,
            **counts,
            "wanted_pods": self._decision.pods,
            "reason": self._decision.reason,
            "figures": dict(self._decision.record),
            "waiting": self._latest.signals.waiting if self._latest.signals else 0,
            "pod_seconds": self._usage.pod_seconds,
            "terminating_pod_seconds": self._usage.terminating_pod_seconds,
            "cold_starts": state.cold_starts,
        }
        try:
            self._recorder.write(line, state.pods, unix_s - now_s)
            self._troubles.worked("record", now_s)
        except OSError as error:  # a full disk must not stop the scaling
            self._troubles.failed("record", now_s, error)


def _left(state: TargetState) -> str:
    """Return what becomes of pods that the controller leaves alone: processes have no other autoscaler."""
    return "the bounds found before hold" if state.backends is None else "the pods keep their number"
