"""loadgen names traces as it is told to, and sends its own spans after the run."""

import subprocess
import sys
from pathlib import Path

import pytest

from loadgen.records import Failure, Record
from loadgen.sending.transport import _name
from loadgen.spans import send_spans
from loadgen.trace_context import TraceContext, parse_traceparent
from tests.dispatcher.processes import Stub
from tests.paths import ROOT
from tests.stubs.collector import collector


@pytest.mark.parametrize(("share", "least", "most"), [(1.0, 2000, 2000), (0.25, 350, 650)])
def test_a_share_of_the_requests_asks_to_be_traced(share: float, least: int, most: int) -> None:
    records = [Record(0.0) for _ in range(2000)]
    names = [_name(record, share) for record in records]
    contexts = [parse_traceparent([record.traceparent]) for record in records]
    assert all(context is not None for context in contexts)
    assert least <= sum(context.sampled for context in contexts if context) <= most
    assert len({record.traceparent for record in records}) == 2000
    assert all(record.traceparent[3:].startswith(name) for record, name in zip(records, names, strict=True))


def test_without_a_share_there_is_no_trace() -> None:
    record = Record(0.0)
    assert len(_name(record, 0.0)) == 8
    assert record.traceparent == ""


def test_the_spans_of_a_run_have_the_ids_that_were_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")  # what was sent as sampled is recorded elsewhere already
    good = Record(
        1.0, sent_s=1.001, done_s=1.5, ended_s=1.5, status=200, traceparent=TraceContext(7, 8, True).traceparent()
    )
    failed = Record(2.0, ended_s=2.5, traceparent=TraceContext(9, 10, True).traceparent())
    failed.failure, failed.error = Failure.CONNECT, "refused"
    unasked = Record(3.0, ended_s=3.5, traceparent=TraceContext(11, 12, False).traceparent())
    with collector() as traces:
        for name, text in traces.environment.items():
            monkeypatch.setenv(name, text)
        assert send_spans([good, failed, unasked, Record(4.0)], 1000.0) == 2
    spans = {int(span.trace_id, 16): span for span in traces.spans}
    assert {trace: int(span.span_id, 16) for trace, span in spans.items()} == {7: 8, 9: 10}
    assert (spans[7].start_ns, spans[7].end_ns, spans[7].service) == (1_001_000_000_000, 1_001_500_000_000, "loadgen")
    assert (spans[7].error, spans[9].error) == ("", "refused")


def test_more_spans_than_the_queue_holds_all_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    records = [Record(0.0, ended_s=1.0, traceparent=TraceContext(n, n, True).traceparent()) for n in range(1, 5001)]
    with collector() as traces:
        for name, text in traces.environment.items():
            monkeypatch.setenv(name, text)
        assert send_spans(records, 0.0) == 5000
    assert len(traces.spans) == 5000


@pytest.mark.parametrize("share", ["-0.1", "1.1", "nan", "all"])
def test_another_share_is_refused(share: str) -> None:
    command = [sys.executable, "-m", "loadgen", "http://127.0.0.1:9/predict", "--trace", share]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"must be a number from 0 to 1, got '{share}'" in done.stderr


@pytest.mark.integration
@pytest.mark.parametrize(
    "flags", [[], ["--trace", "1"], ["--trace", "1", "--processes", "2"]], ids=["off", "on", "two"]
)
def test_requests_carry_a_trace_only_if_asked_and_the_run_succeeds_without_a_collector(
    flags: list[str], tmp_path: Path
) -> None:
    (tmp_path / "workload.txt").write_text("5\n")
    stub = Stub()
    command = [
        sys.executable,
        "-m",
        "loadgen",
        f"{stub.url}/predict",
        "--workload",
        str(tmp_path / "workload.txt"),
        *flags,
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "5/5 successful requests" in done.stdout, done.stderr
    carried = [{name.lower(): value for name, value in seen.items()}.get("traceparent") for seen in stub.seen]
    assert all(bool(value) == bool(flags) for value in carried)
    assert ("names no collector" in done.stderr) == bool(flags)
