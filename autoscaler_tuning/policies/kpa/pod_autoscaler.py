"""Knative's PodAutoscaler reconciler: bounds, the way to zero, and who stands in the path of requests.

Source: knative/serving at 98e5ef90aa, pkg/reconciler/autoscaling/kpa (scaler.go, kpa.go).
"""

from dataclasses import dataclass
from enum import StrEnum
from math import inf

# After the progress deadline, how long an activation may still be stuck before the pods are given up.
ACTIVATION_BUFFER_S = 30.0
TIMES = ("stable_window_s", "grace_s", "retention_s", "progress_deadline_s")


class Condition(StrEnum):
    """What the PodAutoscaler says of itself (its condition Active: Unknown, True, False)."""

    ACTIVATING = "activating"
    ACTIVE = "active"
    INACTIVE = "inactive"


@dataclass(frozen=True, slots=True)
class RevisionConfig:
    """Knative's defaults.

    initial_pods: initial-scale; until so many were ready once, it is the least that a reachable Revision keeps.
    scale_to_zero: False keeps the last pod for ever (enable-scale-to-zero).
    grace_s: how long the activator must have been in the path before the last pod may go.
    retention_s: how long the last pod stays at least, once nobody asks.
    reachable: whether a route leads to it; without one min-scale does not count.
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
                raise ValueError(f"{name} must be at least 0 s and finite, was {getattr(self, name)}")
        if self.initial_pods < 0:
            raise ValueError(f"initial_pods must be at least 0, was {self.initial_pods}")


@dataclass(frozen=True, slots=True)
class Wish:
    """What the autoscaler and the annotations say.

    desired: of the autoscaler; None while it never had a metric (Knative's -1).
    excess_burst_capacity: below 0 the activator stays in the path.
    min_pods, max_pods: the bounds; max_pods 0 is without limit.
    """

    desired: int | None
    excess_burst_capacity: int = -1
    min_pods: int = 0
    max_pods: int = 0


class PodAutoscaler:
    """One Revision's, from its condition to the next; reconcile() is to be called at every change and every tick."""

    def __init__(self, config: RevisionConfig, now_s: float, ready_pods: int) -> None:
        """A Revision that is found with pods became active now; one without has been asleep for long."""
        self.config = config
        self.condition = Condition.ACTIVE if ready_pods else Condition.INACTIVE
        self.initialized = ready_pods >= config.initial_pods or not ready_pods
        self._since_s = now_s if ready_pods else -inf
        self._proxy_since_s: float | None = now_s if ready_pods else -inf

    @property
    def direct(self) -> bool:
        """Whether requests pass the activator by."""
        return self._proxy_since_s is None

    def reconcile(self, now_s: float, wish: Wish, ready_pods: int, pods: int) -> int:
        """The pods that the Deployment is set to; pods are those it is set to now.

        A condition that changes is looked at once more at once: writing a status asks for that.
        """
        for _ in Condition:
            before = self.condition
            want, applies = self._scale(now_s, wish)
            self._turn_path(now_s, want, wish, ready_pods)
            self._turn_condition(now_s, want, wish, ready_pods)
            if applies and want is not None:
                pods = want
            if self.condition is before:
                break
        return pods

    def _scale(self, now_s: float, wish: Wish) -> tuple[int | None, bool]:
        """What is wanted, and whether the Deployment is told; Knative's scale()."""
        if wish.desired is None and self.condition is not Condition.ACTIVATING:
            return None, False
        desired = max(wish.desired or 0, self._least(wish))
        if wish.max_pods:
            desired = min(desired, wish.max_pods)
        return (desired, True) if desired else self._to_zero(now_s)

    def _to_zero(self, now_s: float) -> tuple[int | None, bool]:
        """What no pods come to: Knative's handleScaleToZero()."""
        config, lasted_s = self.config, now_s - self._since_s
        if not config.scale_to_zero:
            return 1, True
        if self.condition is Condition.ACTIVATING:
            stuck = lasted_s > config.progress_deadline_s + ACTIVATION_BUFFER_S
            return (0, True) if stuck else (None, False)
        if self.condition is Condition.ACTIVE:
            return (0, False) if lasted_s >= config.stable_window_s else (1, True)
        retention_s = config.retention_s if config.reachable else 0.0
        if lasted_s >= max(config.grace_s, retention_s):
            return 0, True
        if lasted_s < retention_s:
            return 0, False
        return 0, self._proxy_since_s is not None and now_s - self._proxy_since_s >= config.grace_s

    def _least(self, wish: Wish) -> int:
        if not self.config.reachable:
            return 0
        return wish.min_pods if self.initialized else max(wish.min_pods, self.config.initial_pods)

    def _turn_path(self, now_s: float, want: int | None, wish: Wish, ready_pods: int) -> None:
        """The activator is in the path of a Revision without pods, or without room for a burst."""
        asleep = want is None and self.condition is Condition.INACTIVE
        if want == 0 or wish.excess_burst_capacity < 0 or asleep or not ready_pods:
            self._proxy_since_s = now_s if self._proxy_since_s is None else self._proxy_since_s
        else:
            self._proxy_since_s = None

    def _turn_condition(self, now_s: float, want: int | None, wish: Wish, ready_pods: int) -> None:
        """Knative's computeActiveCondition()."""
        enough = max(1 if self.initialized else self.config.initial_pods, wish.min_pods)
        self.initialized = self.initialized or ready_pods >= enough
        awake = self.condition is not Condition.INACTIVE or bool(want)
        if want == 0 or enough == 0:
            turned = Condition.INACTIVE
        elif not awake:
            return
        else:
            turned = Condition.ACTIVE if ready_pods >= enough else Condition.ACTIVATING
        if turned is not self.condition:
            self.condition, self._since_s = turned, now_s
