"""When spans are sent, whose children they are, and what the log says while a collector is away."""

import logging
import threading
from collections.abc import Sequence

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from dispatcher.otlp import SpanSender, _reporting, export_wanted, parent_of
from dispatcher.trace_context import TraceContext
from tests.stubs.collector import collector

HERE = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


@pytest.mark.parametrize(
    ("env", "wanted"),
    [
        ({}, False),
        (HERE, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        (HERE | {"OTEL_SDK_DISABLED": "true"}, False),
        (HERE | {"OTEL_SDK_DISABLED": " True "}, False),
        (HERE | {"OTEL_SDK_DISABLED": "false"}, True),
        (HERE | {"OTEL_TRACES_EXPORTER": "none"}, False),
        (HERE | {"OTEL_TRACES_EXPORTER": "otlp"}, True),
    ],
)
def test_spans_are_sent_only_to_a_named_collector_and_unless_turned_off(env: dict[str, str], wanted: bool) -> None:
    assert export_wanted(env) is wanted


@pytest.mark.parametrize("sampled", [True, False])
def test_the_parent_is_the_span_of_another_process(sampled: bool) -> None:
    found = trace.get_current_span(parent_of(TraceContext(7, 8, sampled))).get_span_context()
    assert (found.trace_id, found.span_id, found.is_remote) == (7, 8, True)
    assert found.trace_flags.sampled is sampled


class Unsteady(SpanExporter):
    """Succeeds and fails as it is told."""

    def __init__(self) -> None:
        self.result = SpanExportResult.SUCCESS

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return self.result


def test_each_time_a_collector_goes_away_and_comes_back_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    inner = Unsteady()
    exporter = _reporting(inner)
    good, bad = SpanExportResult.SUCCESS, SpanExportResult.FAILURE
    with caplog.at_level(logging.WARNING):
        for result in (good, bad, bad, bad, good, good, bad, good):
            inner.result = result
            assert exporter.export([ReadableSpan("a"), ReadableSpan("b")]) is result
    assert [record.getMessage().rpartition(" ")[2] for record in caplog.records] == ["does", "6", "does", "2"]


@pytest.mark.integration
def test_closing_does_not_wait_for_a_collector_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    with collector() as hanging:
        hanging.hangs = True
        for name, text in (hanging.environment | {"OTEL_EXPORTER_OTLP_TIMEOUT": "600"}).items():
            monkeypatch.setenv(name, text)
        sender = SpanSender("test")
        sender.tracer.start_span("a").end()
        closing = threading.Thread(target=sender.close, args=(0.1,), daemon=True)
        closing.start()
        closing.join(60)
        assert not closing.is_alive()
        hanging.hangs = False
