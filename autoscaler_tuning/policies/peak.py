"""A ten-line baseline: pods for the busiest recent second. It shows how much a more elaborate policy gains."""

from dataclasses import dataclass
from math import ceil, inf

from autoscaler_tuning.policies.observations import Observations
from autoscaler_tuning.policies.service_times import BelievedServiceTime
from autoscaler_tuning.types import Decision, Observation


@dataclass(frozen=True, slots=True)
class PeakConfig:
    """Settings of `peak`.

    utilization: share of a pod's time that requests may fill in the busiest of the last window_s seconds.
    zero_after_s: time without a request after which the policy scales to zero.
    first_service_time_s: assumed until a service time has been measured.
    """

    utilization: float = 0.85
    window_s: int = 10
    zero_after_s: float = 30.0
    first_service_time_s: float = 0.1
    interval_s: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.utilization <= 1:
            raise ValueError(f"utilization must be above 0 and at most 1, got {self.utilization}")
        if not 1 <= self.window_s <= 60:  # an observation need not keep older seconds
            raise ValueError(f"window_s must be from 1 to 60, got {self.window_s}")
        if not 0 <= self.zero_after_s < inf:
            raise ValueError(f"zero_after_s must be finite and at least 0, got {self.zero_after_s}")
        for name in ("first_service_time_s", "interval_s"):
            if not 0 < getattr(self, name) < inf:
                raise ValueError(f"{name} must be above 0 and finite, got {getattr(self, name)}")


class Peak:
    """The policy `peak`."""

    def __init__(self, config: PeakConfig | None = None) -> None:
        self.config = config or PeakConfig()
        self._observations = Observations()
        self._services = BelievedServiceTime(self.config.first_service_time_s)
        self._busy_s: float | None = None
        self._arrived = 0

    @property
    def interval_s(self) -> float:
        return self.config.interval_s

    def decide(self, obs: Observation) -> Decision:
        """Decide one tick; without fresh signals, keep the current pods."""
        obs = self._observations.usable(obs)
        if not obs.fresh:
            current = obs.ready_pods + obs.starting_pods
            return Decision(current, f"no data: keep {current} pods")
        if obs.arrived > self._arrived or obs.waiting or obs.in_flight:
            self._busy_s, self._arrived = obs.now_s, obs.arrived
        self._services.update(obs)
        if self._busy_s is None or obs.now_s - self._busy_s >= self.config.zero_after_s:
            return Decision(0, f"idle: 0 pods, no request within {self.config.zero_after_s:g} s")
        peak_rps = max((second.arrivals for second in obs.seconds[-self.config.window_s :]), default=0)
        needed = peak_rps * self._services.used_s / self.config.utilization
        pods = max(1, ceil(needed - 1e-9))  # a rounding error must not add a pod
        window_s = self.config.window_s
        return Decision(pods, f"peak: {pods} pods for {peak_rps} req/s, the busiest of the last {window_s} s")
