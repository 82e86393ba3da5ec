"""Observations that a policy can act on: impossible numbers, counters and times are repaired."""

from dataclasses import replace
from math import inf, nan

import pytest

from autoscaler_tuning.policies.observations import Observations
from autoscaler_tuning.types import Observation, PodPhase, PodSample, Second

USUAL = Observation(now_s=100.0, ready_pods=2, starting_pods=1, arrived=50, service_time_s=0.1)


def test_a_usual_observation_is_passed_on_as_it_is() -> None:
    observations = Observations()
    assert observations.usable(USUAL) is USUAL
    later = replace(USUAL, now_s=101.0, arrived=60, seconds=(Second(100, 10, 1.0),))
    assert observations.usable(later) is later


def test_after_a_dispatchers_restart_the_count_continues_without_the_missing_arrivals() -> None:
    observations = Observations()
    counts = [replace(USUAL, now_s=100.0 + tick, arrived=arrived) for tick, arrived in enumerate((500, 510, 230, 236))]
    assert [observations.usable(one).arrived for one in counts] == [500, 510, 510, 516]


def test_after_a_jump_back_of_the_clock_time_continues_with_seconds_and_pods() -> None:
    observations = Observations()
    observations.usable(replace(USUAL, now_s=7200.25))
    pod = PodSample("a", PodPhase.READY, started_s=10.0, ready_s=13.0)
    back = observations.usable(replace(USUAL, now_s=20.5, seconds=(Second(19, 4, 1.0),), pods=(pod,)))
    assert 7200.25 <= back.now_s < 7201.5
    shift_s = back.now_s - 20.5
    assert back.seconds[0].index == 19 + shift_s
    assert (back.pods[0].started_s, back.pods[0].ready_s) == (10.0 + shift_s, 13.0 + shift_s)
    assert observations.usable(replace(USUAL, now_s=21.5)).now_s == back.now_s + 1


@pytest.mark.parametrize("service_time_s", [nan, inf, -1.0, 0.0, 1e-300, 1e300])
def test_an_impossible_service_time_is_unknown(service_time_s: float) -> None:
    assert Observations().usable(replace(USUAL, service_time_s=service_time_s)).service_time_s is None


@pytest.mark.parametrize("value", [nan, inf, -3.0, 1e300])
def test_an_impossible_backlog_counts_as_none(value: float) -> None:
    usable = Observations().usable(replace(USUAL, feasible_backlog_s=value, oldest_wait_s=value))
    assert (usable.feasible_backlog_s, usable.oldest_wait_s) == (0.0, 0.0)


def test_negative_and_huge_counts_count_as_none() -> None:
    usable = Observations().usable(replace(USUAL, waiting=-1, in_flight=10**300, ready_pods=-2, starting_pods=-1))
    assert (usable.waiting, usable.in_flight, usable.ready_pods, usable.starting_pods) == (0, 0, 0, 0)
    assert usable.fresh


@pytest.mark.parametrize("now_s", [nan, inf, -inf, 1e300])
def test_without_a_valid_time_the_signals_are_not_fresh(now_s: float) -> None:
    observations = Observations()
    observations.usable(USUAL)
    usable = observations.usable(replace(USUAL, now_s=now_s))
    assert (usable.fresh, usable.now_s) == (False, 100.0)


@pytest.mark.parametrize("arrived", [-1, 10**30])
def test_without_a_valid_count_the_signals_are_not_fresh(arrived: int) -> None:
    assert not Observations().usable(replace(USUAL, arrived=arrived)).fresh


def test_an_impossible_second_is_left_out_as_long_as_it_is_shown() -> None:
    observations = Observations()
    good, bad = Second(98, 5, 0.5), Second(99, 5, nan)
    for _ in range(2):
        assert observations.usable(replace(USUAL, seconds=(good, bad))).seconds == (good,)
    assert observations.usable(replace(USUAL, seconds=(Second(100, 5, 0.5),))).seconds[0].index == 100
