"""Recurring bursts: when the next one is expected, and when an interval is given up."""

import numpy as np
import pytest

from autoscaler_tuning.policies.elastic.config import ElasticConfig
from autoscaler_tuning.policies.elastic.elastic import Elastic
from autoscaler_tuning.policies.elastic.recurrence import MISSES_A_HIT, SCHEDULED_S, Interval, Recurrence
from autoscaler_tuning.types import Observation

TICK_S, STEPS = 0.5, 12
NOTHING = np.zeros(STEPS)


def after_bursts(times_s: list[float], until_s: float) -> Recurrence:
    """Return what is known after bursts of 20 requests a second for 6 s."""
    recurrence, arrived = Recurrence(STEPS, TICK_S), 0
    for tick in range(int(until_s / TICK_S) + 1):
        now_s = tick * TICK_S
        before = arrived
        arrived += 10 * any(0 <= now_s - time_s < 6 for time_s in times_s)
        recurrence.update(now_s, arrived)
        if now_s in times_s:
            recurrence.burst(now_s, before)
    return recurrence


def expects(recurrence: Recurrence, now_s: float) -> bool:
    return any(True for _ in recurrence.scenarios(now_s, NOTHING))


@pytest.mark.parametrize("interval_s", SCHEDULED_S[:-2])
def test_after_the_first_burst_another_is_expected_at_each_usual_interval(interval_s: float) -> None:
    recurrence = after_bursts([10.0], 10.0 + interval_s - 10.0)
    assert not expects(recurrence, interval_s - 10.0)
    assert expects(recurrence, 10.0 + interval_s - 3.0)


def test_a_burst_of_another_interval_is_expected_once_the_interval_was_seen() -> None:
    assert not expects(after_bursts([10.0], 80.0), 80.0)
    assert expects(after_bursts([10.0, 87.0], 162.0), 162.0)


def test_the_scenario_is_what_came_in_the_last_burst_as_soon_as_the_next_may_come_within_its_ticks() -> None:
    """The burst is expected at 70 s, 1 s early at most; the 12 ticks from 63.5 s on reach 69.5 s."""
    recurrence = after_bursts([10.0], 63.5)
    assert not expects(recurrence, 63.0)
    ((path, chance),) = recurrence.scenarios(63.5, NOTHING)
    assert path.tolist() == [10.0 * count for count in range(1, STEPS + 1)]
    assert chance == 0.5


def test_traffic_that_is_already_as_high_needs_nothing_more() -> None:
    high = np.arange(1, STEPS + 1, dtype=np.float64) * 10
    ((path, _),) = after_bursts([10.0], 69.0).scenarios(69.0, high)
    assert path.tolist() == high.tolist()


def test_an_interval_that_proved_true_survives_two_misses_and_one_that_never_did_none() -> None:
    assert Interval(60.0).is_worth_trying
    assert not Interval(60.0, misses=1).is_worth_trying
    assert Interval(60.0, hits=1, misses=MISSES_A_HIT).is_worth_trying
    assert not Interval(60.0, hits=1, misses=MISSES_A_HIT + 1).is_worth_trying


def test_a_burst_that_never_comes_again_is_prepared_for_once_at_each_interval() -> None:
    recurrence = after_bursts([10.0], 1000.0)
    recurrence.burst(1000.0, 0)
    assert not expects(recurrence, 1060.0)


def test_a_burst_counts_as_expected_only_within_the_tolerance() -> None:
    for time_s, hits in ((70.5, 1), (72.0, 0)):
        recurrence = after_bursts([10.0], 69.5)
        recurrence.burst(time_s, 0)
        assert recurrence.intervals[0] == (60.0, hits, 0)


def test_an_interval_that_proved_true_twice_explains_the_bursts_before_it_too() -> None:
    recurrence = after_bursts([10.0], 69.5)
    assert recurrence.burst(70.0, 0) == []
    assert recurrence.burst(100.0, 0) == []
    assert recurrence.burst(130.0, 0) == [120.0, 60.0, 0.0]


def test_once_an_interval_is_proven_no_other_is_tried() -> None:
    """The burst at 10 s was expected again after 300 s, until it was explained at 271 s."""
    assert expects(after_bursts([10.0, 97.0, 184.0], 307.0), 307.0)
    for at_s, is_expected in ((307.0, False), (355.0, True), (568.0, False)):
        assert expects(after_bursts([10.0, 97.0, 184.0, 271.0], at_s), at_s) is is_expected


def test_at_most_so_many_intervals_are_remembered() -> None:
    recurrence = Recurrence(STEPS, TICK_S)
    for burst in range(60):
        recurrence.burst(11.0 * burst + burst**1.5, 0)
    assert len(recurrence._intervals) <= len(SCHEDULED_S) + 8


@pytest.mark.parametrize(("expects_recurrence", "is_ready"), [(True, True), (False, False)])
def test_elastic_has_pods_ready_when_a_burst_comes_back_after_five_minutes(
    expects_recurrence: bool, is_ready: bool
) -> None:
    """Bursts of 20 requests a second for 10 s, 300 s apart; the decision 5 s before the third one."""
    policy = Elastic(ElasticConfig(expects_recurrence=expects_recurrence))
    arrived = 0
    for tick in range(2 * 615):
        now_s = tick * TICK_S
        if now_s == 610.0 - 5.0:
            break
        arrived += 10 * (now_s % 300 >= 10 and now_s % 300 < 20)
        decision = policy.decide(Observation(now_s, 0, 0, arrived=arrived, service_time_s=0.1))
    assert (decision.pods >= 2) == is_ready
