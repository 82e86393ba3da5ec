"""Knative's sliding windows: late records, gaps and edges."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler_tuning.policies.kpa.windows import MaxWindow, TimedBuckets


def recorded(window_s: float, *records: tuple[float, float], granularity_s: float = 1.0) -> TimedBuckets:
    buckets = TimedBuckets(window_s, granularity_s)
    for time_s, value in records:
        buckets.record(time_s, value)
    return buckets


def test_the_mean_is_over_the_seconds_recorded_so_far() -> None:
    assert recorded(60, (0, 2), (1, 4)).average(1.5) == 3


def test_records_of_one_second_add_up() -> None:
    assert recorded(60, (0.1, 2), (0.9, 4)).average(0.95) == 6


def test_a_gap_in_the_middle_counts_as_zero() -> None:
    assert recorded(60, (0, 6), (2, 6)).average(2) == 4


def test_seconds_after_the_last_record_do_not_count() -> None:
    assert recorded(60, (0, 6), (1, 6)).average(40) == 6


def test_after_a_window_without_records_the_mean_is_zero() -> None:
    buckets = recorded(6, (0, 6))
    assert buckets.average(5.9) == 6
    assert buckets.average(6) == 0


def test_records_older_than_the_window_do_not_count() -> None:
    assert recorded(3, (0, 30), (1, 3), (2, 3), (3, 3)).average(3) == 3


def test_a_late_record_within_the_window_counts_in_its_second() -> None:
    assert recorded(6, (3, 6), (2, 2)).average(3) == 4


def test_a_record_as_old_as_the_window_is_ignored() -> None:
    assert recorded(6, (10, 6), (4, 100)).average(10) == 6
    assert recorded(6, (10, 6), (5, 6)).average(10) == 2


def test_it_is_empty_only_after_more_than_a_window_without_records() -> None:
    buckets = recorded(6, (0, 1))
    assert not buckets.is_empty(6)
    assert buckets.is_empty(7)
    assert TimedBuckets(6).is_empty(0)


def test_means_are_rounded_to_six_decimal_places() -> None:
    assert recorded(60, (0, 1), (1, 0), (2, 0)).average(2) == 0.333333


@pytest.mark.parametrize(("window_s", "weight"), [(100, 0.2), (6, 0.784557)])
def test_the_newest_second_has_the_largest_weight(window_s: float, weight: float) -> None:
    assert recorded(window_s, (0, 1)).weighted_average(0) == pytest.approx(weight, abs=1e-6)
    assert recorded(window_s, (0, 1)).weighted_average(1) == pytest.approx(weight * (1 - weight), abs=1e-6)


def test_buckets_may_be_wider_than_a_second() -> None:
    assert recorded(6, (0, 1), (1.9, 2), (2, 5), granularity_s=2.0).average(3) == 4


def test_a_late_record_before_the_first_extends_the_time_recorded() -> None:
    assert recorded(60, (10, 6), (8, 6)).average(10) == 4


def test_a_record_after_a_window_without_records_starts_afresh() -> None:
    buckets = recorded(6, (0, 60), (6, 3))
    assert buckets.average(6) == 3
    assert buckets.average(7) == 3


def test_a_gap_clears_only_the_buckets_that_fell_out_of_the_window() -> None:
    assert recorded(6, (0, 60), (1, 6), (6, 6)).average(6) == 2


def test_time_without_records_pushes_the_oldest_out() -> None:
    assert recorded(3, (0, 9), (1, 3), (2, 3)).average(3) == 3
    assert recorded(3, (0, 9), (1, 3), (2, 6)).average(4) == 6


def test_the_weighted_mean_counts_gaps_as_zero_and_ends_with_the_window() -> None:
    weight = 1 - 0.0001 ** (1 / 6)
    assert recorded(6, (0, 1), (2, 1)).weighted_average(2) == pytest.approx(weight * (1 + (1 - weight) ** 2))
    assert recorded(6, (0, 1)).weighted_average(7) == 0
    assert TimedBuckets(6).weighted_average(0) == 0


def test_the_weights_of_a_full_window_sum_to_one_minus_a_ten_thousandth() -> None:
    full = recorded(6, *((second, 1) for second in range(6)))
    rest = 0.0001 ** (1 / 6)
    assert full.weighted_average(5) == pytest.approx(0.9999)
    assert full.weighted_average(7) == pytest.approx(rest**2 * (1 - rest**4))


def test_halves_are_rounded_away_from_zero() -> None:
    assert recorded(60, (0, 0.00000249), (0, 0.00000001)).average(0) == 0.000003
    assert recorded(60, (0, -0.00000249), (0, -0.00000001)).average(0) == -0.000003


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 1000)), min_size=1, max_size=60), st.integers(1, 20))
def test_records_in_order_give_the_mean_of_a_plain_list(records: list[tuple[int, int]], window_s: int) -> None:
    ascending = sorted(records)
    newest = ascending[-1][0]
    kept = [second for second, _ in ascending if second > newest - window_s]
    begin = max(kept[0] if _broken_before(ascending, kept[0], window_s) else ascending[0][0], newest - window_s + 1)
    total = sum(value for second, value in ascending if second >= begin)
    found = recorded(window_s, *ascending).average(newest)
    assert found == pytest.approx(total / (newest - begin + 1), abs=1e-6)


def _broken_before(ascending: list[tuple[int, int]], first: int, window_s: int) -> bool:
    """Return whether a whole window without records precedes the record at `first`."""
    before = [second for second, _ in ascending if second < first]
    return bool(before) and first - before[-1] >= window_s


def test_a_maximum_lasts_for_its_window() -> None:
    window = MaxWindow(4, 2)
    assert [window.record(t, v) for t, v in [(0, 9), (2, 3), (4, 1), (6, 1)]] == [9, 9, 3, 1]


def test_within_one_step_the_larger_value_stays() -> None:
    window = MaxWindow(4, 2)
    assert [window.record(t, v) for t, v in [(0, 5), (1, 2), (1.9, 7), (3.9, 1)]] == [5, 5, 7, 7]


def test_a_maximum_window_is_rounded_up_to_whole_steps() -> None:
    window = MaxWindow(3, 2)
    assert [window.record(t, v) for t, v in [(0, 9), (2, 1), (4, 1)]] == [9, 9, 1]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 50)), min_size=1, max_size=60), st.integers(1, 20))
def test_the_maximum_is_that_of_a_plain_list(steps: list[tuple[int, int]], window_s: int) -> None:
    window, now_s, seen = MaxWindow(window_s, 1.0), 0, []
    for elapsed_s, value in steps:
        now_s += elapsed_s
        seen.append((now_s, value))
        assert window.record(now_s, value) == max(v for t, v in seen if t > now_s - window_s)
