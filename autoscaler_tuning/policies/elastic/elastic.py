"""Our own policy: it minimises the sum of the cost of pods and the cost of late responses."""

from collections import deque
from functools import cache
from math import ceil, inf
from typing import Any

import numpy as np

from autoscaler_tuning.policies.elastic.config import ElasticConfig
from autoscaler_tuning.policies.elastic.error_paths import ErrorPaths
from autoscaler_tuning.policies.elastic.forecast import RateForecast
from autoscaler_tuning.policies.elastic.hold import Hold
from autoscaler_tuning.policies.elastic.memory import MOST_AGE_S, Memory, parse_memory
from autoscaler_tuning.policies.elastic.newsvendor import FOR_DUE, Scenarios
from autoscaler_tuning.policies.elastic.queueing import late_share
from autoscaler_tuning.policies.elastic.recurrence import Recurrence
from autoscaler_tuning.policies.observations import Observations
from autoscaler_tuning.policies.service_times import BelievedServiceTime
from autoscaler_tuning.policies.start_times import StartTimes
from autoscaler_tuning.types import Decision, Observation

# Added to counts that are replayed, because a dispatcher may have restarted and count from 0 again.
MANY = 10**9
# After so much traffic a first burst is expected to be at most surprise_factor times the rate.
CALM_AFTER_S = 60.0


class Elastic:
    """The policy `elastic`.

    Each tick solves a newsvendor problem. A pod costs one pod-second per second. Each error path is a scenario of the
    arrivals until a pod started now would be ready; from it follows how many responses are late with n pods. The policy
    wants the n with the least total cost. While the ready pods cannot keep up, it starts more pods than are missing,
    because the fastest of many starts finish sooner, and stops the surplus afterwards.
    Source: Arrow, Harris and Marschak (1951), the newsvendor's trade-off.
    """

    def __init__(self, config: ElasticConfig | None = None) -> None:
        self.config = config or ElasticConfig()
        self._forecast = RateForecast(self.config.forecast)
        self._error_paths = ErrorPaths(self.config.scenarios, self.config.interval_s)
        self._recurrence = Recurrence(self.config.scenarios.steps, self.config.interval_s)
        self._observations = Observations()
        self._starts = StartTimes(self.config.first_cold_start_s)
        self._services = BelievedServiceTime(self.config.first_service_time_s)
        self._held, self._held_for_due = Hold(), Hold()
        self._updated_s = -inf
        self._arrived = self._before = 0
        self._busy_s: float | None = None
        self._pods = 1
        self._woke_s = -inf
        self._due = 0
        self._recurs = False
        self._ticks: deque[int] = deque(maxlen=round(self.config.scenarios.long_memory_s / self.config.interval_s) or 1)
        self._restored: tuple[Memory, float] | None = None

    @property
    def interval_s(self) -> float:
        return self.config.interval_s

    def decide(self, obs: Observation) -> Decision:
        """Decide one tick; without fresh signals, keep the current pods."""
        obs = self._observations.usable(obs)
        current = obs.ready_pods + obs.starting_pods
        if not obs.fresh:
            self._error_paths.interrupt()
            return Decision(current, f"no data: keep {current} pods")
        if self._updated_s == -inf:  # pods that already run count as wanted just now
            self._before = obs.arrived
            self._remember(obs)
            self._held.most(obs.now_s, min(current, self.config.most_pods), self._hold_s)
        self._learn(obs)
        if self._busy_s is None:
            return Decision(0, "idle: 0 pods, no request so far")
        service_time_s = self._services.update(obs)
        scenarios = self._scenarios(obs, service_time_s)
        most = self._usable(obs, scenarios)
        self._pods, cause = self._best(obs, scenarios, service_time_s)
        self._pods = min(most, self._pods)
        if obs.now_s - self._busy_s < self.config.zero_after_s:
            self._pods = max(1, self._pods)
        elif not self._error_paths.jumps_recur and not self._due:
            self._pods = 0  # late_price alone would keep a pod for minutes after a single burst
        held = self._hold(obs.now_s, self._pods, cause)
        pods = max(held, min(most, self._hedged(obs, held, service_time_s)))
        return Decision(pods, self._reason(obs, pods, held, cause), self._record(obs, service_time_s, held))

    def state(self) -> dict[str, Any]:
        """Return what it has learned so far, as values for JSON."""
        return Memory(
            tick_s=self.config.interval_s,
            arrivals=tuple(self._ticks),
            service_time_s=self._services.believed_s,
            start_times_s=self._starts.times_s,
            bursts=self._recurrence.bursts_before(self._updated_s),
            profile=self._recurrence.profile,
            intervals=self._recurrence.intervals,
        ).as_json()

    def restore(self, state: object, age_s: float) -> None:
        """Take what `state` returned age_s ago, before the first decision. Raises StateError."""
        memory = parse_memory(state)
        self._starts.restore(memory.start_times_s)
        if memory.service_time_s:
            self._services.restore(memory.service_time_s)
        self._restored = memory, max(0.0, age_s)

    def _remember(self, obs: Observation) -> None:
        """Replay the restored arrivals as if they had come just before now; their rate is still the best guess."""
        if self._restored is None:
            return
        (memory, age_s), self._restored = self._restored, None
        self._recurrence.restore(memory, obs.now_s - age_s, obs.now_s)
        if age_s > MOST_AGE_S or memory.tick_s != self.config.interval_s or not any(memory.arrivals):
            return
        arrived = obs.arrived - sum(memory.arrivals)
        for back, more in zip(range(len(memory.arrivals) - 1, -1, -1), memory.arrivals, strict=True):
            arrived += more
            self._forecast.update(obs.now_s - back * memory.tick_s, arrived)
            self._error_paths.update(MANY + arrived, self._forecast.level_rps)
        self._error_paths.interrupt()
        self._ticks.extend(memory.arrivals)
        self._busy_s = self._updated_s = obs.now_s

    def _learn(self, obs: Observation) -> None:
        self._starts.update(obs.pods)
        if obs.arrived > self._arrived or obs.waiting or obs.in_flight:
            if self._busy_s is None or obs.now_s - self._busy_s > self.config.zero_after_s:
                self._woke_s = obs.now_s
            self._busy_s, self._arrived = obs.now_s, obs.arrived
        elapsed_s = obs.now_s - self._updated_s
        if elapsed_s < self.config.interval_s / 2:  # an extra tick: a rate over such a short time is noise
            return
        if elapsed_s > 3 * self.config.interval_s:
            self._error_paths.interrupt()
        self._updated_s = obs.now_s
        self._forecast.update(obs.now_s, obs.arrived)
        self._recurrence.update(obs.now_s, obs.arrived)
        begins = self._error_paths.update(obs.arrived, self._forecast.level_rps)
        if begins and self.config.expects_recurrence:
            explained_s = self._recurrence.burst(obs.now_s, self._before)
            self._recurs = bool(explained_s)
            self._error_paths.explain([round(ago_s / self.config.interval_s) for ago_s in explained_s])
        self._ticks.append(obs.arrived - self._before)
        self._before = obs.arrived

    def _scenarios(self, obs: Observation, service_time_s: float) -> Scenarios:
        """Return the scenarios of the time until a pod started now would be ready.

        With an SLO that is out of reach, a response counts as on time if the request did not wait.
        """
        interval_s, steps = self.config.interval_s, self.config.scenarios.steps
        horizon_s = self._starts.mean_s + interval_s
        times_s = interval_s * np.arange(1, min(steps, max(2, round(horizon_s / interval_s))) + 1)
        expected = np.asarray(self._forecast.level_rps * times_s, dtype=np.float64)
        growth_rps_s = self._forecast.growth_rps_s if obs.ready_pods else 0.0  # from zero, only what has come counts
        paths, weights = self._error_paths.draw(
            expected, self._forecast.level_rps, self._surprise_rps(obs, service_time_s), growth_rps_s
        )
        self._due = 0
        for path, chance in self._recurrence.scenarios(obs.now_s, expected):
            paths = np.column_stack([path, paths])
            weights = np.append(chance, weights * (1 - chance))
            self._due += 1
        # the backlog is in seconds of the measured time, even if that is doubted
        paths = paths + obs.feasible_backlog_s / (obs.service_time_s or service_time_s)
        slo_s = max(self.config.slo_s, service_time_s)
        served = np.maximum(0.0, times_s + slo_s - service_time_s) / service_time_s
        level_rps, patience = self._forecast.level_rps, (slo_s - service_time_s) / service_time_s
        price = self.config.late_price * level_rps * self.config.steady_share

        @cache
        def steady(pods: int) -> float:
            return price * late_share(pods, level_rps * service_time_s, patience)

        return Scenarios(paths, weights, served, self.config.late_price / float(times_s[-1]), self._due, steady)

    def _surprise_rps(self, obs: Observation, service_time_s: float) -> float:
        """Return the extra rate of a first burst: less on calm traffic, once it has shown that it is calm."""
        prior = self.config.scenarios
        if obs.now_s - (self._busy_s or 0.0) >= self.config.zero_after_s:
            return 0.0
        surprise_rps = prior.surprise_pods / service_time_s
        calm = obs.now_s - self._woke_s > CALM_AFTER_S
        return min(surprise_rps, prior.surprise_factor * self._forecast.level_rps) if calm else surprise_rps

    def _best(self, obs: Observation, scenarios: Scenarios, service_time_s: float) -> tuple[int, str]:
        """Return the number of pods with the least cost and what it is for.

        With an SLO that is out of reach, it is at least the number that keeps up with the arrivals and serves the
        waiting requests within drain_s, and at least the busy pods.
        """
        config = self.config
        pods = scenarios.least_cost_pods(self._pods, config.most_pods)
        cause = scenarios.cause(pods)
        if service_time_s >= config.slo_s:
            load = (self._forecast.level_rps + obs.waiting / config.drain_s) * service_time_s
            pods = max(pods, ceil(min(load, config.most_pods)), min(obs.in_flight, obs.ready_pods, config.most_pods))
            cause = f"for throughput: the SLO of {config.slo_s:g} s is out of reach"
        return pods, cause

    def _usable(self, obs: Observation, scenarios: Scenarios) -> int:
        """Return the most pods that may be wanted: from zero, one for each request until a pod started now is ready.

        These are the requests in the system, and as many as come if they continue at the rate of the last second, or
        the most in any scenario except that of a first burst.
        """
        if obs.ready_pods:
            return self.config.most_pods
        present = obs.waiting + obs.in_flight
        coming = present / self.config.forecast.jump_window_s * (self._starts.mean_s + self.config.interval_s)
        return max(1, ceil(min(present + max(coming, scenarios.most_requests()), self.config.most_pods)))

    @property
    def _hold_s(self) -> float:
        """How long capacity is held: for one start if the next burst is known, because pods can be ready for it."""
        return min(self.config.hold_s, self._starts.mean_s) if self._recurs else self.config.hold_s

    def _hold(self, now_s: float, pods: int, cause: str) -> int:
        """Return the most pods that were wanted within the hold; for a burst that was due, within one start."""
        is_due = cause == FOR_DUE
        held = self._held.most(now_s, 0 if is_due else pods, self._hold_s)
        due = self._held_for_due.most(now_s, pods if is_due else 0, min(self._hold_s, self._starts.mean_s))
        return max(held, due)

    def _hedged(self, obs: Observation, wanted: int, service_time_s: float) -> int:
        """Return more pods than wanted while the ready pods cannot keep up, if the time they save is worth their cost.

        If k pods start, the missing ones are ready after until_ready_s(missing, k) on average. Each second until then
        costs k pod-seconds, and late_price for each of the late_rps responses. If every response is late, nothing does.
        """
        missing = wanted - obs.ready_pods
        late_rps = self._forecast.level_rps - obs.ready_pods / service_time_s
        if missing <= 0 or late_rps <= 0 or service_time_s >= self.config.slo_s:
            return wanted
        costs = {
            started: (started + self.config.late_price * late_rps) * self._starts.until_ready_s(missing, started)
            for started in range(missing, ceil(self.config.hedge * missing) + 1)
        }
        return obs.ready_pods + min(costs, key=costs.__getitem__)

    def _reason(self, obs: Observation, pods: int, held: int, cause: str) -> str:
        rate = f"{self._forecast.level_rps:.1f} req/s"
        level = f"{rate} of {self._services.used_s:.3g} s each"
        if self._services.doubted_s:
            level += f" (the measured {self._services.doubted_s:.3g} s is doubted)"
        if pods > held:
            return f"hedge: {pods} pods instead of {held}, so that {held} are ready sooner, at {level}; {cause}"
        if held > self._pods:
            return f"hold: {held} pods, wanted within the last {self._hold_s:.2g} s; now {self._pods} at {level}"
        if pods == 0:
            idle_s = obs.now_s - (self._busy_s or 0.0)
            return f"idle: 0 pods after {idle_s:.0f} s without a request, {rate} expected"
        kind = "jump" if self._forecast.jumped else "rate"
        text = f"{kind}: {pods} pods cost least at {level} with a feasible backlog of {obs.feasible_backlog_s:.2f} s"
        return f"{text}; the last pod is {cause or 'for the first request'}"

    def _record(self, obs: Observation, service_time_s: float, held: int) -> dict[str, float]:
        return {
            "level_rps": self._forecast.level_rps,
            "service_time_s": service_time_s,
            "cold_start_s": self._starts.mean_s,
            "feasible_backlog_s": obs.feasible_backlog_s,
            "best_pods": self._pods,
            "held_pods": held,
        }
