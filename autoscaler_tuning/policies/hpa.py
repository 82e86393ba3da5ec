"""HPA: what Kubernetes' Horizontal Pod Autoscaler does on CPU utilization.

Source: kubernetes 1.36 pkg/controller/podautoscaler (replica_calculator.go, horizontal.go).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from math import ceil, inf, isfinite
from typing import Literal

from autoscaler_tuning.types import Decision, Observation, PodPhase, PodSample

# More than any machine has: a counter that leaps must not become an endless number.
MOST_MILLI = 1e9
# A tick may come a rounding error before its time.
SLACK_S = 1e-6
MAY_BE_0 = {
    *("tolerance", "tolerance_up", "tolerance_down", "sidecar_request_milli"),
    *("cpu_initialization_period_s", "initial_readiness_delay_s", "downscale_stabilization_s"),
}


class NoMetricsError(Exception):
    """No pod that counts has a metric, so nothing can be recommended."""


@dataclass(frozen=True, slots=True)
class HpaPod:
    """A pod as the controller sees it; ages are seconds before now.

    ready None: it has no Ready condition. cpu_usage_milli None: it has no metric.
    """

    phase: str
    ready: bool | None
    started_ago_s: float | None
    readiness_changed_ago_s: float = 0.0
    deleting: bool = False
    cpu_usage_milli: int | None = None
    metric_age_s: float = 0.0
    metric_window_s: float = 0.0


@dataclass(frozen=True, slots=True)
class HpaConfig:
    """The controller's defaults, and a pod's CPU request.

    sidecar_request_milli: what Knative's queue-proxy requests beside it; utilization is of the pod's whole request.
    tolerance_up, tolerance_down: where they differ from tolerance (behavior.scaleUp.tolerance, scaleDown.tolerance).
    metrics_resolution_s: time between two looks of the metrics pipeline at a pod; usage is the mean in between, and at
        a sync half of it old.
    """

    target_utilization_percent: int = 70
    cpu_request_milli: int = 200
    sidecar_request_milli: int = 25
    tolerance: float = 0.1
    tolerance_up: float | None = None
    tolerance_down: float | None = None
    cpu_initialization_period_s: float = 300.0
    initial_readiness_delay_s: float = 30.0
    downscale_stabilization_s: float = 300.0
    min_pods: int = 1
    max_pods: int = 1_000_000
    sync_s: float = 15.0
    metrics_resolution_s: float = 15.0

    def __post_init__(self) -> None:
        for name in (setting.name for setting in fields(self)):
            value, least = getattr(self, name), 0 if name in MAY_BE_0 else 1
            if value is not None and not least <= value < inf:
                raise ValueError(f"{name} must be finite and at least {least}, was {value}")
        if self.max_pods < self.min_pods:
            raise ValueError(f"max_pods must be at least min_pods, {self.min_pods}, was {self.max_pods}")

    @property
    def request_milli(self) -> int:
        """Of all containers of a pod."""
        return self.cpu_request_milli + self.sidecar_request_milli


def recommend(pods: Sequence[HpaPod], current: int, config: HpaConfig) -> int:
    """GetResourceReplicas: pods for the target utilization, counting missing and unready pods on the careful side.

    Raises NoMetricsError.
    """
    alive = [pod for pod in pods if not pod.deleting and pod.phase != "Failed"]
    unready = [pod for pod in alive if _is_unready(pod, config)]
    missing = [pod for pod in alive if pod not in unready and pod.cpu_usage_milli is None]
    usages = [pod.cpu_usage_milli for pod in alive if pod not in unready and pod.cpu_usage_milli is not None]
    if not usages:
        raise NoMetricsError("did not receive metrics for targeted pods (pods might be unready)")
    ratio = _ratio(usages, config)
    add_unready = bool(unready) and ratio > 1
    if not add_unready and not missing:
        return current if _within(ratio, config) else ceil(ratio * len(usages))
    if ratio < 1:
        fallback = config.request_milli * max(100, config.target_utilization_percent) // 100
        usages += [fallback] * len(missing)
    elif ratio > 1:
        usages += [0] * len(missing)
    if add_unready:
        usages += [0] * len(unready)
    return _careful(ratio, _ratio(usages, config), len(usages), current, config)


def _careful(ratio: float, new_ratio: float, count: int, current: int, config: HpaConfig) -> int:
    """No change where the pods that were guessed at would turn the direction."""
    if _within(new_ratio, config) or (ratio < 1 < new_ratio) or (new_ratio < 1 < ratio):
        return current
    pods = ceil(new_ratio * count)
    if (new_ratio < 1 and pods > current) or (new_ratio > 1 and pods < current):
        return current
    return pods


def _ratio(usages_milli: Sequence[int], config: HpaConfig) -> float:
    """Of the utilization, in whole per cent, to its target."""
    utilization = 100 * sum(usages_milli) // (len(usages_milli) * config.request_milli)
    return utilization / config.target_utilization_percent


def _within(ratio: float, config: HpaConfig) -> bool:
    up = config.tolerance if config.tolerance_up is None else config.tolerance_up
    down = config.tolerance if config.tolerance_down is None else config.tolerance_down
    return 1 - down <= ratio <= 1 + up


def _is_unready(pod: HpaPod, config: HpaConfig) -> bool:
    """Pending; or its metric may still be that of its start. One without a metric is missing, not unready."""
    if pod.phase == "Pending":
        return True
    if pod.cpu_usage_milli is None:
        return False
    if pod.ready is None or pod.started_ago_s is None:
        return True
    if pod.started_ago_s < config.cpu_initialization_period_s:
        return not pod.ready or pod.metric_age_s > pod.readiness_changed_ago_s - pod.metric_window_s
    return not pod.ready and pod.readiness_changed_ago_s > pod.started_ago_s - config.initial_readiness_delay_s


@dataclass(frozen=True, slots=True)
class ScalingPolicy:
    """So many pods, or so many per cent, within period_s."""

    kind: Literal["Pods", "Percent"]
    value: int
    period_s: float


@dataclass(frozen=True, slots=True)
class ScalingRules:
    """One direction of an HPA's behavior."""

    stabilization_window_s: float
    select_policy: Literal["Max", "Min", "Disabled"]
    policies: tuple[ScalingPolicy, ...]


@dataclass(frozen=True, slots=True)
class Behavior:
    """spec.behavior: rules for both directions."""

    up: ScalingRules
    down: ScalingRules


@dataclass(slots=True)
class Stabiliser:
    """What the controller makes of recommendations over time: stabilisation, rates and bounds."""

    config: HpaConfig
    behavior: Behavior | None = None
    _seen: list[tuple[float, int]] = field(default_factory=list)
    _ups: list[tuple[float, int]] = field(default_factory=list)
    _downs: list[tuple[float, int]] = field(default_factory=list)

    def begin(self, now_s: float, current: int) -> None:
        """The first look at a target counts its present size as a recommendation, so that nothing is cut at once."""
        if not self._seen:
            self._seen.append((now_s, current))

    def desired(self, now_s: float, current: int, recommended: int) -> int:
        """The pods to set now; a target at no pods is left alone, as its owner wants it."""
        if current == 0 and self.config.min_pods:
            return 0
        if current > self.config.max_pods:
            return self.config.max_pods
        if current < self.config.min_pods:
            return self.config.min_pods
        if self.behavior:
            pods = self._by_rules(now_s, current, recommended, self.behavior)
        else:
            pods = self._by_default(now_s, current, recommended)
        self._remember(now_s, recommended)
        if self.behavior and pods > current:
            _store(self._ups, (now_s, pods - current), self.behavior.up)
        elif self.behavior and pods < current:
            _store(self._downs, (now_s, pods - current), self.behavior.down)
        return pods

    def _remember(self, now_s: float, recommended: int) -> None:
        """For as long as any window may ask."""
        rules = (self.behavior.up, self.behavior.down) if self.behavior else ()
        longest_s = max([self.config.downscale_stabilization_s, *(one.stabilization_window_s for one in rules)])
        self._seen = [one for one in self._seen if one[0] > now_s - longest_s]
        self._seen.append((now_s, recommended))

    def _by_default(self, now_s: float, current: int, recommended: int) -> int:
        """Down only to the highest recommendation of the window; up to twice the pods, or four."""
        since_s = now_s - self.config.downscale_stabilization_s
        pods = max([recommended, *(seen for time_s, seen in self._seen if time_s > since_s)])
        most = min(self.config.max_pods, max(2 * current, 4))
        return max(self.config.min_pods, min(most, pods))

    def _by_rules(self, now_s: float, current: int, recommended: int, behavior: Behavior) -> int:
        up_since_s = now_s - behavior.up.stabilization_window_s
        down_since_s = now_s - behavior.down.stabilization_window_s
        least = min([recommended, *(seen for time_s, seen in self._seen if time_s > up_since_s)])
        most = max([recommended, *(seen for time_s, seen in self._seen if time_s > down_since_s)])
        stable = min(max(current, least), most)
        if stable > current:
            limit = max(current, self._limit(now_s, current, behavior.up, 1))
            return min(stable, self.config.max_pods, limit)
        if stable < current:
            limit = min(current, self._limit(now_s, current, behavior.down, -1))
            return max(stable, self.config.min_pods, limit)
        return stable

    def _limit(self, now_s: float, current: int, rules: ScalingRules, sign: int) -> int:
        """How far the policies of one direction let it go; sign is 1 for up, -1 for down."""
        if rules.select_policy == "Disabled":
            return current
        changes = self._ups + self._downs
        limits = []
        for policy in rules.policies:
            start = current - sum(change for time_s, change in changes if time_s > now_s - policy.period_s)
            if policy.kind == "Pods":
                limits.append(start + sign * policy.value)
            else:
                pods = start * (1 + sign * policy.value / 100)
                limits.append(ceil(pods) if sign > 0 else int(pods))
        return max(limits) if (sign > 0) == (rules.select_policy == "Max") else min(limits)


def _store(events: list[tuple[float, int]], event: tuple[float, int], rules: ScalingRules) -> None:
    """Keep a change; it takes the place of the last one that is older than every period of its own direction.

    So the rules of the other direction, where their periods are longer, may no longer see that one: as upstream has it.
    """
    longest_s = max((policy.period_s for policy in rules.policies), default=0.0)
    outdated = [index for index, (time_s, _) in enumerate(events) if time_s <= event[0] - longest_s]
    if outdated:
        events[outdated[-1]] = event
    else:
        events.append(event)


@dataclass(frozen=True, slots=True)
class _Metric:
    """CPU of one pod up to time_s, and its usage over the window that ended there; None with the first sample."""

    time_s: float
    cpu_seconds: float
    window_s: float = 0.0
    usage_milli: int | None = None


class Hpa:
    """The policy `hpaN`: N % of the CPU request, on metrics that are half a resolution old; at least one pod.

    The controller syncs and the pipeline measures on clocks of their own; here the pipeline is half a resolution late.
    """

    def __init__(self, config: HpaConfig | None = None) -> None:
        self.config = config or HpaConfig()
        self._stabiliser = Stabiliser(self.config)
        self._metrics: dict[str, _Metric] = {}
        self._sync_s: float | None = None
        self._sample_s = 0.0
        self._wanted: Decision | None = None

    @property
    def interval_s(self) -> float:
        return min(self.config.sync_s, self.config.metrics_resolution_s) / 2

    def decide(self, obs: Observation) -> Decision:
        """Sync or measure, whichever is due; without metrics, keep what there is."""
        if self._sync_s is None:
            self._sync_s, self._sample_s = obs.now_s, obs.now_s + self.config.metrics_resolution_s / 2
        if obs.now_s >= self._sample_s - SLACK_S:
            self._sample_s = _next(self._sample_s, self.config.metrics_resolution_s, obs.now_s)
            self._sample(obs)
        if obs.now_s >= self._sync_s - SLACK_S or self._wanted is None:
            self._sync_s = _next(self._sync_s, self.config.sync_s, obs.now_s)
            self._wanted = self._sync(obs)
        return self._wanted

    def _sync(self, obs: Observation) -> Decision:
        current = obs.ready_pods + obs.starting_pods
        if not obs.fresh:
            return Decision(max(self.config.min_pods, current), "no data: holding")
        self._stabiliser.begin(obs.now_s, current)
        pods = [self._seen(pod, obs.now_s) for pod in obs.pods]
        try:
            recommended = recommend(pods, current, self.config)
        except NoMetricsError as error:
            return Decision(max(self.config.min_pods, current), f"no metrics: holding ({error})")
        wanted = max(self.config.min_pods, self._stabiliser.desired(obs.now_s, current, recommended))
        target = self.config.target_utilization_percent
        return Decision(wanted, f"cpu: {recommended} pods recommended for {target} %, {wanted} after stabilisation")

    def _sample(self, obs: Observation) -> None:
        """The metrics pipeline: usage over the interval between its last two looks at each pod."""
        measured = [(pod.name, pod.cpu_seconds) for pod in obs.pods if pod.cpu_seconds is not None]
        self._metrics = {name: self._measure(name, cpu, obs.now_s) for name, cpu in measured if isfinite(cpu)}

    def _measure(self, name: str, cpu_seconds: float, now_s: float) -> _Metric:
        before = self._metrics.get(name)
        if before is None:
            return _Metric(now_s, cpu_seconds)
        window_s = now_s - before.time_s
        usage_milli = int(min(MOST_MILLI, 1000 * max(0.0, cpu_seconds - before.cpu_seconds) / window_s))
        return _Metric(now_s, cpu_seconds, window_s, usage_milli)

    def _seen(self, pod: PodSample, now_s: float) -> HpaPod:
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


def _next(due_s: float, every_s: float, now_s: float) -> float:
    """The next time after now on a clock that was due at due_s; what was slept through is left out."""
    return due_s + every_s * max(1, ceil((now_s + SLACK_S - due_s) / every_s))
