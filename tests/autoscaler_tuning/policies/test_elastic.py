"""elastic: the pods that our policy wants, and its reasons."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler_tuning.policies.base import Bounded
from autoscaler_tuning.policies.elastic.config import ElasticConfig
from autoscaler_tuning.policies.elastic.elastic import Elastic
from autoscaler_tuning.policies.elastic.error_paths import ErrorPathConfig
from autoscaler_tuning.types import Decision, Observation, PodPhase, PodSample


def seen(now_s: float, arrived: int, **others: object) -> Observation:
    base = Observation(now_s=now_s, ready_pods=0, starting_pods=0, arrived=arrived, service_time_s=0.1)
    return replace(base, **others)  # type: ignore[arg-type]


def after(rate_rps: int, seconds: int, policy: Elastic) -> Decision:
    """Return the policy's decision after some seconds of a steady rate."""
    decision = Decision(0, "")
    for second in range(seconds + 1):
        decision = policy.decide(seen(float(second), rate_rps * second))
    return decision


def test_without_any_request_so_far_no_pod_is_wanted() -> None:
    assert Elastic().decide(seen(0.0, 0)).pods == 0


def test_the_first_request_makes_it_want_a_pod_at_once() -> None:
    policy = Elastic()
    policy.decide(seen(0.0, 0))
    assert policy.decide(seen(0.05, 1, waiting=1)).pods >= 1


def test_a_steady_rate_gets_some_spare_capacity_but_not_much() -> None:
    assert 4 <= after(30, 600, Elastic()).pods <= 6


def test_a_higher_rate_needs_more_pods() -> None:
    assert after(60, 30, Elastic()).pods > after(20, 30, Elastic()).pods


def test_a_feasible_backlog_needs_more_pods_than_the_rate_alone() -> None:
    policy = Elastic()
    steady = after(10, 30, policy)
    urgent = policy.decide(seen(31.0, 310, ready_pods=2, waiting=60, feasible_backlog_s=6.0))
    assert urgent.pods >= steady.pods + 1
    assert "feasible backlog of 6.00 s" in urgent.reason


def test_it_prepares_for_a_burst_at_first_and_less_the_longer_none_comes() -> None:
    config = ElasticConfig(scenarios=ErrorPathConfig(surprise=0.2, surprise_pods=1.6))
    unprepared = ElasticConfig(scenarios=ErrorPathConfig(surprise=0.0))
    assert after(10, 30, Elastic(config)).pods > after(10, 30, Elastic(unprepared)).pods
    assert after(10, 3600, Elastic(config)).pods == after(10, 3600, Elastic(unprepared)).pods


def test_a_rate_that_is_still_growing_gets_more_pods_than_it_needs_now() -> None:
    """Traffic that grows from 5/s to 25/s and then to 65/s."""

    def wanted(growth_s: float) -> int:
        policy = Elastic(ElasticConfig(scenarios=ErrorPathConfig(surprise=0.0, growth_s=growth_s)))
        arrived = 0
        for second, rate in enumerate([5] * 60 + [25, 65]):
            arrived += rate
            decision = policy.decide(seen(float(second), arrived, ready_pods=2))
        return decision.pods

    assert wanted(1.0) > wanted(0.0)


def test_from_zero_only_requests_that_have_come_count_not_the_growth_of_their_rate() -> None:
    def wanted(growth_s: float) -> list[int]:
        policy = Elastic(ElasticConfig(scenarios=ErrorPathConfig(growth_s=growth_s)))
        arrived = np.cumsum([0, 2, 10, 40, 120]).tolist()
        return [policy.decide(seen(float(second), count, waiting=count)).pods for second, count in enumerate(arrived)]

    assert wanted(1.0) == wanted(0.0)


def test_a_higher_price_of_late_responses_keeps_more_pods() -> None:
    counts = np.random.default_rng(0).poisson(30, 100)

    def wanted(late_price: float) -> int:
        policy = Elastic(ElasticConfig(late_price=late_price))
        decisions = [
            policy.decide(seen(float(second), arrived)) for second, arrived in enumerate(np.cumsum(counts).tolist())
        ]
        return sum(decision.pods for decision in decisions)

    assert wanted(500.0) > wanted(20.0) > wanted(1.0)


def test_pods_that_already_run_are_held_at_the_start() -> None:
    policy = Elastic(ElasticConfig(hold_s=7.0))
    assert policy.decide(seen(0.0, 5, ready_pods=9)).pods == 9
    assert policy.decide(seen(8.0, 45, ready_pods=9)).pods < 9


def test_while_requests_are_late_it_starts_more_pods_than_are_missing_if_start_times_vary() -> None:
    def wanted(hedge: float) -> int:
        policy = Elastic(ElasticConfig(hedge=hedge))
        pods = tuple(PodSample(str(k), PodPhase.READY, started_s=0.0, ready_s=2.0 + k) for k in range(5))
        for second in range(20):
            policy.decide(seen(float(second), 5 * second, pods=pods, ready_pods=1))
        return policy.decide(seen(20.0, 200, pods=pods, ready_pods=1, waiting=60, oldest_wait_s=1.0)).pods

    assert wanted(hedge=3.0) > wanted(hedge=1.0)


def test_a_backlog_that_is_already_late_does_not_count() -> None:
    policy = Elastic()
    steady = after(10, 30, policy)
    assert policy.decide(seen(31.0, 310, ready_pods=2, waiting=100)).pods <= steady.pods + 1


def test_capacity_is_held_for_hold_s_and_then_released() -> None:
    policy = Elastic(ElasticConfig(hold_s=8.0))
    policy.decide(seen(0.0, 0))
    busy = policy.decide(seen(1.0, 60)).pods
    held = [policy.decide(seen(float(second), 60)) for second in range(2, 10)]
    assert busy > 1
    assert {decision.pods for decision in held[:-1]} == {busy}
    assert held[0].reason.startswith("hold:")
    assert held[-1].pods < busy


def test_capacity_is_held_for_one_start_where_bursts_follow_a_known_interval() -> None:
    """Bursts of 40 requests a second for 10 s, 120 s apart; the first start time that is assumed is 3 s."""
    policy, arrived, held_s = Elastic(), 0, Counter[int]()
    for tick in range(2 * 400):
        arrived += 20 * (20 <= tick % 240 < 40)
        decision = policy.decide(seen(tick / 2, arrived))
        held_s[tick // 240] += "wanted within the last 3 s" in decision.reason
    assert [held_s[burst] > 0 for burst in range(4)] == [False, False, True, True]


def test_pods_for_a_burst_that_was_due_and_did_not_come_are_held_for_one_start() -> None:
    """A burst at 10 s may come again 60 s later, at most 1 s late; the start time that is assumed is 3 s."""
    policy = Elastic(ElasticConfig(zero_after_s=20.0))
    wanted = [
        policy.decide(seen(tick / 2, 20 * min(20, max(0, tick - 19)), ready_pods=1)).pods for tick in range(2 * 80)
    ]
    assert wanted[2 * 70] >= 2
    assert wanted[2 * 76] == 0


def test_it_scales_to_zero_when_idle() -> None:
    policy = Elastic(ElasticConfig(zero_after_s=30.0, hold_s=7.0))
    after(10, 10, policy)
    assert policy.decide(seen(39.9, 100)).pods >= 1
    policy.decide(seen(40.0, 100))
    assert policy.decide(seen(48.0, 100)).pods == 0  # the hold has ended


def pods_in_the_second_idle_minute(bursts: int) -> int:
    """Return the wanted pods after bursts of 60 requests in a second, at no interval that comes again."""
    policy, times_s = Elastic(), [40 * burst + 3 * burst**2 for burst in range(bursts)]
    for second in range(times_s[-1] + 110):
        decision = policy.decide(seen(float(second), 60 * sum(time_s <= second for time_s in times_s)))
    return decision.pods


def test_pods_stay_after_recurring_bursts_but_not_after_a_single_one() -> None:
    assert pods_in_the_second_idle_minute(1) == 0
    assert pods_in_the_second_idle_minute(8) > 0


def test_it_is_not_idle_while_a_request_is_in_flight() -> None:
    policy = Elastic(ElasticConfig(zero_after_s=30.0))
    after(10, 10, policy)
    assert policy.decide(seen(100.0, 100, in_flight=1)).pods >= 1


def test_stale_signals_keep_the_current_pods() -> None:
    stale = seen(5.0, 100, ready_pods=3, starting_pods=2, fresh=False)
    assert Elastic().decide(stale) == Decision(5, "no data: keep 5 pods")


def test_slow_pod_starts_lengthen_the_forecast_horizon() -> None:
    def wanted(start_s: float) -> int:
        policy = Elastic(ElasticConfig(hold_s=1.0))
        pods = (PodSample("a", PodPhase.READY, started_s=0.0, ready_s=start_s),)
        arrived = 0
        for tick in range(80):  # 80 requests a second for 5 s of every 10 s
            arrived += 40 * (tick % 20 >= 10)
            decision = policy.decide(seen(tick / 2, arrived, pods=pods))
        return decision.pods

    assert wanted(20.0) > wanted(1.0)


def wanted_at(service_time_s: float, busy_pods: float = 20.0) -> Decision:
    """Return the decision after two minutes of a load that keeps this many pods busy."""
    policy = Elastic()
    decision = Decision(0, "")
    for tick in range(240):
        arrived = int(tick / 2 * busy_pods / service_time_s)
        decision = policy.decide(
            seen(tick / 2, arrived, service_time_s=service_time_s, ready_pods=20, in_flight=int(busy_pods))
        )
    return decision


@pytest.mark.parametrize("service_time_s", [0.5, 0.6, 1.0, 3.9, 4.0, 5.0, 30.0])
def test_a_model_slower_than_the_slo_gets_the_pods_that_its_load_keeps_busy(service_time_s: float) -> None:
    decision = wanted_at(service_time_s)
    assert 20 <= decision.pods <= 60
    assert "the SLO of 0.5 s is out of reach" in decision.reason or decision.reason.startswith("hold:")


def test_the_pods_change_little_with_the_service_time_around_the_slo() -> None:
    pods = [wanted_at(service_time_s).pods for service_time_s in (0.49, 0.5, 0.51, 3.9, 4.0)]
    assert abs(pods[0] - pods[2]) <= 5
    assert abs(pods[3] - pods[4]) <= 5


def test_with_an_slo_out_of_reach_no_busy_pod_is_removed() -> None:
    policy = Elastic(ElasticConfig(hold_s=0.0))
    for at in range(40):
        decision = policy.decide(seen(float(at), 12, service_time_s=40.0, ready_pods=12, in_flight=12))
    assert decision.pods >= 12


def test_with_an_slo_out_of_reach_there_is_no_hedge() -> None:
    """Sooner pods cannot make a response on time."""

    def wanted(hedge: float) -> Decision:
        policy = Elastic(ElasticConfig(slo_s=0.2, hedge=hedge, hold_s=0.0))
        pods = tuple(PodSample(str(k), PodPhase.READY, started_s=0.0, ready_s=2.0 + k) for k in range(5))
        for at in range(20):
            decision = policy.decide(seen(float(at), 9 * at, pods=pods, ready_pods=1, in_flight=1, service_time_s=0.3))
        return decision

    assert wanted(hedge=3.0) == wanted(hedge=1.0)


def test_with_an_slo_out_of_reach_waiting_requests_are_served_too() -> None:
    """120 requests of 1 s within 30 s keep 4 pods busy."""
    policy = Elastic(ElasticConfig(hold_s=0.0))
    for at in range(30):
        decision = policy.decide(seen(float(at), 200, service_time_s=1.0, ready_pods=1, in_flight=1, waiting=120))
    assert decision.pods >= 4


def test_requests_that_waited_for_the_first_pods_do_not_count_as_slow_ones() -> None:
    """Five requests wait 3.5 s in an activator, and their wait is measured as service time, on a real Knative.

    Rows: time, arrived, ready, waiting, in flight, measured service time.
    """
    rows: list[tuple[float, int, int, int, int, float | None]] = [
        *((0.0, 0, 0, 0, 0, None), (0.1, 1, 0, 0, 1, None), (0.5, 3, 0, 0, 3, None), (1.0, 5, 0, 0, 5, None)),
        *((1.5, 9, 0, 4, 5, None), (2.0, 12, 0, 7, 5, None), (2.5, 15, 0, 10, 5, None), (3.0, 18, 0, 13, 5, None)),
        *((3.5, 21, 3, 11, 3, 3.47), (4.0, 24, 3, 3, 3, 2.1), (4.5, 27, 3, 0, 1, 1.4), (5.0, 30, 3, 0, 1, 1.0)),
    ]
    policy = Elastic()
    decisions = [
        policy.decide(seen(now_s, arrived, ready_pods=ready, waiting=waiting, in_flight=busy, service_time_s=time_s))
        for now_s, arrived, ready, waiting, busy, time_s in rows
    ]
    assert max(decision.pods for decision in decisions) <= 5
    assert "(the measured 3.47 s is doubted)" in decisions[8].reason


def test_from_zero_there_is_at_most_one_pod_for_each_request_until_a_pod_is_ready() -> None:
    """Even if a hundred pods were the cheapest: the first request of 30 s, at a price that late responses never had."""
    policy = Elastic(ElasticConfig(late_price=1e6, scenarios=ErrorPathConfig(surprise_pods=100.0)))
    policy.decide(seen(0.0, 0))
    first = policy.decide(seen(0.1, 1, waiting=1))
    assert 1 <= first.pods <= 5
    assert policy.decide(seen(1.0, 2, waiting=0, in_flight=2, ready_pods=2)).pods > 5


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ({}, "the last pod is for a first burst"),
        ({"ready_pods": 2, "waiting": 60, "feasible_backlog_s": 6.0}, "with a feasible backlog of 6.00 s"),
        ({"service_time_s": 0.3, "ready_pods": 9}, "at 10.0 req/s of 0.3 s each"),
    ],
    ids=["prior", "backlog", "service time"],
)
def test_the_reason_names_what_the_pods_are_for(others: dict[str, object], words: str) -> None:
    policy = Elastic(ElasticConfig(hold_s=0.0))
    for second in range(21):
        decision = policy.decide(seen(float(second), 10 * second, **others))
    assert words in decision.reason


def test_after_bursts_the_last_pods_are_for_another_one() -> None:
    policy, times_s = Elastic(ElasticConfig(hold_s=0.0)), (0, 40, 90, 120, 185)
    for second in range(210):
        decision = policy.decide(seen(float(second), 60 * sum(time_s <= second for time_s in times_s)))
    assert decision.reason.endswith("for bursts like past ones")


def test_a_restart_of_a_second_dispatcher_does_not_count_as_arrivals() -> None:
    policy, undisturbed = Elastic(), Elastic()
    for second in range(120):
        usual = undisturbed.decide(seen(float(second), 1000 + 20 * second, ready_pods=4))
        lost = 900 if second >= 60 else 0
        disturbed = policy.decide(seen(float(second), 1000 + 20 * second - lost, ready_pods=4))
        assert disturbed.record["level_rps"] >= 0
        assert disturbed.pods <= usual.pods + 2
    assert disturbed.pods == pytest.approx(usual.pods, abs=1)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_invalid_settings_are_refused_with_their_name_and_value(value: float) -> None:
    with pytest.raises(ValueError, match=f"slo_s must be above 0 and finite, got {value}"):
        ElasticConfig(slo_s=value)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 10), st.integers(0, 10**6), st.floats(0, 1e6), st.integers(0, 100)),
        max_size=30,
    )
)
def test_any_history_gives_a_valid_decision(steps: list[tuple[float, int, float, int]]) -> None:
    policy = Bounded(Elastic(), 0, 40)
    now_s, arrived = 0.0, 0
    for elapsed_s, more, backlog_s, ready in steps:
        now_s, arrived = now_s + elapsed_s, arrived + more
        decision = policy.decide(seen(now_s, arrived, feasible_backlog_s=backlog_s, ready_pods=ready))
        assert 0 <= decision.pods <= 40
        assert decision.reason
