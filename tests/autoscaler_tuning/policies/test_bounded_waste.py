"""elastic wastes little: after a jump that does not come again, and in a start from zero."""

import numpy as np
import pytest

from autoscaler_tuning.policies.elastic.config import ElasticConfig
from autoscaler_tuning.policies.elastic.elastic import Elastic
from autoscaler_tuning.policies.elastic.recurrence import SCHEDULED_S
from autoscaler_tuning.types import Observation
from tests.autoscaler_tuning.policies.fluid_world import PRICE, SERVICE_S, START_S, World
from tests.effort import effort


def pod_seconds_after(counts: list[int], from_s: int) -> float:
    """Return elastic's pod-seconds from a second on, without late requests."""
    world = World(Elastic())
    world.run(counts)
    return world.paid[-1] - world.paid[from_s]


@pytest.mark.parametrize("part", range(4))
def test_after_a_jump_that_does_not_come_again_the_reserve_costs_at_most_the_jump(part: int) -> None:
    """Ski rental: what the jump costs without a reserve bounds what is spent on the next one that never comes.

    Without a reserve, the requests of one start beyond the pods of the base rate are late, and their pods are held.
    """
    for seed in range(part, effort(everyday=4, ci=80), 4):
        rng = np.random.default_rng(seed)
        base, high, seconds = rng.uniform(0.3, 8), rng.uniform(15, 40), int(rng.integers(5, 30))
        quiet = rng.poisson(base, 600).tolist()
        jump = [*quiet[:200], *rng.poisson(base + high, seconds).tolist(), *quiet[200 + seconds :]]
        reserve = pod_seconds_after(jump, 200 + seconds) - pod_seconds_after(quiet, 200 + seconds)
        held = (base + 2 * high) * SERVICE_S * ElasticConfig().hold_s
        assert reserve <= PRICE * high * START_S + held, f"seed {seed}"


@pytest.mark.parametrize("part", range(2))
def test_from_zero_it_never_wants_more_pods_than_the_requests_of_the_next_start_can_use(part: int) -> None:
    """A pod for each request that is there, and for each that comes until a pod started now is ready."""
    for seed in range(part, effort(everyday=200, ci=1000), 2):
        rng = np.random.default_rng(seed)
        rate, policy, arrived = rng.uniform(0.2, 30), Elastic(), 0
        policy.decide(Observation(0.0, 0, 0))
        for tick in range(1, 8):
            arrived += int(rng.poisson(rate / 2))
            decision = policy.decide(Observation(tick / 2, 0, 0, arrived=arrived, waiting=arrived))
            coming = arrived * (START_S + 0.5) + 5 * rate + 5
            assert decision.pods <= max(1, arrived + coming), f"seed {seed}"
            assert (decision.pods > 0) == (arrived > 0), f"seed {seed}"


def test_one_request_after_a_silence_starts_at_most_a_few_pods() -> None:
    policy = Elastic()
    policy.decide(Observation(0.0, 0, 0))
    assert policy.decide(Observation(0.1, 0, 0, arrived=1, waiting=1)).pods <= 3


@pytest.mark.parametrize("interval_s", SCHEDULED_S[:3])
def test_the_decision_for_a_burst_that_may_come_back_says_so(interval_s: float) -> None:
    """A single burst of 20 requests a second; the reason half a second before it may come back."""
    policy, arrived = Elastic(ElasticConfig(hold_s=0.0)), 0
    for tick in range(int(2 * (10 + interval_s))):
        arrived += 10 * (20 <= tick < 40)
        decision = policy.decide(Observation(tick / 2, 1, 0, arrived=arrived, service_time_s=0.1))
    assert decision.pods >= 2
    assert decision.reason.endswith("for a burst that is due")


def test_calm_traffic_gets_no_reserve_after_its_first_minute() -> None:
    """One request a second of 0.1 s keeps a tenth of a pod busy."""
    policy = Elastic()
    decisions = [
        policy.decide(Observation(tick / 2, 1, 0, arrived=tick // 2, service_time_s=0.1)) for tick in range(180)
    ]
    assert decisions[20].pods > 1
    assert decisions[-1].pods == 1


@pytest.mark.parametrize(("bursts", "after_s", "pods"), [(3, 25, 2), (3, 70, 0), (4, 25, 1), (6, 70, 0)])
def test_between_bursts_that_are_expected_no_pod_is_kept_for_them(bursts: int, after_s: int, pods: int) -> None:
    """Bursts of 40 requests a second for 10 s, 120 s apart; some time after the last one has ended.

    After the third, the interval is known and has proved true twice; two pods are for a first burst.
    """
    policy, arrived = Elastic(), 0
    for tick in range(2 * (120 * bursts - 100 + after_s)):
        arrived += 20 * (20 <= tick % 240 < 40)
        decision = policy.decide(Observation(tick / 2, 1, 0, arrived=arrived, service_time_s=0.1))
    assert decision.pods == pods
