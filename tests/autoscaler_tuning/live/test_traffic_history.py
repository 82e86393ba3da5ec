"""Several dispatchers as one: their clocks start at different times, and any of them may start, lag, restart or go."""

from collections.abc import Sequence

import pytest

from autoscaler_tuning.live.signals import Signals
from autoscaler_tuning.live.traffic_history import TrafficHistory, merged
from autoscaler_tuning.types import Second


def signals(now_s: float, arrived: int, per_second: Sequence[int] = (), waiting: int = 0, released: int = 0) -> Signals:
    """Return the answer of a dispatcher; per_second are its newest whole seconds."""
    first = int(now_s) - len(per_second)
    seconds = tuple(Second(first + offset, count, count / 10) for offset, count in enumerate(per_second))
    return Signals(now_s, seconds, arrived, waiting, 0, 0.0, 0.0, None, released)


def both(first: TrafficHistory, second: TrafficHistory, now_s: float, *answered: TrafficHistory) -> Signals:
    return merged([first, second], answered or [first, second], now_s)


def test_seconds_of_different_clocks_are_added_up_on_the_clock_of_the_controller() -> None:
    first, second = TrafficHistory(), TrafficHistory()
    first.update(signals(7.5, 7, [3, 4]), 1000.0)
    second.update(signals(107.5, 30, [9, 1, 2], waiting=5), 1000.0)
    found = both(first, second, 1000.0)
    assert found.now_s == 1000.0
    assert [(one.index, one.arrivals) for one in found.seconds] == [(996, 9), (997, 4), (998, 6)]
    assert [one.concurrency for one in found.seconds] == pytest.approx([0.9, 0.4, 0.6])
    assert (found.arrived, found.waiting) == (37, 5)


def test_the_clock_and_the_counts_go_on_when_the_first_dispatcher_dies() -> None:
    first, second = TrafficHistory(), TrafficHistory()
    first.update(signals(5000.0, 700, [3, 3], waiting=9), 100.0)
    second.update(signals(20.0, 50, [1, 1]), 100.0)
    before = both(first, second, 100.0)
    second.update(signals(21.0, 51, [1, 1, 1]), 101.0)
    after = both(first, second, 101.0, second)
    assert after.now_s - before.now_s == 1.0
    assert (after.arrived, after.waiting) == (751, 0)
    assert [one.arrivals for one in after.seconds] == [4, 4, 1]
    assert after.seconds[:2] == before.seconds, "the past does not change"


def test_a_restart_of_one_neither_moves_the_clock_nor_lowers_the_counts() -> None:
    first, second = TrafficHistory(), TrafficHistory()
    first.update(signals(500.0, 700, [3, 3], released=690), 100.0)
    second.update(signals(500.0, 50, [1, 1], released=50), 100.0)
    before = both(first, second, 100.0)
    first.update(signals(2.2, 4, [2, 2], released=1), 104.2)
    second.update(signals(504.2, 54, [1] * 6, released=54), 104.2)
    after = both(first, second, 104.2)
    assert (after.arrived, after.released) == (700 + 4 + 54, 690 + 1 + 54)
    assert after.seconds[: len(before.seconds)] == before.seconds
    assert [one.index for one in after.seconds] == [*range(after.seconds[0].index, after.seconds[-1].index + 1)]
    assert [one.arrivals for one in after.seconds] == [4, 4, 1, 1, 3, 3]


def test_a_restart_that_is_seen_late_with_more_arrivals_than_before_is_still_a_restart() -> None:
    one = TrafficHistory()
    one.update(signals(500.0, 10), 100.0)
    one.update(signals(50.0, 12), 160.0)
    assert one.arrived == 22


def test_a_quick_restart_does_not_change_a_second_that_was_reported() -> None:
    one = TrafficHistory()
    one.update(signals(500.0, 700, [3, 3]), 100.0)
    newest = max(one.seconds)
    one.update(signals(1.2, 9, [9]), 100.5)
    assert one.seconds[newest].arrivals == 3
    assert one.arrived == 709


def test_one_that_has_just_started_does_not_shorten_the_history() -> None:
    first, second = TrafficHistory(), TrafficHistory()
    first.update(signals(60.0, 300, [5] * 60), 60.0)
    second.update(signals(0.4, 0), 60.0)
    assert len(both(first, second, 60.0).seconds) == 60
    second.update(signals(1.4, 1, [1]), 61.0)
    assert len(both(first, second, 61.0).seconds) >= 60


def test_a_second_counts_once_all_who_answered_have_closed_it() -> None:
    first, second = TrafficHistory(), TrafficHistory()
    first.update(signals(60.05, 300, [5] * 60), 60.05)
    second.update(signals(59.95, 60, [1] * 59), 59.95)
    assert [one.arrivals for one in both(first, second, 60.05).seconds] == [6] * 59


def test_one_that_comes_back_continues_with_the_counts_that_were_kept() -> None:
    first, second = TrafficHistory(), TrafficHistory()
    first.update(signals(60.0, 300, [5] * 60, released=290), 60.0)
    second.update(signals(60.0, 30, [1] * 60, released=30), 60.0)
    first.keep_counts()
    gone = both(first, second, 60.0, second)
    assert (gone.arrived, gone.released) == (330, 320)
    assert [one.arrivals for one in gone.seconds] == [1] * 60
    first.update(signals(360.0, 301, [0] * 59 + [1], released=291), 360.0)
    assert both(first, second, 360.0).arrived == 331


def test_not_more_than_two_minutes_are_kept() -> None:
    first, second = TrafficHistory(), TrafficHistory()
    for now in range(1, 400):
        for one in (first, second):
            one.update(signals(now, now, [1] * min(now, 120)), now)
    found = both(first, second, 399.0)
    assert len(found.seconds) == 120
    assert len(first.seconds) == 120
