"""Figures of a second from counters that only rise."""

from math import inf

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from autoscaler_tuning.live.page.answers import AnswerCounts, AnswerWindow, parse_counts, quantile
from dispatcher.metrics import DispatcherMetrics


def page_of(*answers: tuple[float, int]) -> AnswerCounts:
    """Return what a dispatcher's page of metrics says after answers of these latencies and statuses."""
    registry = CollectorRegistry()
    metrics = DispatcherMetrics(registry, slo_s=0.5)
    for latency_s, status in answers:
        metrics.latency_s.observe(latency_s)
        metrics.answer(status, latency_s)
    return parse_counts(generate_latest(registry).decode())


FAST, SLOW, REFUSED = (0.1, 200), (3.0, 200), (0.001, 429)


def test_the_dispatchers_page_tells_answers_late_ones_and_lost_ones() -> None:
    counts = page_of(FAST, (0.3, 404), (0.5, 200), SLOW, REFUSED, (0.2, 503))
    assert counts.buckets[inf] == 6
    assert (counts.answers, counts.late, counts.lost) == (6, 3, 2)


def test_a_second_has_what_was_added_since_the_one_before() -> None:
    window = AnswerWindow()
    window.update({"a": page_of(FAST, FAST)})
    second = window.update({"a": page_of(FAST, FAST, FAST, SLOW, REFUSED)})
    assert (second.answers, second.in_time, second.lost) == (3, 1, 1)


@pytest.mark.parametrize(
    ("status", "lost"), [(200, 0), (404, 0), (428, 0), (429, 1), (431, 0), (500, 1), (503, 1)], ids=str
)
def test_lost_are_those_without_room_time_or_an_answer_of_a_pod(status: int, lost: int) -> None:
    assert page_of((0.1, status)).lost == lost


def test_the_percentiles_are_the_usual_three_over_all_dispatchers() -> None:
    window = AnswerWindow()
    window.update({"a": AnswerCounts({}, 0, 0, 0), "b": AnswerCounts({}, 0, 0, 0)})
    a = AnswerCounts({1.0: 50, 2.0: 50, 3.0: 50, inf: 50}, 50, 0, 0)
    b = AnswerCounts({1.0: 0, 2.0: 45, 3.0: 49, inf: 50}, 50, 0, 0)
    assert window.update({"a": a, "b": b}).percentiles_s == (1.0, 2.0, 3.0)


def test_an_answer_counts_in_the_percentiles_for_ten_seconds() -> None:
    window = AnswerWindow()
    window.update({"a": page_of()})
    seconds = [window.update({"a": page_of(FAST)}).percentiles_s for _ in range(11)]
    assert None not in seconds[9]
    assert seconds[10] == (None, None, None)


def test_more_late_ones_than_answers_leave_none_in_time_and_not_fewer() -> None:
    window = AnswerWindow()
    window.update({"a": AnswerCounts({}, 0, 0, 0)})
    assert window.update({"a": AnswerCounts({}, 1, 2, 0)}).in_time == 0


def test_what_was_counted_before_the_first_look_is_left_out() -> None:
    assert AnswerWindow().update({"a": page_of(FAST, FAST)}).answers == 0


def test_dispatchers_that_were_replaced_long_ago_are_forgotten() -> None:
    window = AnswerWindow()
    window.update({"old": page_of(FAST), "stays": page_of()})
    for number in range(200):
        window.update({f"new {number}": page_of(), "stays": page_of()})
    assert window.update({"old": page_of(FAST, FAST, FAST), "stays": page_of(FAST)}).answers == 1


def test_a_restarted_dispatcher_counts_from_zero_and_others_go_on() -> None:
    window = AnswerWindow()
    window.update({"a": page_of(FAST, REFUSED, REFUSED), "b": page_of(FAST)})
    second = window.update({"a": page_of(FAST, REFUSED), "b": page_of(FAST, FAST)})
    assert (second.answers, second.in_time, second.lost) == (3, 2, 1)


@pytest.mark.parametrize(
    ("share", "expected"), [(0.5, 0.5), (0.25, 0.25), (0.75, 0.75), (1.0, 1.0)], ids=["p50", "p25", "p75", "p100"]
)
def test_quantiles_are_linear_within_a_bucket(share: float, expected: float) -> None:
    assert quantile({0.5: 2, 1.0: 4, inf: 4}, share) == pytest.approx(expected)


def test_a_quantile_beyond_the_last_bound_is_that_bound_and_none_of_nothing() -> None:
    assert quantile({0.5: 1, inf: 4}, 0.99) == 0.5
    assert quantile({0.5: 0, inf: 0}, 0.5) is None
