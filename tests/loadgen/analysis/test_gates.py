"""SLOs: what can be written, what is refused, and when a run holds them."""

import math

import pytest

from loadgen.analysis.columns import Columns, columns
from loadgen.analysis.gates import EarlyVerdict, GateError, check, parse_gate
from loadgen.analysis.runs import Asked
from loadgen.records import Record
from tests.loadgen.runs import URL, good, lost, refused


def run(*latencies_s: float | None) -> Columns:
    """One request a second; None got a 503 after 1 ms, inf no answer at all."""
    return columns([one(float(index), latency_s) for index, latency_s in enumerate(latencies_s)])


def one(intended_s: float, latency_s: float | None) -> Record:
    if latency_s is None:
        return refused(intended_s)
    return lost(intended_s) if math.isinf(latency_s) else good(intended_s, latency_s)


def line(text: str, seen: Columns, slo_s: float = 0.5) -> str:
    (verdict,) = check([parse_gate(text)], seen, Asked(URL, float(seen.planned), slo_s))
    return verdict.line


# Exact in binary, so that equal is equal: 129 requests, 0 to 1 s.
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
        pytest.param("p95", "must be METRIC, one of < <= > >=, and a bound, as in 'p95<0.5s', was 'p95'", id="half"),
        pytest.param("", "was ''", id="nothing"),
        pytest.param("p95=0.5s", "was 'p95=0.5s'", id="equals"),
        pytest.param("p95<-1s", "was 'p95<-1s'", id="negative"),
        pytest.param("p95<nan", "was 'p95<nan'", id="nan"),
        pytest.param("p95<0.5", "p95 is compared with a time such as 0.5s or 500ms, was '0.5'", id="no unit"),
        pytest.param("p95<5%", "p95 is compared with a time such as 0.5s or 500ms, was '5%'", id="wrong unit"),
        pytest.param("errors<1s", "errors is compared with a share such as 0.1% or 0.001, was '1s'", id="time"),
        pytest.param("errors<5", "errors is a share, at most 100%, was '5'", id="5 meant as percent"),
        pytest.param("p0<1s", "was 'p0'", id="percentile 0"),
        pytest.param("p100<1s", "was 'p100'", id="percentile 100"),
        pytest.param("speed<1s", "metric must be one of p50 p95 p99 p99.9 (any above 0) min mean max", id="unknown"),
    ],
)
def test_anything_else_is_refused_with_the_rule_and_what_was_given(text: str, words: str) -> None:
    with pytest.raises(GateError) as caught:
        parse_gate(text)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
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
        pytest.param("throughput>1/s", "SLO throughput>1/s: MISSED: 1/s", id="good answers per second"),
    ],
)
def test_a_run_of_requests_that_took_evenly_from_0_to_1_s(text: str, said: str) -> None:
    assert line(text, run(*STEPS)) == said


def test_late_counts_slow_refused_and_lost_alike() -> None:
    seen = run(0.1, 0.5, 0.625, None, math.inf)
    assert line("late<50%", seen) == "SLO late<50%: MISSED: 60 % (over 0.5 s or no good answer)"
    assert line("late<50%", seen, slo_s=0.625).startswith("SLO late<50%: held: 40 %")


def test_failing_fast_does_not_make_a_percentile_better() -> None:
    seen = run(*[0.1] * 94, *[None] * 6)
    assert line("p95<0.5s", seen) == "SLO p95<0.5s: MISSED: no end (6 of 100 got no good answer)"
    assert line("p90<0.5s", seen) == "SLO p90<0.5s: held: 0.1 s"
    assert line("errors<0.1%", seen) == "SLO errors<0.1%: MISSED: 6 % (6 of 100 got no good answer)"


def test_the_mean_is_of_good_answers_since_a_lost_one_has_none() -> None:
    assert line("mean<1s", run(0.2, 0.4, None, math.inf)) == "SLO mean<1s: held: 0.3 s"


@pytest.mark.parametrize("text", ["p95<1s", "mean<1s", "errors<1%", "late<1%", "rate>0", "throughput>0"])
def test_a_run_without_a_request_holds_nothing(text: str) -> None:
    assert line(text, run()) == f"SLO {text}: MISSED: nothing to measure"


def test_a_run_without_a_good_answer_has_no_mean() -> None:
    assert line("mean<1s", run(None, math.inf)) == "SLO mean<1s: MISSED: nothing to measure"


@pytest.mark.parametrize(
    ("text", "latencies_s", "lost"),
    [
        pytest.param("p90<0.5s", [0.6] * 10, False, id="10 of 100 may still be interpolated away"),
        pytest.param("p90<0.5s", [0.6] * 11, True, id="11 of 100 slow"),
        pytest.param("p90<0.5s", [0.4] * 90, False, id="fast ones do not count"),
        pytest.param("errors<2%", [math.inf] * 2, False, id="at the bound"),
        pytest.param("errors<2%", [math.inf] * 3, True, id="over the bound"),
        pytest.param("errors<2%", [9.0] * 50, False, id="slow is no error"),
        pytest.param("late<2%", [9.0, math.inf, 0.7], True, id="slow is late"),
        pytest.param("throughput>5/s", [math.inf] * 99, False, id="lower bounds wait for the end"),
        pytest.param("mean<0.1s", [9.0] * 99, False, id="so does the mean"),
    ],
)
def test_a_run_is_hopeless_when_no_rest_can_save_it(text: str, latencies_s: list[float], lost: bool) -> None:
    gate = parse_gate(text)
    hope = EarlyVerdict([gate], 100, slo_s=0.5)
    for latency_s in latencies_s:
        hope.done(latency_s)
    assert hope.lost == (gate if lost else None)
