"""The text report: vegeta's lines with ours among them, and the lines of an invalid run."""

import json
import math
from typing import Any

import pytest

from loadgen.analysis.columns import columns
from loadgen.analysis.gates import check, parse_gate
from loadgen.analysis.runs import Run
from loadgen.analysis.summary import summarise
from loadgen.reports.text import document, duration, text
from tests.loadgen.runs import MIXED, good, local, run, unsent


def report_lines(seen: Run, *gates: str) -> list[str]:
    settings = seen.settings
    verdicts = check([parse_gate(gate) for gate in gates], columns(seen.records), settings)
    return text(seen, summarise(seen.records, settings.slo_s, settings.max_lag_ms), verdicts).splitlines()


def line(lines: list[str], start: str) -> str:
    return next(line for line in lines if line.startswith(start))


def test_vegetas_lines_have_vegetas_labels_in_vegetas_order() -> None:
    labels = [line[:32].strip() for line in report_lines(MIXED)]
    vegeta = [
        "Requests      [total, rate, thro",
        "Duration      [total, attack, wa",
        "Latencies     [min, mean, 50, 90",
        "Bytes In      [total, mean]",
        "Bytes Out     [total, mean]",
        "Success       [ratio]",
        "Status Codes  [code:count]",
        "Error Set:",
    ]
    assert [label for label in labels if label in vegeta] == vegeta


def test_both_latencies_and_the_send_lag_are_adjacent_lines() -> None:
    lines = report_lines(run(good(0.0, 0.3, lag_s=0.1), good(1.0, 0.5, lag_s=0.25)))
    first = next(index for index, line in enumerate(lines) if line.startswith("Latencies"))
    figures = [line[48:].split(", ") for line in lines[first : first + 3]]
    assert [(row[0], row[-1]) for row in figures] == [("300ms", "500ms"), ("200ms", "250ms"), ("100ms", "250ms")]


def test_the_planned_rate_is_beside_the_achieved_rate() -> None:
    whole = run(*(good(index / 10, 0.01) for index in range(100)))
    half = run(*(good(index / 10, 0.01) for index in range(50)), *(unsent(5 + index / 10) for index in range(50)))
    behind = run(*(good(index / 10, 20.0, lag_s=index / 10) for index in range(100)))
    assert line(report_lines(whole), "Rate").split()[-2:] == ["10.00,", "10.00"]
    assert line(report_lines(half), "Rate").split()[-2:] == ["10.00,", "5.00"]
    assert line(report_lines(behind), "Rate").split()[-2:] == ["10.00,", "5.05"]


def test_the_report_contains_missed_slos_and_the_reasons_for_an_invalid_run() -> None:
    lines = report_lines(run(good(0.0, 0.2, lag_s=0.02)), "p95<0.1s", "errors<1%")
    assert lines[-4:] == [
        "SLO p95<0.1s: MISSED: 0.2 s",
        "SLO errors<1%: held: 0 %",
        "INVALID: p99 send lag must be at most 5 ms (--max-lag-ms), got 20.0 ms",
        "Test Results: 1/1 successful requests (100.0%)",
    ]


def test_late_and_errors_are_counted() -> None:
    lines = report_lines(MIXED)
    assert line(lines, "Late  ").split("]")[1].strip() == "4 of 6 (66.67%)"
    assert line(lines, "Status Codes").split("]")[1].strip() == "0:1  200:3  503:1"
    assert "1x status 503: full" in lines


def test_requests_that_failed_on_this_machine_are_in_vegetas_lines() -> None:
    lines = report_lines(run(good(0.0, 0.1), local(1.0), unsent(2.0)))
    assert line(lines, "Requests").split("]")[1].split(",")[0].strip() == "2"
    assert line(lines, "Status Codes").split("]")[1].strip() == "0:1  200:1"
    assert f"1x {local(1.0).error}" in lines


def test_a_run_without_requests_has_a_report() -> None:
    assert report_lines(run())[-1] == "Test Results: 0/0 successful requests (0.0%)"


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        pytest.param(0.0, "0s", id="nothing"),
        pytest.param(1.5e-7, "0.15µs", id="under a microsecond"),
        pytest.param(0.0008901234, "890.123µs", id="microseconds to the nanosecond"),
        pytest.param(0.0123456789, "12.346ms", id="milliseconds to the microsecond"),
        pytest.param(0.9999999, "1s", id="rounded up into the next unit"),
        pytest.param(1.23456, "1.235s", id="seconds to the millisecond"),
        pytest.param(90.4, "1m30s", id="minutes to the second"),
        pytest.param(3725.0, "1h2m5s", id="hours"),
        pytest.param(-0.0015, "-1.5ms", id="early"),
        pytest.param(math.nan, "-", id="not measured"),
    ],
)
def test_durations_are_written_as_vegeta_writes_them(seconds: float, written: str) -> None:
    assert duration(seconds) == written


def test_the_document_is_json_with_columns_of_equal_length() -> None:
    made: Any = document(MIXED, summarise([], 0.5, 5))
    again = json.loads(json.dumps(made, allow_nan=False))
    assert {len(column) for column in again["requests"].values()} == {6}
    assert again["requests"]["done_s"][4] is None
    assert again["summary"]["latency"]["p50_s"] is None
    assert (again["about"]["workload"], again["plan"]["duration_s"]) == ("w.txt", 6.0)
