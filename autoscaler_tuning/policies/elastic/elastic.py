"""Our own policy: as many pods as their price and the price of late answers make best."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil, inf

import numpy as np

from autoscaler_tuning.policies.elastic.error_paths import ErrorPathConfig, ErrorPaths
from autoscaler_tuning.policies.elastic.forecast import ForecastConfig, RateForecast
from autoscaler_tuning.policies.start_times import StartTimes
from autoscaler_tuning.results import FloatArray
from autoscaler_tuning.types import Decision, Observation

# Elastic without one of its parts.
ABLATIONS = {
    "elastic-nohold": "elastic[hold_s=0]",
    "elastic-nohedge": "elastic[hedge=1]",
    "elastic-nojump": "elastic[forecast.jump_sigmas=1e9]",
    "elastic-notrend": "elastic[forecast.trend_gain=0]",
    "elastic-nosurprise": "elastic[scenarios.surprise=0]",
    "elastic-nolikeness": "elastic[scenarios.likeness=0]",
    "elastic-nopast": "elastic[scenarios.memory_s=0.001]",
}


@dataclass(frozen=True, slots=True)
class ElasticConfig:
    """One set of parameters for every trace, simulated and live.

    late_price: pod-seconds that one late answer is worth: the knob between cost and lateness.
    hold_s: how long capacity stays after it was last wanted: about the time that a new pod would cost.
    hedge: pods that may be started, at the most, for each that is missing while requests are late.
    zero_after_s: time without a request after which no pod may be wanted.
    first_service_time_s, first_cold_start_s: believed until measured.
    """

    slo_s: float = 0.5
    interval_s: float = 0.5
    late_price: float = 250.0
    hold_s: float = 10.0
    hedge: float = 3.0
    zero_after_s: float = 30.0
    most_pods: int = 1000
    first_service_time_s: float = 0.1
    first_cold_start_s: float = 3.0
    forecast: ForecastConfig = field(default_factory=ForecastConfig)
    scenarios: ErrorPathConfig = field(default_factory=ErrorPathConfig)

    def __post_init__(self) -> None:
        for name in ("slo_s", "interval_s", "late_price", "first_service_time_s", "first_cold_start_s", "most_pods"):
            if not 0 < getattr(self, name) < inf:
                raise ValueError(f"{name} must be above 0 and finite, was {getattr(self, name)}")
        for name, least in (("hold_s", 0), ("zero_after_s", 0), ("hedge", 1)):
            if not least <= getattr(self, name) < inf:
                raise ValueError(f"{name} must be finite and at least {least}, was {getattr(self, name)}")


class Elastic:
    """The policy `elastic`.

    A newsvendor's choice at every tick: a pod costs a pod-second a second; each scenario of the time until a new pod
    would be ready tells how many answers are late with n pods; n makes the sum least. While requests are late already,
    more pods are started than are missing, since the quickest of many are ready sooner; the rest is stopped then.
    Source: Arrow, Harris and Marschak (1951), the newsvendor's trade-off.
    """

    def __init__(self, config: ElasticConfig | None = None) -> None:
        self.config = config or ElasticConfig()
        self._forecast = RateForecast(self.config.forecast)
        self._scenarios = ErrorPaths(self.config.scenarios, self.config.interval_s)
        self._starts = StartTimes(self.config.first_cold_start_s)
        self._held: deque[tuple[float, int]] = deque()
        self._updated_s = -inf
        self._arrived = 0
        self._busy_s: float | None = None
        self._pods = 1

    @property
    def interval_s(self) -> float:
        return self.config.interval_s

    def decide(self, obs: Observation) -> Decision:
        """Decide one tick; without fresh signals, keep what there is."""
        if not obs.fresh:
            self._scenarios.interrupt()
            return Decision(obs.ready_pods + obs.starting_pods, "no data: holding")
        if self._updated_s == -inf:  # what is found running was wanted by somebody
            self._held.append((obs.now_s, obs.ready_pods + obs.starting_pods))
        self._learn(obs)
        if self._busy_s is None:
            return Decision(0, "idle: no request yet")
        service_time_s = obs.service_time_s or self.config.first_service_time_s
        self._pods = self._best(obs, service_time_s)
        if obs.now_s - self._busy_s < self.config.zero_after_s:
            self._pods = max(1, self._pods)
        elif not self._scenarios.jumps_recur:  # by its price alone a pod would wait minutes for who came once
            self._pods = 0
        held = self._hold(obs.now_s, self._pods)
        pods = self._hedged(obs, held, service_time_s)
        return Decision(pods, self._reason(obs, pods, held), self._record(obs, service_time_s, held))

    def _learn(self, obs: Observation) -> None:
        self._starts.update(obs.pods)
        if obs.arrived > self._arrived or obs.waiting or obs.in_flight:
            self._busy_s, self._arrived = obs.now_s, obs.arrived
        elapsed_s = obs.now_s - self._updated_s
        if elapsed_s < self.config.interval_s / 2:  # asked out of turn: a rate over so short a time is noise
            return
        if elapsed_s > 3 * self.config.interval_s:
            self._scenarios.interrupt()
        self._updated_s = obs.now_s
        self._forecast.update(obs.now_s, obs.arrived)
        self._scenarios.update(obs.arrived, self._forecast.level_rps)

    def _best(self, obs: Observation, service_time_s: float) -> int:
        """The number of pods with the least cost, found downhill from the last: the cost is convex in it."""
        interval_s, steps = self.config.interval_s, self.config.scenarios.steps
        horizon_s = self._starts.mean_s + interval_s
        times_s = interval_s * np.arange(1, min(steps, max(2, round(horizon_s / interval_s))) + 1)
        expected = np.array([self._forecast.expected(time_s) for time_s in times_s])
        asleep = obs.now_s - (self._busy_s or 0.0) >= self.config.zero_after_s
        surprise_rps = 0.0 if asleep else self.config.scenarios.surprise_pods / service_time_s
        paths, weights = self._scenarios.draw(expected, self._forecast.level_rps, surprise_rps)
        paths = paths + obs.feasible_backlog_s / service_time_s
        served = np.maximum(0.0, times_s + self.config.slo_s - service_time_s) / service_time_s
        price = self.config.late_price / float(times_s[-1])
        return _least(
            lambda pods: pods + price * _late(paths, weights, served * pods), self._pods, self.config.most_pods
        )

    def _hold(self, now_s: float, pods: int) -> int:
        while self._held and self._held[0][0] <= now_s - self.config.hold_s:
            self._held.popleft()
        while self._held and self._held[-1][1] <= pods:
            self._held.pop()
        self._held.append((now_s, pods))
        return self._held[0][1]

    def _hedged(self, obs: Observation, wanted: int, service_time_s: float) -> int:
        """More than wanted while the ready pods cannot keep up: as many as their earlier readiness is worth."""
        missing = wanted - obs.ready_pods
        late_rps = self._forecast.level_rps - obs.ready_pods / service_time_s
        if missing <= 0 or late_rps <= 0:
            return wanted
        costs = {
            started: (started + self.config.late_price * late_rps) * self._starts.until_ready_s(missing, started)
            for started in range(missing, ceil(self.config.hedge * missing) + 1)
        }
        return obs.ready_pods + min(costs, key=costs.__getitem__)

    def _reason(self, obs: Observation, pods: int, held: int) -> str:
        level = f"{self._forecast.level_rps:.1f}/s"
        if pods > held:
            return f"hedge: {pods} pods started so that {held} are ready soon, at {level}"
        if held > self._pods:
            return f"hold: {held} pods wanted within the last {self.config.hold_s:g} s, {self._pods} now at {level}"
        if pods == 0:
            return f"idle: no request for {obs.now_s - (self._busy_s or 0.0):.0f} s, {level} expected"
        cause = "jump" if self._forecast.jumped else "rate"
        return f"{cause}: {pods} pods cost least at {level} with {obs.feasible_backlog_s:.2f} s of work waiting"

    def _record(self, obs: Observation, service_time_s: float, held: int) -> dict[str, float]:
        return {
            "level_rps": self._forecast.level_rps,
            "trend_rps_per_s": self._forecast.trend_rps_per_s,
            "service_time_s": service_time_s,
            "cold_start_s": self._starts.mean_s,
            "feasible_backlog_s": obs.feasible_backlog_s,
            "best_pods": self._pods,
            "held_pods": held,
        }


def _late(paths: FloatArray, weights: FloatArray, served: FloatArray) -> float:
    """Mean number of late answers: of each scenario, the most by which arrivals run ahead of what can be in time.

    paths: cumulative arrivals, shape (ticks, scenarios); served: answers in time up to each tick, shape (ticks,).
    """
    return float(np.maximum(0.0, (paths - served[:, None]).max(axis=0)) @ weights)


def _least(cost: Callable[[int], float], first: int, most: int) -> int:
    """Where a convex cost over whole numbers from 0 to most is least, downhill from first."""
    best, best_cost = first, cost(first)
    for step in (1, -1):
        while 0 <= best + step <= most and (next_cost := cost(best + step)) < best_cost:
            best, best_cost = best + step, next_cost
    return best
