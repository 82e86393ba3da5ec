"""Our own policy: size for the rate a cold start ahead, answer a backlog, let go at break-even."""

from collections import deque
from dataclasses import dataclass, field
from math import ceil, isfinite
from statistics import median

from autoscaler_tuning.forecast import ForecastConfig, RateForecast
from autoscaler_tuning.queueing import pods_for
from autoscaler_tuning.types import Decision, Observation


@dataclass(frozen=True, slots=True)
class ElasticConfig:
    """One set of parameters for every trace, simulated and live.

    late_ratio: share of requests that the sizing lets be late in a steady state.
    drain_s: a backlog that can still be answered in time is to be gone within this time.
    backlog_share: a backlog counts when it keeps each ready pod busy for this share of slo_s.
    hold_s: how long capacity stays after it was last wanted: about the time that a new pod would cost.
    zero_after_s: time without a request after which no pod is wanted.
    first_service_time_s, first_cold_start_s: believed until measured.
    """

    slo_s: float = 0.5
    interval_s: float = 0.5
    late_ratio: float = 1e-3
    drain_s: float = 0.5
    backlog_share: float = 0.3
    hold_s: float = 8.0
    zero_after_s: float = 30.0
    first_service_time_s: float = 0.1
    first_cold_start_s: float = 3.0
    forecast: ForecastConfig = field(default_factory=ForecastConfig)

    def __post_init__(self) -> None:
        for name in ("slo_s", "interval_s", "late_ratio", "drain_s", "first_service_time_s"):
            value = getattr(self, name)
            if not (isfinite(value) and value > 0):
                raise ValueError(f"{name} must be above 0 and finite, was {value}")


class Elastic:
    """The policy `elastic`.

    Its wish is the largest of three: what the forecast upper rate needs by queueing theory, what a backlog that can
    still be in time needs, and what was wanted within the last hold_s.
    """

    def __init__(self, config: ElasticConfig | None = None) -> None:
        self.config = config or ElasticConfig()
        self._forecast = RateForecast(self.config.forecast)
        self._held: deque[tuple[float, int]] = deque()
        self._last_arrival_s: float | None = None
        self._arrived = 0

    @property
    def interval_s(self) -> float:
        return self.config.interval_s

    def decide(self, obs: Observation) -> Decision:
        """Decide one tick; without fresh signals, keep what there is."""
        if not obs.fresh:
            return Decision(obs.ready_pods + obs.starting_pods, "no data: holding")
        self._forecast.update(obs.now_s, obs.arrived)
        if obs.arrived > self._arrived or obs.waiting or obs.in_flight:
            self._last_arrival_s, self._arrived = obs.now_s, obs.arrived
        if self._last_arrival_s is None:
            return Decision(0, "idle: no request yet")
        if obs.now_s - self._last_arrival_s >= self.config.zero_after_s:
            self._held.clear()
            return Decision(0, f"idle: no request for {self.config.zero_after_s:g} s")
        return self._hold(obs.now_s, max(self._for_rate(obs), self._for_backlog(obs), key=lambda wish: wish.pods))

    def _for_rate(self, obs: Observation) -> Decision:
        service_time_s = self._service_time_s(obs)
        horizon_s = self._cold_start_s(obs) + self.config.interval_s
        upper_rps = self._forecast.upper_rps(obs.now_s, horizon_s)
        pods = max(1, pods_for(upper_rps, service_time_s, self.config.slo_s, self.config.late_ratio))
        return Decision(pods, f"rate: {pods} pods for up to {upper_rps:.1f}/s of {service_time_s:.3f} s each")

    def _for_backlog(self, obs: Observation) -> Decision:
        backlog_s = obs.feasible_backlog_s
        if backlog_s <= self.config.backlog_share * self.config.slo_s * max(1, obs.ready_pods):
            return Decision(0, "no backlog")
        busy_pods = self._forecast.level_rps * self._service_time_s(obs)
        pods = ceil(busy_pods + backlog_s / self.config.drain_s)
        return Decision(pods, f"backlog: {pods} pods for {backlog_s:.2f} s of work waiting")

    def _hold(self, now_s: float, wish: Decision) -> Decision:
        while self._held and self._held[0][0] <= now_s - self.config.hold_s:
            self._held.popleft()
        while self._held and self._held[-1][1] <= wish.pods:
            self._held.pop()
        self._held.append((now_s, wish.pods))
        pods = self._held[0][1]
        if pods == wish.pods:
            return wish
        return Decision(pods, f"hold: {pods} pods wanted within the last {self.config.hold_s:g} s")

    def _service_time_s(self, obs: Observation) -> float:
        measured_s = obs.service_time_s
        return measured_s if measured_s is not None and measured_s > 0 else self.config.first_service_time_s

    def _cold_start_s(self, obs: Observation) -> float:
        starts_s = [pod.ready_s - pod.started_s for pod in obs.pods if pod.ready_s is not None]
        return median(starts_s) if starts_s else self.config.first_cold_start_s
