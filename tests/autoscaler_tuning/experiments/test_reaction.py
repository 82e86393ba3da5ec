"""Reaction time: from a rate jump to the first decision for more pods."""

from math import isnan

import pytest

from autoscaler_tuning.experiments.reaction import LATEST_S, jumps, reaction_s

QUIET, BUSY = [8] * 30, [30] * 30


def test_a_rate_jump_is_found_at_the_second_in_which_the_rate_rises() -> None:
    assert jumps([*QUIET, *BUSY]) == [(30, 30)]


@pytest.mark.parametrize(
    "counts",
    [
        pytest.param([20] * 60, id="a steady rate"),
        pytest.param([9, 7, 10, 8, 6, 9, 8] * 8, id="noise of a low rate"),
        pytest.param([20 + second // 2 for second in range(60)], id="a ramp"),
        pytest.param([*BUSY, *QUIET], id="a drop"),
        pytest.param([5], id="one second"),
        pytest.param([0] * 40, id="no traffic"),
    ],
)
def test_other_traffic_has_no_rate_jump(counts: list[int]) -> None:
    assert jumps(counts) == []


def test_a_burst_after_no_traffic_is_one_rate_jump() -> None:
    assert [second for second, _ in jumps([0] * 20 + [30] * 5 + [0] * 30)] == [20]


def test_the_reaction_time_ends_with_the_first_decision_for_more_pods() -> None:
    wanted_pods = [(0.5, 1), (31.2, 4), (33.0, 6)]
    assert reaction_s([*QUIET, *BUSY], wanted_pods, 0.1) == pytest.approx(1.2)


def test_a_decision_for_fewer_pods_is_no_reaction() -> None:
    wanted_pods = [(0.5, 2), (31.0, 1), (32.0, 2), (34.5, 3)]
    assert reaction_s([*QUIET, *BUSY], wanted_pods, 0.1) == pytest.approx(4.5)


def test_pods_that_can_already_serve_the_new_rate_need_no_reaction() -> None:
    assert reaction_s([*QUIET, *BUSY], [(0.5, 3)], 0.1) == 0.0
    assert reaction_s([*QUIET, *BUSY], [(0.5, 2)], 0.1) == LATEST_S


def test_without_a_rate_jump_there_is_no_reaction_time() -> None:
    assert isnan(reaction_s(QUIET, [(0.5, 1)], 0.1))
