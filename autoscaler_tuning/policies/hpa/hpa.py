"""Kubernetes' Horizontal Pod Autoscaler on CPU utilization, with the metrics pipeline that measures it."""

from dataclasses import dataclass
from math import ceil, isfinite

from autoscaler_tuning.policies.hpa.rules import HpaConfig, HpaPod, NoMetricsError, recommend
from autoscaler_tuning.policies.hpa.stabiliser import Stabiliser
from autoscaler_tuning.policies.observations import Observations
from autoscaler_tuning.types import Decision, Observation, PodPhase, PodSample

__all__ = ["Hpa", "HpaConfig"]

# More CPU than any machine has; caps the usage when a counter jumps, which could otherwise be infinite.
MOST_MILLI = 1e9
# Largest rounding error by which a tick may come early.
SLACK_S = 1e-6


@dataclass(frozen=True, slots=True)
class _Metric:
    """CPU time of one pod up to time_s, and its usage over the window that ended then; None after the first sample."""

    time_s: float
    cpu_seconds: float
    window_s: float = 0.0
    usage_milli: int | None = None


class Hpa:
    """The policy `hpaN`: a target of N % of the CPU request, with at least one pod.

    In Kubernetes the controller and the metrics pipeline have independent clocks. Here the pipeline measures half a
    resolution after the first sync, so with the default settings a sync acts on metrics that are half a resolution old.
    """

    def __init__(self, config: HpaConfig | None = None) -> None:
        self.config = config or HpaConfig()
        self._observations = Observations()
        self._stabiliser = Stabiliser(self.config)
        self._metrics: dict[str, _Metric] = {}
        self._sync_s: float | None = None
        self._sample_s = 0.0
        self._wanted: Decision | None = None

    @property
    def interval_s(self) -> float:
        return min(self.config.sync_s, self.config.metrics_resolution_s) / 2

    def decide(self, obs: Observation) -> Decision:
        """Measure and sync if they are due; without metrics, keep the current pods."""
        obs = self._observations.usable(obs)
        if self._sync_s is None:
            self._sync_s, self._sample_s = obs.now_s, obs.now_s + self.config.metrics_resolution_s / 2
        if obs.now_s >= self._sample_s - SLACK_S:
            self._sample_s = _next_due_s(self._sample_s, self.config.metrics_resolution_s, obs.now_s)
            self._sample(obs)
        if obs.now_s >= self._sync_s - SLACK_S or self._wanted is None:
            self._sync_s = _next_due_s(self._sync_s, self.config.sync_s, obs.now_s)
            self._wanted = self._sync(obs)
        return self._wanted

    def _sync(self, obs: Observation) -> Decision:
        current = obs.ready_pods + obs.starting_pods
        kept = max(self.config.min_pods, current)
        if not obs.fresh:
            return Decision(kept, f"no data: keep {kept} pods")
        self._stabiliser.begin(obs.now_s, current)
        pods = [self._with_metric(pod, obs.now_s) for pod in obs.pods]
        try:
            recommended = recommend(pods, current, self.config)
        except NoMetricsError as error:
            return Decision(kept, f"no metrics: keep {kept} pods ({error})")
        wanted = max(self.config.min_pods, self._stabiliser.desired(obs.now_s, current, recommended))
        target = self.config.target_utilization_percent
        reason = f"cpu: {wanted} pods after stabilisation, {recommended} recommended for a target of {target} %"
        return Decision(wanted, reason)

    def _sample(self, obs: Observation) -> None:
        """Measure each pod as the metrics pipeline does: usage over the interval between its last two samples."""
        measured = [(pod.name, pod.cpu_seconds) for pod in obs.pods if pod.cpu_seconds is not None]
        self._metrics = {name: self._measure(name, cpu, obs.now_s) for name, cpu in measured if isfinite(cpu)}

    def _measure(self, name: str, cpu_seconds: float, now_s: float) -> _Metric:
        before = self._metrics.get(name)
        if before is None:
            return _Metric(now_s, cpu_seconds)
        window_s = now_s - before.time_s
        usage_milli = int(min(MOST_MILLI, 1000 * max(0.0, cpu_seconds - before.cpu_seconds) / window_s))
        return _Metric(now_s, cpu_seconds, window_s, usage_milli)

    def _with_metric(self, pod: PodSample, now_s: float) -> HpaPod:
        metric = self._metrics.get(pod.name)
        return HpaPod(
            phase="Pending" if pod.phase is PodPhase.STARTING else "Running",
            ready=pod.phase is PodPhase.READY,
            started_ago_s=now_s - pod.started_s,
            readiness_changed_ago_s=now_s - (pod.started_s if pod.ready_s is None else pod.ready_s),
            deleting=pod.phase is PodPhase.TERMINATING,
            cpu_usage_milli=metric.usage_milli if metric else None,
            metric_age_s=now_s - metric.time_s if metric else 0.0,
            metric_window_s=metric.window_s if metric else 0.0,
        )


def _next_due_s(due_s: float, every_s: float, now_s: float) -> float:
    """Return the first time after now of a clock that was due at due_s; ticks that were missed are skipped."""
    return due_s + every_s * max(1, ceil((now_s + SLACK_S - due_s) / every_s))
