"""A policy that is compared with the stock autoscaler: what it may cost more, whatever it does."""

import numpy as np
import pytest

from autoscaler_tuning.policies.base import Policy, RevisionSettings
from autoscaler_tuning.policies.elastic.elastic import Elastic
from autoscaler_tuning.policies.kpa.kpa import Kpa
from autoscaler_tuning.policies.never_worse import Allowance, NeverWorse
from autoscaler_tuning.policies.scale_to_zero import knative_decides
from autoscaler_tuning.policies.shadow import Shadow, ShadowConfig
from autoscaler_tuning.types import Decision, Observation
from tests.autoscaler_tuning.policies.fluid_world import PRICE, SERVICE_S, START_S, Wayward, World, random_counts
from tests.effort import effort

ALLOWANCE = Allowance()


def stock() -> Shadow:
    return Shadow(knative_decides(Kpa(), RevisionSettings()), ShadowConfig(live_order="deadline"))


def guarded(inner: Policy) -> NeverWorse:
    return NeverWorse(inner, stock())


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


def allowed(counts: list[int]) -> float:
    """Return the constant of the docstring of NeverWorse, in pod-seconds."""
    return 1.5 * ALLOWANCE.pod_seconds + ALLOWANCE.credit_pod_seconds + 4 * jump_pod_seconds(counts)


@pytest.mark.parametrize("part", range(4))
def test_no_policy_costs_more_than_stock_kpa_beyond_its_allowance(part: int) -> None:
    """The constant is the one of the docstring; the stock service of the comparison runs on its own."""
    for seed in range(part, effort(everyday=12, ci=400), 4):
        rng = np.random.default_rng(seed)
        counts = random_counts(rng, int(rng.choice([120, 300, 600])))
        world, alone = World(guarded(random_policy(rng))), World(knative_decides(Kpa(), RevisionSettings()))
        world.run(counts)
        alone.run(counts)
        assert most_overspent(world.costs, alone.costs) <= allowed(counts), f"seed {seed}"


def test_while_it_has_overspent_the_pods_of_stock_kpa_are_wanted() -> None:
    world = World(guarded(Wayward(lambda _: 30)))
    world.run([5] * 600)
    assert world.decision.pods <= 3
    assert world.decision.reason.startswith(
        f"stock: {world.decision.pods} pods instead of 30, because its decisions have cost "
    )


def test_after_an_hour_without_overspending_it_gets_another_chance() -> None:
    """30 pods for 500 s, and then about as many as stock KPA."""
    inner = Wayward(lambda now_s: 30 if now_s < 500 else 2)
    world = World(guarded(inner))
    world.run([5] * 600)
    assert world.decision.reason.startswith("stock:")
    world = World(guarded(inner))
    world.run([5] * 4500)
    assert world.decision.reason == "wayward"


def test_a_policy_that_costs_less_decides_for_itself() -> None:
    world = World(guarded(Wayward(lambda _: 1)))
    world.run([2] * 600)
    assert world.decision.reason == "wayward"
    assert world.decision.record["overspent_pod_seconds"] < 0


@pytest.mark.parametrize("pods", [-1, 2.5, None, float("nan")])
def test_an_invalid_decision_is_replaced_by_that_of_stock_kpa(pods: int) -> None:
    decision = guarded(Wayward(lambda _: pods)).decide(Observation(0.0, 3, 1))
    assert isinstance(decision.pods, int)
    assert decision.pods >= 0
    assert decision.reason.startswith(f"stock: {decision.pods} pods instead of {pods}, because {pods} is no number of")


def test_if_every_decision_is_invalid_the_pods_stay() -> None:
    class Broken(Shadow):
        def decide(self, obs: Observation) -> Decision:
            return Decision(-7, "broken")

    policy = NeverWorse(Wayward(lambda _: -1), Broken(Kpa(), ShadowConfig()))
    assert policy.decide(Observation(0.0, 3, 1)).pods == 4


@pytest.mark.parametrize(("name", "value"), [("ratio", 0.9), ("pod_seconds", float("nan")), ("forgiven_s", 0.0)])
def test_invalid_allowances_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} must be finite and at least .*, got {value}"):
        Allowance(**{name: value})
