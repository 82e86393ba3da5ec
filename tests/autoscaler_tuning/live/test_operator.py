"""What an operator may set, and what it does to a decision."""

import pytest

from autoscaler_tuning.live.operator import Operator
from autoscaler_tuning.types import Decision


@pytest.mark.parametrize(("least", "most"), [(0, 1), (0, 8), (3, 5), (8, 8)])
def test_bounds_up_to_the_most_pods_are_kept(least: int, most: int) -> None:
    operator = Operator(8)
    operator.set_bounds(least, most)
    assert operator.bounds == (least, most)


@pytest.mark.parametrize(("least", "most"), [(-1, 2), (0, 0), (3, 2), (0, 9)])
def test_other_bounds_are_refused_and_the_last_ones_stay(least: int, most: int) -> None:
    operator = Operator(8, bounds=(1, 2))
    with pytest.raises(ValueError, match=f"0 <= min <= max <= 8 with max >= 1, got {least}, {most}"):
        operator.set_bounds(least, most)
    assert operator.bounds == (1, 2)


@pytest.mark.parametrize(("wanted", "pods"), [(0, 2), (1, 2), (2, 2), (3, 3), (4, 4), (5, 4)])
def test_a_decision_is_moved_to_the_nearer_bound_and_says_so(wanted: int, pods: int) -> None:
    found = Operator(8, bounds=(2, 4)).applied(Decision(wanted, "rate"))
    by_hand = f"operator: {pods} pods, within the bounds 2 to 4 set by hand; rate"
    assert (found.pods, found.reason) == (pods, "rate" if pods == wanted else by_hand)


def test_without_bounds_a_decision_stays() -> None:
    assert Operator(1).applied(Decision(9, "rate")) == Decision(9, "rate")
