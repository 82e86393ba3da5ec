"""Figures of a second from counters that only rise."""

from math import inf

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from autoscaler_tuning.live.page.answers import AnswerCounts, AnswerWindow, parse_counts, quantile, within
from dispatcher.metrics import DispatcherMetrics


def page_of(*latencies_s: float, statuses: tuple[int, ...] = ()) -> AnswerCounts:
    """Return what a dispatcher's page of metrics says after these answers."""
    registry = CollectorRegistry()
    metrics = DispatcherMetrics(registry)
    for latency_s in latencies_s:
        metrics.latency_s.observe(latency_s)
    for status in statuses:
        metrics.answer(status)
    return parse_counts(generate_latest(registry).decode())


def test_the_dispatchers_page_tells_answers_in_time_and_lost_ones() -> None:
    counts = page_of(0.02, 0.3, 0.5, 3.0, statuses=(200, 200, 429, 503, 404))
    assert counts.buckets[inf] == 4
    assert counts.buckets[0.5] == 3
    assert counts.lost == 2


def test_a_second_has_what_was_added_since_the_one_before() -> None:
    window = AnswerWindow(0.5)
    window.update({"a": page_of(0.1, 0.1)})
    second = window.update({"a": page_of(0.1, 0.1, 0.2, 4.0)})
    assert (second.answers, second.in_time, second.lost) == (2, 1, 0)


def test_what_was_counted_before_the_first_look_is_left_out() -> None:
    assert AnswerWindow(0.5).update({"a": page_of(0.1, 0.1)}).answers == 0


def test_a_restarted_dispatcher_counts_from_zero_and_others_go_on() -> None:
    window = AnswerWindow(0.5)
    window.update({"a": page_of(0.1, 0.1, 0.1, statuses=(503, 503)), "b": page_of(0.1)})
    second = window.update({"a": page_of(0.2, statuses=(503,)), "b": page_of(0.1, 0.1)})
    assert (second.answers, second.lost) == (2, 1)


def test_a_fast_refusal_is_not_an_answer_in_time() -> None:
    window = AnswerWindow(0.5)
    window.update({"a": page_of()})
    second = window.update({"a": page_of(0.001, 0.2, statuses=(503, 200))})
    assert (second.answers, second.in_time, second.lost) == (2, 1, 1)


@pytest.mark.parametrize(
    ("share", "expected"), [(0.5, 0.5), (0.25, 0.25), (0.75, 0.75), (1.0, 1.0)], ids=["p50", "p25", "p75", "p100"]
)
def test_quantiles_are_linear_within_a_bucket(share: float, expected: float) -> None:
    assert quantile({0.5: 2, 1.0: 4, inf: 4}, share) == pytest.approx(expected)


def test_a_quantile_beyond_the_last_bound_is_that_bound_and_none_of_nothing() -> None:
    assert quantile({0.5: 1, inf: 4}, 0.99) == 0.5
    assert quantile({0.5: 0, inf: 0}, 0.5) is None


def test_a_limit_at_a_bound_is_exact_and_one_within_a_bucket_is_shared_out() -> None:
    buckets = {0.5: 2.0, 1.0: 6.0, inf: 7.0}
    assert within(buckets, 0.5) == 2
    assert within(buckets, 0.75) == 4
    assert within(buckets, 9.0) == 6
    assert within({}, 0.5) == 0
