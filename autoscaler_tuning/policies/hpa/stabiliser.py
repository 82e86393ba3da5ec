"""HPA's limits on recommendations over time: stabilisation windows, rates and bounds.

Source: kubernetes 1.36 pkg/controller/podautoscaler/horizontal.go.
"""

from dataclasses import dataclass, field
from math import ceil
from typing import Literal

from autoscaler_tuning.policies.hpa.rules import HpaConfig


@dataclass(frozen=True, slots=True)
class ScalingPolicy:
    """Largest change within period_s, in pods or in per cent."""

    kind: Literal["Pods", "Percent"]
    value: int
    period_s: float


@dataclass(frozen=True, slots=True)
class ScalingRules:
    """Rules for one direction of an HPA's behavior."""

    stabilization_window_s: float
    select_policy: Literal["Max", "Min", "Disabled"]
    policies: tuple[ScalingPolicy, ...]


@dataclass(frozen=True, slots=True)
class Behavior:
    """Rules for both directions (spec.behavior)."""

    up: ScalingRules
    down: ScalingRules


@dataclass(slots=True)
class Stabiliser:
    """Turns recommendations into the pods to set, with stabilisation windows, rates and bounds."""

    config: HpaConfig
    behavior: Behavior | None = None
    _seen: list[tuple[float, int]] = field(default_factory=list)
    _ups: list[tuple[float, int]] = field(default_factory=list)
    _downs: list[tuple[float, int]] = field(default_factory=list)

    def begin(self, now_s: float, current: int) -> None:
        """Count the current pods as the first recommendation, so that no pod is removed at once."""
        if not self._seen:
            self._seen.append((now_s, current))

    def desired(self, now_s: float, current: int, recommended: int) -> int:
        """Return the pods to set now; a target at zero pods stays there, because zero disables the HPA."""
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
        """Keep a recommendation for as long as any window needs it."""
        rules = (self.behavior.up, self.behavior.down) if self.behavior else ()
        longest_s = max([self.config.downscale_stabilization_s, *(one.stabilization_window_s for one in rules)])
        self._seen = [one for one in self._seen if one[0] > now_s - longest_s]
        self._seen.append((now_s, recommended))

    def _by_default(self, now_s: float, current: int, recommended: int) -> int:
        """Scale down to the highest recommendation of the window, and up to twice the pods or 4 at most."""
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
        """Return the pods that the policies of one direction allow at most; sign is 1 for up, -1 for down."""
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
    """Store a change in place of the last one that is older than every period of its own direction, if there is one.

    Rules of the other direction with a longer period may then no longer see the replaced change, as in Kubernetes.
    """
    longest_s = max((policy.period_s for policy in rules.policies), default=0.0)
    outdated = [index for index, (time_s, _) in enumerate(events) if time_s <= event[0] - longest_s]
    if outdated:
        events[outdated[-1]] = event
    else:
        events.append(event)
