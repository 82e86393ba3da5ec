"""How Knative comes down to zero pods, for any policy."""

from dataclasses import dataclass, field, replace
from math import inf

from autoscaler_tuning.policies.base import Policy
from autoscaler_tuning.types import Decision, Observation


@dataclass(slots=True)
class ScaleToZero:
    """A wish for no pods keeps one until nobody has asked for the stable window and the grace period.

    In Knative min-scale 0 leaves zero to its own autoscaler: that wants no pod once its stable window saw no request,
    and the last pod ends when the grace period (or the retention period, if longer) is over too.
    Source: knative/serving pkg/reconciler/autoscaling/kpa/scaler.go, handleScaleToZero().
    """

    inner: Policy
    stable_window_s: float = 60.0
    grace_s: float = 30.0
    retention_s: float = 0.0
    _busy_s: float | None = field(default=None, init=False)
    _arrived: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        for name in ("stable_window_s", "grace_s", "retention_s"):
            if not 0 <= getattr(self, name) < inf:
                raise ValueError(f"{name} must be at least 0 s and finite, was {getattr(self, name)}")

    @property
    def interval_s(self) -> float:
        return self.inner.interval_s

    def decide(self, obs: Observation) -> Decision:
        wanted = self.inner.decide(obs)
        if self._busy_s is None or obs.arrived != self._arrived or obs.waiting or obs.in_flight:
            self._busy_s, self._arrived = obs.now_s, obs.arrived
        if wanted.pods or obs.ready_pods + obs.starting_pods == 0:
            return wanted
        idle_s = obs.now_s - self._busy_s
        if idle_s >= self.stable_window_s + max(self.grace_s, self.retention_s):
            return wanted
        return replace(wanted, pods=1, reason=f"to zero: one pod stays, idle for {idle_s:.0f} s ({wanted.reason})")
