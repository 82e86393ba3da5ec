"""The ten-line baseline: as many pods as the busiest second of late asks for, to show what more thought is worth."""

from dataclasses import dataclass
from math import ceil, inf

from autoscaler_tuning.types import Decision, Observation


@dataclass(frozen=True, slots=True)
class PeakConfig:
    """utilization: share of a pod's time that the busiest of the last window_s seconds may fill.

    zero_after_s: time without a request after which no pod is wanted. first_service_time_s: believed until measured.
    """

    utilization: float = 0.85
    window_s: int = 10
    zero_after_s: float = 30.0
    first_service_time_s: float = 0.1
    interval_s: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.utilization <= 1:
            raise ValueError(f"utilization must be above 0 and at most 1, was {self.utilization}")
        if not 1 <= self.window_s <= 60:  # older seconds may not be observed
            raise ValueError(f"window_s must be from 1 to 60, was {self.window_s}")
        if not 0 <= self.zero_after_s < inf:
            raise ValueError(f"zero_after_s must be finite and at least 0, was {self.zero_after_s}")
        for name in ("first_service_time_s", "interval_s"):
            if not 0 < getattr(self, name) < inf:
                raise ValueError(f"{name} must be above 0 and finite, was {getattr(self, name)}")


class Peak:
    """The policy `peak`."""

    def __init__(self, config: PeakConfig | None = None) -> None:
        self.config = config or PeakConfig()
        self._busy_s: float | None = None
        self._arrived = 0

    @property
    def interval_s(self) -> float:
        return self.config.interval_s

    def decide(self, obs: Observation) -> Decision:
        """Decide one tick; without fresh signals, keep what there is."""
        if not obs.fresh:
            return Decision(obs.ready_pods + obs.starting_pods, "no data: holding")
        if obs.arrived > self._arrived or obs.waiting or obs.in_flight:
            self._busy_s, self._arrived = obs.now_s, obs.arrived
        if self._busy_s is None or obs.now_s - self._busy_s >= self.config.zero_after_s:
            return Decision(0, "idle: nobody asks")
        peak_rps = max((second.arrivals for second in obs.seconds[-self.config.window_s :]), default=0)
        service_time_s = obs.service_time_s or self.config.first_service_time_s
        needed = peak_rps * service_time_s / self.config.utilization
        pods = max(1, ceil(needed - 1e-9))  # a rounding error is no pod
        return Decision(pods, f"peak: {pods} pods for {peak_rps}/s, the busiest of {self.config.window_s} s")
