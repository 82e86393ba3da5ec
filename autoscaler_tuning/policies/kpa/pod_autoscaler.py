"""Knative's PodAutoscaler reconciler: bounds, scale to zero, and whether the activator is in the request path.

Source: knative/serving at 98e5ef90aa, pkg/reconciler/autoscaling/kpa (scaler.go, kpa.go).
"""

from dataclasses import dataclass
from enum import StrEnum
from math import inf

# How long after the progress deadline a stuck activation still keeps its pods.
ACTIVATION_BUFFER_S = 30.0
TIMES = ("stable_window_s", "grace_s", "retention_s", "progress_deadline_s")


class ActiveCondition(StrEnum):
    """The PodAutoscaler's condition Active: Unknown, True or False."""

    ACTIVATING = "activating"
    ACTIVE = "active"
    INACTIVE = "inactive"


@dataclass(frozen=True, slots=True)
class RevisionConfig:
    """Settings of one Revision's PodAutoscaler, with Knative's defaults.

    initial_pods: initial-scale; a reachable Revision keeps at least this many pods until so many have been ready once.
    scale_to_zero: False keeps the last pod for ever (enable-scale-to-zero).
    grace_s: how long the activator must have been in the path before the last pod may be removed.
    retention_s: shortest time that the last pod is kept after the Revision became inactive.
    reachable: whether a route leads to the Revision; min-scale has no effect without one.
    """

    stable_window_s: float = 60.0
    grace_s: float = 30.0
    retention_s: float = 0.0
    progress_deadline_s: float = 600.0
    initial_pods: int = 1
    scale_to_zero: bool = True
    reachable: bool = True

    def __post_init__(self) -> None:
        for name in TIMES:
            if not 0 <= getattr(self, name) < inf:
                raise ValueError(f"{name} must be at least 0 s and finite, got {getattr(self, name)}")
        if self.initial_pods < 0:
            raise ValueError(f"initial_pods must be at least 0, got {self.initial_pods}")


@dataclass(frozen=True, slots=True)
class ScaleInputs:
    """Inputs of one reconciliation, from the autoscaler and the annotations.

    desired: the autoscaler's desired pods; None until it has had a metric (Knative's -1).
    excess_burst_capacity: the activator stays in the path while this is below 0.
    min_pods, max_pods: min-scale and max-scale; max_pods 0 means no limit.
    """

    desired: int | None
    excess_burst_capacity: int = -1
    min_pods: int = 0
    max_pods: int = 0


class PodAutoscaler:
    """The PodAutoscaler of one Revision; call reconcile() at every change and every tick."""

    def __init__(self, config: RevisionConfig, now_s: float, ready_pods: int) -> None:
        """Treat a Revision with pods as active since now_s, and one without as inactive for a long time."""
        self.config = config
        self.condition = ActiveCondition.ACTIVE if ready_pods else ActiveCondition.INACTIVE
        self.initialized = ready_pods >= config.initial_pods or not ready_pods
        self._since_s = now_s if ready_pods else -inf
        self._proxy_since_s: float | None = now_s if ready_pods else -inf

    @property
    def direct(self) -> bool:
        """Whether requests bypass the activator."""
        return self._proxy_since_s is None

    def reconcile(self, now_s: float, inputs: ScaleInputs, ready_pods: int, pods: int) -> int:
        """Return the number of pods to set on the Deployment, which is set to `pods` now.

        Reconciles again at once if the condition changed, because in Knative a status update triggers that.
        """
        for _ in ActiveCondition:
            before = self.condition
            want, applies = self._scale(now_s, inputs)
            self._update_path(now_s, want, inputs, ready_pods)
            self._update_condition(now_s, want, inputs, ready_pods)
            if applies and want is not None:
                pods = want
            if self.condition is before:
                break
        return pods

    def _scale(self, now_s: float, inputs: ScaleInputs) -> tuple[int | None, bool]:
        """Return the wanted pods and whether to apply them to the Deployment; Knative's scale()."""
        if inputs.desired is None and self.condition is not ActiveCondition.ACTIVATING:
            return None, False
        desired = max(inputs.desired or 0, self._least(inputs))
        if inputs.max_pods:
            desired = min(desired, inputs.max_pods)
        return (desired, True) if desired else self._to_zero(now_s)

    def _to_zero(self, now_s: float) -> tuple[int | None, bool]:
        """Return the same as _scale() when no pods are desired; Knative's handleScaleToZero()."""
        config, lasted_s = self.config, now_s - self._since_s
        if not config.scale_to_zero:
            return 1, True
        if self.condition is ActiveCondition.ACTIVATING:
            stuck = lasted_s > config.progress_deadline_s + ACTIVATION_BUFFER_S
            return (0, True) if stuck else (None, False)
        if self.condition is ActiveCondition.ACTIVE:
            return (0, False) if lasted_s >= config.stable_window_s else (1, True)
        retention_s = config.retention_s if config.reachable else 0.0
        if lasted_s >= max(config.grace_s, retention_s):
            return 0, True
        if lasted_s < retention_s:
            return 0, False
        return 0, self._proxy_since_s is not None and now_s - self._proxy_since_s >= config.grace_s

    def _least(self, inputs: ScaleInputs) -> int:
        if not self.config.reachable:
            return 0
        return inputs.min_pods if self.initialized else max(inputs.min_pods, self.config.initial_pods)

    def _update_path(self, now_s: float, want: int | None, inputs: ScaleInputs, ready_pods: int) -> None:
        """Put the activator into the path if there are no pods or no spare capacity for a burst, else take it out."""
        inactive = want is None and self.condition is ActiveCondition.INACTIVE
        if want == 0 or inputs.excess_burst_capacity < 0 or inactive or not ready_pods:
            self._proxy_since_s = now_s if self._proxy_since_s is None else self._proxy_since_s
        else:
            self._proxy_since_s = None

    def _update_condition(self, now_s: float, want: int | None, inputs: ScaleInputs, ready_pods: int) -> None:
        """Set the condition as Knative's computeActiveCondition() does."""
        enough = max(1 if self.initialized else self.config.initial_pods, inputs.min_pods)
        self.initialized = self.initialized or ready_pods >= enough
        activated = self.condition is not ActiveCondition.INACTIVE or bool(want)
        if want == 0 or enough == 0:
            condition = ActiveCondition.INACTIVE
        elif not activated:
            return
        else:
            condition = ActiveCondition.ACTIVE if ready_pods >= enough else ActiveCondition.ACTIVATING
        if condition is not self.condition:
            self.condition, self._since_s = condition, now_s
