"""Run one policy on one list of arrivals."""

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from math import floor, inf

import numpy as np

from autoscaler_tuning.policies.base import Policy
from autoscaler_tuning.results import FloatArray, PolicyRun, summarise
from autoscaler_tuning.simulator.cluster import Cluster
from autoscaler_tuning.simulator.world import SimConfig, SimulationError
from autoscaler_tuning.types import Decision

# Time after the last arrival within which the backlog may still be answered; requests left after that are lost.
DRAIN_S = 600.0


def simulate(
    name: str, policy: Policy, arrivals_s: FloatArray, config: SimConfig, seed: int, notes: Sequence[str] = ()
) -> PolicyRun:
    """Simulate the policy on these arrivals; raise SimulationError if an argument or a decision is invalid.

    arrivals_s: shape (n,), ascending, at least one; in seconds from the start.
    The run ends at the whole second after the last arrival, or later if requests are still unanswered then; pod-seconds
    are counted up to its end. For the same seed each request has the same service time, whatever the policy does. The
    row covers the requests from config.judged_from_s on; earlier ones only warm up the policy.
    """
    if (
        len(arrivals_s) == 0
        or not np.all(np.isfinite(arrivals_s))
        or np.any(np.diff(arrivals_s) < 0)
        or arrivals_s[0] < 0
    ):
        raise SimulationError(
            f"arrivals_s must be a non-empty, ascending list of finite times from 0 s on, got {len(arrivals_s)} times"
        )
    rng = np.random.default_rng(seed)
    loop = ControlLoop(Cluster(config, arrivals_s, rng), policy, config, float(rng.uniform(0, policy.interval_s)))
    end_s = floor(arrivals_s[-1]) + 1.0
    loop.run_until(end_s)
    end_s = loop.drain(end_s, end_s + DRAIN_S)
    loop.cluster.check(loop.now_s)
    done_s = loop.cluster.done_s
    done_s[done_s > end_s] = np.nan
    judged = arrivals_s >= config.judged_from_s
    cost = loop.cluster.cost(config.judged_from_s, end_s)
    row = summarise(name, "simulated", arrivals_s[judged], done_s[judged], config.slo_s, cost)
    row = replace(row, until_s=end_s - config.judged_from_s, notes=tuple(notes))
    return PolicyRun(row, arrivals_s, done_s, loop.cluster.counts(end_s))


class ControlLoop:
    """Runs cluster and policy on one clock, which stops at each tick, second and first request at zero pods.

    The first tick is at first_tick_s; the caller draws it, because real timers do not start with the traffic.
    A decision takes effect actuation_s later.
    """

    def __init__(self, cluster: Cluster, policy: Policy, config: SimConfig, first_tick_s: float) -> None:
        self.cluster = cluster
        self._policy = policy
        self._config = config
        self._first_tick_s = first_tick_s
        self._ticks = self._seconds = 0
        self.now_s = 0.0
        self._decided: deque[tuple[float, Decision]] = deque()

    def run_until(self, end_s: float) -> None:
        """Simulate up to and including end_s."""
        while True:
            second_s = self._seconds + 1.0
            tick_s = self._first_tick_s + self._ticks * self._policy.interval_s  # a product, so that no error adds up
            first_request_s = self._first_request_s()
            acts_s = self._decided[0][0] if self._decided else inf
            now_s = min(second_s, tick_s, first_request_s, acts_s)
            if now_s > end_s:
                break
            self.cluster.advance(now_s)
            self.now_s = now_s
            if now_s == acts_s:
                self._act(self._decided.popleft()[1])
            if now_s == second_s:
                self.cluster.end_second(self._seconds)
                self._seconds += 1
            if now_s in (tick_s, first_request_s):
                self._ticks += now_s == tick_s
                self._decide()
        self.cluster.advance(end_s)
        self.now_s = end_s

    def drain(self, end_s: float, latest_s: float) -> float:
        """Continue second by second until all requests are answered; return when that was, or latest_s."""
        while self.cluster.unanswered and end_s < latest_s:
            end_s += 1.0
            self.run_until(end_s)
        last_s = float(np.nanmax(self.cluster.done_s, initial=0.0))
        return end_s if self.cluster.unanswered else max(end_s, min(last_s, latest_s))

    def _decide(self) -> None:
        decision = self._policy.decide(self.cluster.observe(self.now_s))
        if not (isinstance(decision.pods, int) and decision.pods >= 0):
            raise SimulationError(
                f"wanted pods must be an integer of at least 0, got {decision.pods} ({decision.reason})"
            )
        if self._config.actuation_s:
            self._decided.append((self.now_s + self._config.actuation_s, decision))
        else:
            self._act(decision)

    def _act(self, decision: Decision) -> None:
        self.cluster.scale_to(decision.pods, self.now_s)
        self.cluster.set_direct(decision.direct, self.now_s)

    def _first_request_s(self) -> float:
        """Return when the first request arrives at zero pods; like Knative's activator, it triggers a tick at once."""
        if self.cluster.wanted_pods or self._decided:
            return inf
        first_s = self.cluster.next_arrival_s(self.now_s)
        return inf if first_s is None else first_s
