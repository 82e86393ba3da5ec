"""HPA's settings, and the number of pods that it recommends for a target CPU utilization.

Source: kubernetes 1.36 pkg/controller/podautoscaler/replica_calculator.go.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import ceil, inf

MAY_BE_0 = {
    *("tolerance", "tolerance_up", "tolerance_down", "sidecar_request_milli"),
    *("cpu_initialization_period_s", "initial_readiness_delay_s", "downscale_stabilization_s"),
}


class NoMetricsError(Exception):
    """No pod that counts has a metric, so no recommendation is possible."""


@dataclass(frozen=True, slots=True)
class HpaPod:
    """A pod as the controller sees it; ages are in seconds before now.

    ready: None without a Ready condition. started_ago_s: None if the pod has not started.
    cpu_usage_milli: None without a metric.
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
    """Settings of HPA, with the controller's defaults, and a pod's CPU request.

    sidecar_request_milli: CPU request of Knative's queue-proxy; utilization is relative to the whole pod's request.
    tolerance_up, tolerance_down: replace tolerance in one direction (behavior.scaleUp.tolerance, scaleDown.tolerance);
        None means the same.
    metrics_resolution_s: time between two samples of a pod by the metrics pipeline; usage is the mean between them.
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
                raise ValueError(f"{name} must be finite and at least {least}, got {value}")
        if self.max_pods < self.min_pods:
            raise ValueError(f"max_pods must be at least min_pods, {self.min_pods}, got {self.max_pods}")

    @property
    def request_milli(self) -> int:
        """CPU request of all containers of a pod."""
        return self.cpu_request_milli + self.sidecar_request_milli


def recommend(pods: Sequence[HpaPod], current: int, config: HpaConfig) -> int:
    """Return the pods for the target utilization; raise NoMetricsError if no pod that counts has a metric.

    Pods without a metric and unready pods get a conservative usage, which dampens the change.
    Source: GetResourceReplicas().
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
    return _conservative(ratio, _ratio(usages, config), len(usages), current, config)


def _conservative(ratio: float, new_ratio: float, count: int, current: int, config: HpaConfig) -> int:
    """Return the pods for new_ratio, or the current pods if the assumed usages would reverse the direction.

    ratio, new_ratio: utilization / target without and with the assumed usages.
    """
    if _within(new_ratio, config) or (ratio < 1 < new_ratio) or (new_ratio < 1 < ratio):
        return current
    pods = ceil(new_ratio * count)
    if (new_ratio < 1 and pods > current) or (new_ratio > 1 and pods < current):
        return current
    return pods


def _ratio(usages_milli: Sequence[int], config: HpaConfig) -> float:
    """Return the utilization, truncated to a whole per cent, divided by its target."""
    utilization = 100 * sum(usages_milli) // (len(usages_milli) * config.request_milli)
    return utilization / config.target_utilization_percent


def _within(ratio: float, config: HpaConfig) -> bool:
    up = config.tolerance if config.tolerance_up is None else config.tolerance_up
    down = config.tolerance if config.tolerance_down is None else config.tolerance_down
    return 1 - down <= ratio <= 1 + up


def _is_unready(pod: HpaPod, config: HpaConfig) -> bool:
    """Return whether a pod is pending, or its metric may still include its start.

    A running pod without a metric is missing, not unready.
    """
    if pod.phase == "Pending":
        return True
    if pod.cpu_usage_milli is None:
        return False
    if pod.ready is None or pod.started_ago_s is None:
        return True
    if pod.started_ago_s < config.cpu_initialization_period_s:
        return not pod.ready or pod.metric_age_s > pod.readiness_changed_ago_s - pod.metric_window_s
    return not pod.ready and pod.readiness_changed_ago_s > pod.started_ago_s - config.initial_readiness_delay_s
