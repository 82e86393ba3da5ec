"""elastic: what our policy wants, and why."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler_tuning.policies.base import Bounded
from autoscaler_tuning.policies.elastic.elastic import Elastic, ElasticConfig
from autoscaler_tuning.policies.elastic.error_paths import ErrorPathConfig
from autoscaler_tuning.types import Decision, Observation, PodPhase, PodSample


def seen(now_s: float, arrived: int, **others: object) -> Observation:
    base = Observation(now_s=now_s, ready_pods=0, starting_pods=0, arrived=arrived, service_time_s=0.1)
    return replace(base, **others)  # type: ignore[arg-type]


def after(rate_rps: int, seconds: int, policy: Elastic) -> Decision:
    """Its decision after a steady rate."""
    decision = Decision(0, "")
    for second in range(seconds + 1):
        decision = policy.decide(seen(float(second), rate_rps * second))
    return decision


def test_nobody_ever_asked_so_no_pod_is_wanted() -> None:
    assert Elastic().decide(seen(0.0, 0)).pods == 0


def test_the_first_request_wants_a_pod_at_once() -> None:
    policy = Elastic()
    policy.decide(seen(0.0, 0))
    assert policy.decide(seen(0.05, 1, waiting=1)).pods >= 1


def test_a_steady_rate_is_served_with_slack_but_without_waste() -> None:
    assert 4 <= after(30, 600, Elastic()).pods <= 6


def test_a_higher_rate_wants_more() -> None:
    assert after(60, 30, Elastic()).pods > after(20, 30, Elastic()).pods


def test_a_backlog_that_can_still_be_in_time_wants_more_than_the_rate() -> None:
    policy = Elastic()
    steady = after(10, 30, policy)
    urgent = policy.decide(seen(31.0, 310, ready_pods=2, waiting=60, feasible_backlog_s=6.0))
    assert urgent.pods >= steady.pods + 1
    assert "6.00 s of work waiting" in urgent.reason


def test_a_burst_is_feared_at_first_and_less_the_longer_none_comes() -> None:
    config = ElasticConfig(scenarios=ErrorPathConfig(surprise=0.2, surprise_pods=1.6))
    fearless = ElasticConfig(scenarios=ErrorPathConfig(surprise=0.0))
    assert after(10, 30, Elastic(config)).pods > after(10, 30, Elastic(fearless)).pods
    assert after(10, 3600, Elastic(config)).pods == after(10, 3600, Elastic(fearless)).pods


def test_dearer_late_answers_keep_more_pods() -> None:
    counts = np.random.default_rng(0).poisson(30, 100)

    def wanted(late_price: float) -> int:
        policy = Elastic(ElasticConfig(late_price=late_price))
        decisions = [
            policy.decide(seen(float(second), arrived)) for second, arrived in enumerate(np.cumsum(counts).tolist())
        ]
        return sum(decision.pods for decision in decisions)

    assert wanted(500.0) > wanted(20.0) > wanted(1.0)


def test_what_is_found_running_is_held_until_something_is_known() -> None:
    policy = Elastic(ElasticConfig(hold_s=7.0))
    assert policy.decide(seen(0.0, 5, ready_pods=9)).pods == 9
    assert policy.decide(seen(8.0, 45, ready_pods=9)).pods < 9


def test_late_answers_start_more_pods_than_are_missing_the_slower_and_the_more_scattered_starts_are() -> None:
    def wanted(hedge: float) -> int:
        policy = Elastic(ElasticConfig(hedge=hedge))
        pods = tuple(PodSample(str(k), PodPhase.READY, started_s=0.0, ready_s=2.0 + k) for k in range(5))
        for second in range(20):
            policy.decide(seen(float(second), 5 * second, pods=pods, ready_pods=1))
        return policy.decide(seen(20.0, 200, pods=pods, ready_pods=1, waiting=60, oldest_wait_s=1.0)).pods

    assert wanted(hedge=3.0) > wanted(hedge=1.0)


def test_a_backlog_that_is_late_anyway_does_not_count() -> None:
    policy = Elastic()
    steady = after(10, 30, policy)
    assert policy.decide(seen(31.0, 310, ready_pods=2, waiting=100)).pods <= steady.pods + 1


def test_capacity_is_held_and_then_let_go() -> None:
    policy = Elastic(ElasticConfig(hold_s=8.0))
    policy.decide(seen(0.0, 0))
    busy = policy.decide(seen(1.0, 60)).pods
    held = [policy.decide(seen(float(second), 60)) for second in range(2, 10)]
    assert busy > 1
    assert {decision.pods for decision in held[:-1]} == {busy}
    assert "hold" in held[0].reason
    assert held[-1].pods < busy


def test_silence_ends_at_zero() -> None:
    policy = Elastic(ElasticConfig(zero_after_s=30.0, hold_s=7.0))
    after(10, 10, policy)
    assert policy.decide(seen(39.9, 100)).pods >= 1
    policy.decide(seen(40.0, 100))
    assert policy.decide(seen(48.0, 100)).pods == 0  # when nothing is held any more


def pods_in_the_second_minute_of_silence(bursts: int) -> int:
    """After bursts of 60 requests in a second, 40 s apart."""
    policy = Elastic()
    for second in range(40 * bursts + 80):
        decision = policy.decide(seen(float(second), 60 * min(bursts, 1 + second // 40)))
    return decision.pods


def test_who_came_once_is_not_waited_for_and_who_comes_again_and_again_is() -> None:
    assert pods_in_the_second_minute_of_silence(1) == 0
    assert pods_in_the_second_minute_of_silence(8) > 0


def test_a_request_in_flight_is_not_silence() -> None:
    policy = Elastic(ElasticConfig(zero_after_s=30.0))
    after(10, 10, policy)
    assert policy.decide(seen(100.0, 100, in_flight=1)).pods >= 1


def test_stale_signals_change_nothing() -> None:
    assert Elastic().decide(seen(5.0, 100, ready_pods=3, starting_pods=2, fresh=False)).pods == 5


def test_slow_starts_make_it_look_further_ahead() -> None:
    def wanted(start_s: float) -> int:
        policy = Elastic(ElasticConfig(hold_s=1.0))
        pods = (PodSample("a", PodPhase.READY, started_s=0.0, ready_s=start_s),)
        arrived = 0
        for second in range(20):
            arrived += 5 * second
            decision = policy.decide(seen(float(second), arrived, pods=pods))
        return decision.pods

    assert wanted(20.0) > wanted(1.0)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_parameters_are_refused_with_their_name_and_value(value: float) -> None:
    with pytest.raises(ValueError, match="slo_s must be above 0"):
        ElasticConfig(slo_s=value)


@given(
    st.lists(
        st.tuples(st.floats(0, 10), st.integers(0, 10**6), st.floats(0, 1e6), st.integers(0, 100)),
        max_size=30,
    )
)
def test_it_never_returns_nonsense(steps: list[tuple[float, int, float, int]]) -> None:
    policy = Bounded(Elastic(), 0, 40)
    now_s, arrived = 0.0, 0
    for elapsed_s, more, backlog_s, ready in steps:
        now_s, arrived = now_s + elapsed_s, arrived + more
        decision = policy.decide(seen(now_s, arrived, feasible_backlog_s=backlog_s, ready_pods=ready))
        assert 0 <= decision.pods <= 40
        assert decision.reason
