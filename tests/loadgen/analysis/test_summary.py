"""Figures of a run, compared with numbers worked out by hand."""

from math import isnan

import pytest

from loadgen.analysis.summary import spread, summarise
from loadgen.records import Failure, Record
from loadgen.reports.text import verbose_lines
from tests.loadgen.runs import good, local, unsent


def record(intended_s: float, latency_s: float | None, status: int = 200, **others: object) -> Record:
    done_s = None if latency_s is None else intended_s + latency_s
    sent_s = intended_s + 0.001
    return Record(intended_s, "a.jpg", sent_s, done_s=done_s, status=status, **others)  # type: ignore[arg-type]


RUN = [
    record(0.0, 0.1, label="cat"),
    record(1.0, 0.5, label="cat"),
    record(2.0, 0.6, label="dog"),
    record(3.0, 0.2, status=503, error="status 503"),
    record(4.0, None, status=0, error="no response within 30 s"),
]


def test_requests_without_a_successful_response_in_time_are_late() -> None:
    summary = summarise(RUN, slo_s=0.5, max_lag_ms=5)
    assert (summary.planned, summary.sent, summary.good, summary.late) == (5, 5, 3, 3)
    assert (summary.statuses, summary.classes) == ({0: 1, 200: 3, 503: 1}, {"cat": 2, "dog": 1})
    assert summary.errors == {"status 503": 1, "no response within 30 s": 1}
    assert summary.invalid == ()


def test_latency_is_measured_from_the_intended_and_from_the_actual_send() -> None:
    summary = summarise(RUN, slo_s=0.5, max_lag_ms=5)
    assert summary.latency.least_s == pytest.approx(0.1)
    assert summary.latency.most_s == pytest.approx(0.6)
    assert summary.latency.mean_s == pytest.approx(0.35)
    assert summary.from_sent.mean_s == pytest.approx(0.349)
    assert summary.lag.p99_s == pytest.approx(0.001)


def test_durations_last_from_the_first_send_to_the_last_response() -> None:
    summary = summarise(RUN[:3], slo_s=0.5, max_lag_ms=5)
    assert summary.attack_s == pytest.approx(2.0)
    assert summary.wait_s == pytest.approx(0.599)


def test_a_run_that_fell_behind_is_invalid() -> None:
    slow = [Record(float(i), "a", sent_s=i + 0.02, done_s=i + 0.1, status=200) for i in range(10)]
    (reason,) = summarise(slow, 0.5, max_lag_ms=5).invalid
    assert reason == "p99 send lag must be at most 5 ms (--max-lag-ms), got 20.0 ms"


def test_a_run_that_was_cut_short_is_invalid() -> None:
    cut = [record(0.0, 0.1)] * 199 + [Record(1.0, "a")] * 2
    (reason,) = summarise(cut, 0.5, max_lag_ms=5).invalid
    assert reason == "at least 99.5 % of the planned requests must be sent, got 199 of 201"
    assert summarise([record(0.0, 0.1)] * 199 + [Record(1.0, "a")], 0.5, 5).invalid == ()


def test_a_run_that_was_interrupted_while_the_last_requests_waited_is_invalid() -> None:
    aborted = record(1.0, None, status=0, failure=Failure.INTERRUPTED, error="interrupted")
    (reason,) = summarise([record(0.0, 0.1)] * 999 + [aborted], 0.5, max_lag_ms=5).invalid
    assert reason == "the run was interrupted: 1 of 1000 requests have no outcome"


def test_failures_of_this_machine_are_counted_with_their_reason_however_few_they_are() -> None:
    found = summarise([good(0.0, 0.1)] * 996 + [local(1.0)] * 4 + [unsent(2.0)], 0.5, max_lag_ms=5)
    assert (found.planned, found.sent, found.invalid) == (1001, 996, ())
    assert found.errors == {"ClientConnectorError: Too many open files": 4}
    assert found.statuses == {0: 4, 200: 996}


def test_a_spread_contains_percentiles() -> None:
    found = spread([float(value) for value in range(101)])
    assert (found.p50_s, found.p90_s, found.p95_s, found.p99_s) == (50, 90, 95, 99)
    assert isnan(spread([]).p50_s)


def test_verbose_lines_name_worker_request_and_result() -> None:
    named = record(0.0, 0.1, label="golden retriever", confidence=0.892, request_id="12345678", worker=1)
    assert verbose_lines(named) == [
        "Worker 1 delivered result to request 12345678",
        "Image a.jpg: Classified as 'golden retriever' with 89.2% confidence",
    ]
    assert verbose_lines(RUN[3]) == ["Image a.jpg: status 503"]


def lagging(*lags_ms: float) -> tuple[str, ...]:
    records = [Record(float(at), sent_s=at + lag_ms / 1000, done_s=at + 0.9) for at, lag_ms in enumerate(lags_ms)]
    return summarise(records, 0.5, max_lag_ms=5.0).invalid


@pytest.mark.parametrize(
    ("lags_ms", "valid"),
    [
        pytest.param([0.1] * 49 + [80.0], True, id="one late request of fifty"),
        pytest.param([0.1] * 48 + [80.0, 80.0], False, id="two of fifty"),
        pytest.param([0.1] * 500 + [80.0] * 4, True, id="less than one percent"),
        pytest.param([0.1] * 500 + [80.0] * 7, False, id="more than one percent"),
        pytest.param([80.0], False, id="the only request"),
        pytest.param([0.1, 80.0], True, id="one of two"),
    ],
)
def test_one_late_request_alone_makes_no_run_invalid(lags_ms: list[float], valid: bool) -> None:
    assert (lagging(*lags_ms) == ()) == valid


def test_a_run_without_requests_is_invalid() -> None:
    assert summarise([], 0.5, 5.0).invalid == ("at least one request must be planned, got none",)
