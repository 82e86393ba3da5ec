"""SLOs: which are accepted, which are refused, and when a run meets them."""

import math

import pytest

from loadgen.analysis.columns import Columns, columns
from loadgen.analysis.gates import EarlyVerdict, GateError, check, parse_gate
from loadgen.analysis.runs import RunSettings
from loadgen.records import Record
from tests.loadgen.runs import URL, good, lost, refused


def run(*latencies_s: float | None) -> Columns:
    """Return one request per second; None stands for a 503 after 1 ms, inf for no response."""
    return columns([one(float(index), latency_s) for index, latency_s in enumerate(latencies_s)])


def one(intended_s: float, latency_s: float | None) -> Record:
    if latency_s is None:
        return refused(intended_s)
    return lost(intended_s) if math.isinf(latency_s) else good(intended_s, latency_s)


def line(text: str, seen: Columns, slo_s: float = 0.5) -> str:
    (verdict,) = check([parse_gate(text)], seen, RunSettings(URL, float(seen.planned), slo_s))
    return verdict.line


# 129 requests from 0 to 1 s, exact in binary so that they can be compared for equality.
STEPS = [index / 128 for index in range(129)]


@pytest.mark.parametrize(
    ("text", "name", "bound"),
    [
        pytest.param("p95<0.5s", "p95", 0.5, id="seconds"),
        pytest.param("p99.9 <= 800ms", "p99.9", 0.8, id="milliseconds, blanks"),
        pytest.param("P50<250us", "p50", 0.00025, id="capitals"),
        pytest.param("errors<0.1%", "errors", 0.001, id="percent"),
        pytest.param("late<0.02", "late", 0.02, id="plain share"),
        pytest.param("throughput>=100/s", "throughput", 100, id="per second"),
        pytest.param("rate>99.5", "rate", 99.5, id="plain rate"),
        pytest.param("max<2s", "max", 2, id="slowest"),
    ],
)
def test_a_gate_is_a_metric_a_comparison_and_a_bound(text: str, name: str, bound: float) -> None:
    gate = parse_gate(text)
    assert (gate.name, gate.text) == (name, text)
    assert gate.bound == pytest.approx(bound)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("p95", "must be a metric, one of < <= > >= and a bound, such as 'p95<0.5s', got 'p95'", id="half"),
        pytest.param("", "got ''", id="nothing"),
        pytest.param("p95=0.5s", "got 'p95=0.5s'", id="equals"),
        pytest.param("p95<-1s", "got 'p95<-1s'", id="negative"),
        pytest.param("p95<nan", "got 'p95<nan'", id="nan"),
        pytest.param("p95<0.5", "the bound of p95 must be a time such as 0.5s or 500ms, got '0.5'", id="no unit"),
        pytest.param("p95<5%", "the bound of p95 must be a time such as 0.5s or 500ms, got '5%'", id="wrong unit"),
        pytest.param("errors<1s", "the bound of errors must be a share such as 0.1% or 0.001, got '1s'", id="time"),
        pytest.param("errors<5", "the bound of errors must be at most 100%, got '5'", id="5 meant as percent"),
        pytest.param("p0<1s", "got 'p0'", id="percentile 0"),
        pytest.param("p100<1s", "got 'p100'", id="percentile 100"),
        pytest.param(
            "speed<1s", "metric must be a percentile such as p50 or p99.9, or one of min mean max", id="unknown"
        ),
    ],
)
def test_an_invalid_gate_is_refused_with_the_rule_and_the_value(text: str, words: str) -> None:
    with pytest.raises(GateError) as caught:
        parse_gate(text)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("p75<0.76s", "SLO p75<0.76s: held: 0.75 s", id="percentile"),
        pytest.param("p75<0.75s", "SLO p75<0.75s: MISSED: 0.75 s", id="less is strict"),
        pytest.param("p75<=0.75s", "SLO p75<=0.75s: held: 0.75 s", id="or equal"),
        pytest.param("mean<0.4s", "SLO mean<0.4s: MISSED: 0.5 s", id="mean"),
        pytest.param("max<=1s", "SLO max<=1s: held: 1 s", id="slowest"),
        pytest.param("min>1ms", "SLO min>1ms: MISSED: 0 s", id="fastest"),
        pytest.param("errors<0.1%", "SLO errors<0.1%: held: 0 %", id="errors"),
        pytest.param("success>=100%", "SLO success>=100%: held: 100 %", id="success"),
        pytest.param("rate>1/s", "SLO rate>1/s: MISSED: 1/s", id="sent per second"),
        pytest.param("throughput>1/s", "SLO throughput>1/s: MISSED: 1/s", id="successful requests per second"),
    ],
)
def test_a_gate_on_latencies_spread_evenly_from_0_to_1_s(text: str, expected: str) -> None:
    assert line(text, run(*STEPS)) == expected


def test_slow_rejected_and_lost_requests_are_all_late() -> None:
    seen = run(0.1, 0.5, 0.625, None, math.inf)
    assert line("late<50%", seen) == "SLO late<50%: MISSED: 60 % (over 0.5 s or not successful)"
    assert line("late<50%", seen, slo_s=0.625).startswith("SLO late<50%: held: 40 %")


def test_failing_fast_does_not_improve_a_percentile() -> None:
    seen = run(*[0.1] * 94, *[None] * 6)
    assert line("p95<0.5s", seen) == "SLO p95<0.5s: MISSED: infinite (6 of 100 requests were not successful)"
    assert line("p90<0.5s", seen) == "SLO p90<0.5s: held: 0.1 s"
    assert line("errors<0.1%", seen) == "SLO errors<0.1%: MISSED: 6 % (6 of 100 requests were not successful)"


def test_the_mean_covers_only_successful_requests() -> None:
    assert line("mean<1s", run(0.2, 0.4, None, math.inf)) == "SLO mean<1s: held: 0.3 s"


@pytest.mark.parametrize("text", ["p95<1s", "mean<1s", "errors<1%", "late<1%", "rate>0", "throughput>0"])
def test_a_run_without_requests_misses_every_gate(text: str) -> None:
    assert line(text, run()) == f"SLO {text}: MISSED: nothing to measure"


def test_a_run_without_successful_requests_has_no_mean() -> None:
    assert line("mean<1s", run(None, math.inf)) == "SLO mean<1s: MISSED: nothing to measure"


@pytest.mark.parametrize(
    ("text", "latencies_s", "missed"),
    [
        pytest.param("p90<0.5s", [0.6] * 10, False, id="10 of 100 may still be interpolated away"),
        pytest.param("p90<0.5s", [0.6] * 11, True, id="11 of 100 slow"),
        pytest.param("p90<0.5s", [0.4] * 90, False, id="fast requests"),
        pytest.param("errors<2%", [math.inf] * 2, False, id="at the bound"),
        pytest.param("errors<2%", [math.inf] * 3, True, id="over the bound"),
        pytest.param("errors<2%", [9.0] * 50, False, id="a slow request is not an error"),
        pytest.param("late<2%", [9.0, math.inf, 0.7], True, id="a slow request is late"),
        pytest.param("throughput>5/s", [math.inf] * 99, False, id="lower bounds are decided at the end"),
        pytest.param("mean<0.1s", [9.0] * 99, False, id="the mean is decided at the end"),
    ],
)
def test_a_gate_is_missed_early_once_the_remaining_requests_cannot_change_it(
    text: str, latencies_s: list[float], missed: bool
) -> None:
    gate = parse_gate(text)
    early_verdict = EarlyVerdict([gate], 100, slo_s=0.5)
    for latency_s in latencies_s:
        early_verdict.done(latency_s)
    assert early_verdict.missed == (gate if missed else None)
