"""A policy that is compared with the stock autoscaler: what it may cost more, whatever it does."""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import floor

import numpy as np
import pytest

from autoscaler_tuning.policies.base import Policy, RevisionSettings
from autoscaler_tuning.policies.elastic.elastic import Elastic
from autoscaler_tuning.policies.kpa.kpa import Kpa
from autoscaler_tuning.policies.never_worse import Allowance, NeverWorse
from autoscaler_tuning.policies.scale_to_zero import knative_decides
from autoscaler_tuning.policies.shadow import STEP_S, FluidQueue, Shadow, ShadowConfig, ShadowPods
from autoscaler_tuning.types import Decision, Observation, Second
from tests.effort import effort

SERVICE_S, START_S, PRICE = 0.1, 3.0, 250.0
ALLOWANCE = Allowance()


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
    decision: Decision = field(default_factory=lambda: Decision(0, ""))

    def run(self, counts: list[int]) -> None:
        """Run one second after the other; costs holds the cost at the end of each."""
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


def stock() -> Shadow:
    return Shadow(knative_decides(Kpa(), RevisionSettings()), ShadowConfig(live_order="deadline"))


def guarded(inner: Policy) -> NeverWorse:
    return NeverWorse(inner, stock())


def random_counts(rng: np.random.Generator, seconds: int) -> list[int]:
    """Return the requests of each second: levels that change at random times, with silences, jumps and noise."""
    counts: list[int] = []
    while len(counts) < seconds:
        rate = rng.choice([0.0, rng.uniform(0, 3), rng.uniform(0, 15), rng.uniform(5, 40)])
        counts += rng.poisson(rate, int(rng.choice([3, 10, 30, 100, 300]))).tolist()
    return counts[:seconds]


def random_policy(rng: np.random.Generator) -> Policy:
    """Return elastic, a constant number of pods, one that changes every few seconds, or one that turns bad."""
    few, many, period_s = int(rng.integers(0, 4)), int(rng.integers(0, 12)), float(rng.choice([1, 7, 40, 200]))
    policies: list[Policy] = [
        Elastic(),
        Wayward(lambda _: few),
        Wayward(lambda now_s: few if now_s % (2 * period_s) < period_s else many),
        Wayward(lambda now_s: many if now_s < period_s else few),
    ]
    return policies[int(rng.integers(4))]


def most_overspent(costs: list[float], stock_costs: list[float]) -> float:
    """Return the most that any stretch of time of up to an hour cost beyond the ratio."""
    spent = np.array(costs) - ALLOWANCE.ratio * np.array(stock_costs)
    return float(max((spent[end] - spent[max(0, end - 3600) : end + 1].min()) for end in range(len(spent))))


def jump_pod_seconds(counts: list[int]) -> float:
    """Return what the largest rate of these counts costs during one start, as the docstring of NeverWorse has it."""
    rate = max(counts)
    return (PRICE * rate + rate * SERVICE_S) * (START_S + 1.0)


@pytest.mark.parametrize("part", range(4))
def test_no_policy_costs_more_than_stock_kpa_beyond_its_allowance(part: int) -> None:
    """The constant is the one of the docstring; the stock service of the comparison runs on its own."""
    for seed in range(part, effort(everyday=24, ci=4000), 4):
        rng = np.random.default_rng(seed)
        counts = random_counts(rng, int(rng.choice([120, 300, 600])))
        world, alone = World(guarded(random_policy(rng))), World(knative_decides(Kpa(), RevisionSettings()))
        world.run(counts)
        alone.run(counts)
        most = 1.5 * ALLOWANCE.pod_seconds + ALLOWANCE.credit_pod_seconds + 4 * jump_pod_seconds(counts)
        assert most_overspent(world.costs, alone.costs) <= most, f"seed {seed}"
