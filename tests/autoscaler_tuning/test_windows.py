"""Knative's windows: late records, gaps and edges."""

import pytest

from autoscaler_tuning.windows import MaxWindow, TimedBuckets


def recorded(window_s: float, *records: tuple[float, float], granularity_s: float = 1.0) -> TimedBuckets:
    buckets = TimedBuckets(window_s, granularity_s)
    for time_s, value in records:
        buckets.record(time_s, value)
    return buckets


def test_the_mean_divides_by_the_seconds_seen_so_far() -> None:
    assert recorded(60, (0, 2), (1, 4)).average(1.5) == 3


def test_records_of_one_second_add_up() -> None:
    assert recorded(60, (0.1, 2), (0.9, 4)).average(0.95) == 6


def test_a_gap_in_the_middle_counts_as_zero() -> None:
    assert recorded(60, (0, 6), (2, 6)).average(2) == 4


def test_a_silent_end_does_not_count() -> None:
    assert recorded(60, (0, 6), (1, 6)).average(40) == 6


def test_after_a_silent_window_the_mean_is_zero() -> None:
    buckets = recorded(6, (0, 6))
    assert buckets.average(5.9) == 6
    assert buckets.average(6) == 0


def test_what_is_older_than_the_window_is_left_out() -> None:
    assert recorded(3, (0, 30), (1, 3), (2, 3), (3, 3)).average(3) == 3


def test_a_late_record_within_the_window_counts_in_its_second() -> None:
    assert recorded(6, (3, 6), (2, 2)).average(3) == 4


def test_a_record_as_old_as_the_window_is_forgotten() -> None:
    assert recorded(6, (10, 6), (4, 100)).average(10) == 6
    assert recorded(6, (10, 6), (5, 6)).average(10) == 2


def test_it_is_empty_only_after_more_than_the_window() -> None:
    buckets = recorded(6, (0, 1))
    assert not buckets.is_empty(6)
    assert buckets.is_empty(7)
    assert TimedBuckets(6).is_empty(0)


def test_means_are_rounded_to_six_digits() -> None:
    assert recorded(60, (0, 1), (1, 0), (2, 0)).average(2) == 0.333333


@pytest.mark.parametrize(("window_s", "weight"), [(100, 0.2), (6, 0.784557)])
def test_the_newest_second_weighs_most(window_s: float, weight: float) -> None:
    assert recorded(window_s, (0, 1)).weighted_average(0) == pytest.approx(weight, abs=1e-6)
    assert recorded(window_s, (0, 1)).weighted_average(1) == pytest.approx(weight * (1 - weight), abs=1e-6)


def test_buckets_may_be_wider_than_a_second() -> None:
    assert recorded(6, (0, 1), (1.9, 2), (2, 5), granularity_s=2.0).average(3) == 4


def test_the_maximum_stays_for_its_window_and_then_falls() -> None:
    window = MaxWindow(4, 2)
    assert [window.record(t, v) for t, v in [(0, 9), (2, 3), (4, 1), (6, 1)]] == [9, 9, 3, 1]


def test_within_one_step_the_larger_value_stays() -> None:
    window = MaxWindow(4, 2)
    assert [window.record(t, v) for t, v in [(0, 5), (1, 2), (1.9, 7), (3.9, 1)]] == [5, 5, 7, 7]
