"""The state of elastic: it survives a restart of the controller, and nonsense is refused."""

import json
from typing import Any

import pytest

from autoscaler_tuning.policies.base import Bounded, Remembers, StateError, remembering
from autoscaler_tuning.policies.elastic.elastic import Elastic
from autoscaler_tuning.policies.peak import Peak
from autoscaler_tuning.policies.registry import policy_named
from autoscaler_tuning.types import Decision, Observation, PodPhase, PodSample

POD = (PodSample("a", PodPhase.READY, started_s=0.0, ready_s=2.5),)


def bursts_until(policy: Elastic, from_s: float, until_s: float, arrived: int = 0) -> Decision:
    """Run bursts of 20 requests a second for 10 s, 300 s apart, on 2 requests a second."""
    decision = Decision(0, "")
    for tick in range(round(2 * from_s), round(2 * until_s)):
        now_s = tick / 2
        arrived += 1 + 10 * (10 <= now_s % 300 < 20)
        seen = Observation(now_s, 1, 0, arrived=arrived, service_time_s=0.12, pods=POD)
        decision = policy.decide(seen)
    return decision


def saved(policy: Remembers) -> Any:
    return json.loads(json.dumps(policy.state()))


def restarted(age_s: float = 2.0) -> Elastic:
    before, after = Elastic(), Elastic()
    bursts_until(before, 0, 598)
    after.restore(saved(before), age_s)
    return after


def test_after_a_restart_it_has_pods_ready_for_the_burst_that_it_learned_of() -> None:
    assert bursts_until(restarted(), 600, 607).pods >= 2
    assert bursts_until(Elastic(), 600, 607).pods < bursts_until(restarted(), 600, 607).pods


def test_after_a_restart_it_knows_the_rate_the_service_time_and_the_start_time() -> None:
    decision = bursts_until(restarted(), 600, 600.5, arrived=5000)
    assert decision.record["level_rps"] == pytest.approx(2.0, abs=0.7)
    assert decision.record["cold_start_s"] == 2.5
    assert "of 0.12 s each" in decision.reason


def test_after_a_restart_it_knows_that_there_is_traffic() -> None:
    assert restarted().decide(Observation(600.0, 1, 0, arrived=0)).pods >= 1


def test_a_dispatcher_that_counts_from_0_again_makes_no_burst() -> None:
    policy = restarted()
    before = saved(policy_of(policy))["bursts"]
    assert len(saved(policy)["bursts"]) == len(before)
    assert bursts_until(policy, 630, 640).pods <= 3


def policy_of(policy: Elastic) -> Elastic:
    bursts_until(policy, 620, 621)
    return policy


def test_old_arrivals_are_not_taken_for_the_present_rate() -> None:
    assert restarted(age_s=7200.0).decide(Observation(7800.0, 1, 0, arrived=0)).pods == 0


def test_a_state_of_a_state_is_the_same() -> None:
    policy = restarted(age_s=0.0)
    policy.decide(Observation(598.0, 1, 0, arrived=5000, service_time_s=0.12))
    before = Elastic()
    bursts_until(before, 0, 598)
    first, second = saved(before), saved(policy)
    assert second["arrivals"] == first["arrivals"]
    assert second["intervals"] == first["intervals"]
    assert second["bursts"] == pytest.approx(first["bursts"], abs=0.6)


def test_the_state_is_small() -> None:
    policy = Elastic()
    bursts_until(policy, 0, 1200)
    assert len(json.dumps(policy.state())) < 10_000


def test_policies_in_wrappers_remember_and_others_do_not() -> None:
    assert isinstance(remembering(Bounded(policy_named("elastic").make(), 0, 8)), Elastic)
    assert isinstance(remembering(policy_named("elastic").on_knative()), Elastic)
    assert remembering(Bounded(Peak(), 0, 8)) is None


def test_services_learn_apart() -> None:
    one, other = Elastic(), Elastic()
    bursts_until(one, 0, 400)
    assert saved(other) == saved(Elastic())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "must have version 1, got 2"),
        ({"arrivals": [1, -1]}, r"arrivals of the state must be at most 10000 finite numbers, got \[1, -1\]"),
        ({"arrivals": "12"}, "arrivals of the state"),
        ({"arrivals": [0] * 10_001}, "arrivals of the state"),
        ({"service_time_s": float("nan")}, "service_time_s of the state"),
        ({"start_times_s": [True]}, "start_times_s of the state"),
        ({"bursts": None}, "bursts of the state"),
        ({"intervals": [[60.0, 1]]}, "intervals of the state must be lists of three numbers"),
        ({"intervals": [60.0]}, "intervals of the state"),
        ({"tick_s": "0.5"}, "tick_s of the state"),
    ],
)
def test_a_state_of_another_kind_is_refused_with_the_rule_and_the_value(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(StateError, match=message):
        Elastic().restore({**saved(Elastic()), **changes}, 0.0)


@pytest.mark.parametrize("state", [None, [], "elastic", 1])
def test_a_state_that_is_no_object_is_refused(state: object) -> None:
    with pytest.raises(StateError, match="must be an object"):
        Elastic().restore(state, 0.0)
