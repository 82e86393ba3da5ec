"""A live service of fluid requests, in which tests run a policy quickly."""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import floor

import numpy as np

from autoscaler_tuning.policies.base import Policy
from autoscaler_tuning.policies.shadow import STEP_S, FluidQueue, ShadowPods
from autoscaler_tuning.types import Decision, Observation, Second

SERVICE_S, START_S, PRICE = 0.1, 3.0, 250.0


@dataclass
class Wayward:
    """A policy that wants any pods: a fixed number, none, or another number every few seconds."""

    wanted: Callable[[float], int]
    interval_s: float = 0.5

    def decide(self, obs: Observation) -> Decision:
        return Decision(self.wanted(obs.now_s), "wayward")


@dataclass
class World:
    """A live service of fluid requests, which runs a policy and counts its cost."""

    policy: Policy
    queue: FluidQueue = field(default_factory=lambda: FluidQueue(0.5, "deadline"))
    pods: ShadowPods = field(default_factory=ShadowPods)
    seconds: list[Second] = field(default_factory=list)
    costs: list[float] = field(default_factory=lambda: [0.0])
    pod_seconds: float = 0.0
    paid: list[float] = field(default_factory=lambda: [0.0])
    decision: Decision = field(default_factory=lambda: Decision(0, ""))

    def run(self, counts: list[int]) -> None:
        """Run one second after the other, once; costs and paid hold the cost and the pod-seconds at the end of each."""
        arrived, load = 0.0, 0.0
        for step in range(10 * len(counts)):
            if step % 5 == 0:
                self._tick(step * STEP_S, floor(arrived + 1e-6))
            now_s = (step + 1) * STEP_S
            arrived += counts[step // 10] / 10
            self.queue.step(now_s, counts[step // 10] / 10, self.pods.ready(now_s), SERVICE_S)
            self.pod_seconds += len(self.pods) * STEP_S
            load += (self.queue.waiting + self.queue.busy_pods) * STEP_S
            if step % 10 == 9:
                self.seconds = [*self.seconds[-119:], Second(step // 10, counts[step // 10], load)]
                self.paid.append(self.pod_seconds)
                self.costs.append(self.pod_seconds + PRICE * self.queue.late)
                load = 0.0

    def _tick(self, now_s: float, arrived: int) -> None:
        ready, oldest_s = self.pods.ready(now_s), self.queue.oldest_s()
        self.decision = self.policy.decide(
            Observation(
                now_s=now_s,
                ready_pods=ready,
                starting_pods=len(self.pods) - ready,
                seconds=tuple(self.seconds),
                arrived=arrived,
                waiting=round(self.queue.waiting),
                in_flight=round(self.queue.busy_pods),
                oldest_wait_s=0.0 if oldest_s is None else now_s - oldest_s,
                feasible_backlog_s=self.queue.feasible * SERVICE_S,
                service_time_s=SERVICE_S,
                pods=tuple(self.pods.samples(now_s)),
            )
        )
        self.pods.scale_to(self.decision.pods, now_s, START_S)


def random_counts(rng: np.random.Generator, seconds: int) -> list[int]:
    """Return the requests of each second: levels that change at random times, with silences, jumps and noise."""
    counts: list[int] = []
    while len(counts) < seconds:
        rate = rng.choice([0.0, rng.uniform(0, 3), rng.uniform(0, 15), rng.uniform(5, 40)])
        counts += rng.poisson(rate, int(rng.choice([3, 10, 30, 100, 300]))).tolist()
    return counts[:seconds]
