"""The spans of one request, as the relay tells its course: names, times, parents and errors, without any process."""

from types import SimpleNamespace
from typing import cast

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from dispatcher.messages import ClientRequest
from dispatcher.otlp import SpanSender
from dispatcher.trace_context import TraceContext, parse_traceparent
from dispatcher.tracing import Tracing

GIVEN = TraceContext(7, 8, True)
REQUEST = ClientRequest("POST", "/predict", ((b"Traceparent", b"old"), (b"X-A", b"1")), b"")
ROW = {"method": "POST", "path": "/predict", "status": 200, "outcome": "answered", "pod": "pod-1", "attempts": 1}


class Traced:
    """Traces whose ended spans are kept."""

    def __init__(self) -> None:
        provider, self._exporter = TracerProvider(), InMemorySpanExporter()
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracing = Tracing(cast(SpanSender, SimpleNamespace(tracer=provider.get_tracer("test"))))

    def span(self, name: str) -> ReadableSpan:
        """Return the ended span of this name; there must be one."""
        (found,) = [span for span in self._exporter.get_finished_spans() if span.name == name]
        return found

    def names(self) -> list[str]:
        return [span.name for span in self._exporter.get_finished_spans()]


def seconds(span: ReadableSpan, zero: ReadableSpan) -> tuple[float, float]:
    """Return when a span begins and ends, in seconds after the beginning of another one."""
    assert span.start_time is not None
    assert span.end_time is not None
    assert zero.start_time is not None
    return round((span.start_time - zero.start_time) / 1e9, 3), round((span.end_time - zero.start_time) / 1e9, 3)


def parent(span: ReadableSpan) -> int:
    assert span.parent is not None
    return span.parent.span_id


def test_the_spans_of_a_cold_request_have_their_times_and_parents() -> None:
    traced = Traced()
    trace = traced.tracing.request(GIVEN, "POST", "/predict", 100.0)
    assert trace is not None
    went = trace.sent(REQUEST, "http://10.0.0.1:8012", 103.0, (99.0, 102.0))
    trace.came_back(103.5, 200, "", waits=False)
    trace.ended(104.0, None)
    trace.finish(ROW, "", 104.0)
    whole, queue, cold, attempt = (traced.span(name) for name in ("POST /predict", "queue", "cold start", "attempt"))
    assert sorted(traced.names()) == ["POST /predict", "attempt", "cold start", "queue"]
    assert [seconds(span, whole) for span in (whole, queue, cold, attempt)] == [(0, 4), (0, 3), (0, 2), (3, 3.5)]
    assert (parent(whole), parent(queue), parent(attempt)) == (8, whole.context.span_id, whole.context.span_id)
    assert parent(cold) == queue.context.span_id
    assert (whole.kind, attempt.kind, queue.kind) == (SpanKind.SERVER, SpanKind.CLIENT, SpanKind.INTERNAL)
    assert dict(went.headers).keys() == {b"X-A", b"traceparent"}
    carried = parse_traceparent([dict(went.headers)[b"traceparent"].decode()])
    assert carried == TraceContext(7, attempt.context.span_id, True)
    assert dict(whole.attributes or {}) == {
        **{"http.request.method": "POST", "url.path": "/predict", "http.response.status_code": 200},
        **{"dispatcher.outcome": "answered", "dispatcher.pod": "pod-1", "dispatcher.attempts": "1"},
    }


def test_a_cold_start_that_was_over_before_the_wait_is_no_span() -> None:
    traced = Traced()
    trace = traced.tracing.request(None, "POST", "/predict", 100.0)
    assert trace is not None
    trace.sent(REQUEST, "http://10.0.0.1", 101.0, (100.0, 100.5))
    trace.came_back(102.0, 503, "", waits=True)
    trace.sent(REQUEST, "http://10.0.0.2", 103.0, (100.0, 100.5))
    trace.came_back(104.0, 200, "", waits=False)
    trace.finish(ROW, "", 104.0)
    assert traced.names().count("cold start") == 1
    assert seconds(traced.span("queue for a retry"), traced.span("POST /predict")) == (2, 3)


def test_a_request_that_is_refused_while_it_waits_ends_its_wait_then() -> None:
    traced = Traced()
    trace = traced.tracing.request(None, "POST", "/predict", 100.0)
    assert trace is not None
    trace.ended(101.0, None)
    trace.finish(ROW | {"status": 429}, "", 101.5)
    assert seconds(traced.span("queue"), traced.span("POST /predict")) == (0, 1)


@pytest.mark.parametrize(
    ("backend", "address", "port"),
    [("http://a:8012", "a", 8012), ("http://a", "a", 80), ("https://a", "a", 443), ("http://[::1]:81", "::1", 81)],
)
def test_an_attempt_names_its_pod_status_and_number(backend: str, address: str, port: int) -> None:
    traced = Traced()
    trace = traced.tracing.request(None, "POST", "/predict", 100.0)
    assert trace is not None
    trace.sent(REQUEST, backend, 101.0, None)
    trace.came_back(102.0, 404, "", waits=False)
    attempt = traced.span("attempt")
    named = {"server.address": address, "server.port": port, "http.response.status_code": 404, "error.type": "404"}
    assert dict(attempt.attributes or {}) == named


@pytest.mark.parametrize(
    ("status", "cause", "error"),
    [
        (200, "", None),
        (404, "", None),
        (429, "", None),
        (500, "", "500"),
        (503, "no pod", "503"),
        (0, "gone", "no answer"),
    ],
)
def test_a_request_is_an_error_from_500_on_or_without_an_answer(status: int, cause: str, error: str | None) -> None:
    traced = Traced()
    trace = traced.tracing.request(None, "POST", "/predict", 100.0)
    assert trace is not None
    trace.finish(ROW | {"status": status}, cause, 101.0)
    whole = traced.span("POST /predict")
    assert ((whole.attributes or {}).get("error.type"), whole.status.is_unset) == (error, error is None)
    assert (whole.status.description or "") == cause


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("POST", "/predict", "POST /predict"),
        ("POST", "/v2/models/of/a/tenant/infer", "HTTP"),
        ("BREW", "/predict", "HTTP /predict"),
        ("GET", "/jobs/1234", "HTTP"),
    ],
)
def test_the_names_of_spans_are_few(method: str, path: str, name: str) -> None:
    traced = Traced()
    trace = traced.tracing.request(None, method, path, 100.0)
    assert trace is not None
    trace.finish(ROW, "", 101.0)
    assert traced.names() == [name]


def test_what_was_not_sampled_is_not_recorded_and_work_links_to_its_request() -> None:
    traced = Traced()
    unsampled = TraceContext(7, 8, False)
    assert traced.tracing.request(unsampled, "POST", "/predict", 100.0) is None
    assert traced.tracing.job(unsampled, 100.0) is None
    for accepted in (GIVEN, None):
        trace = traced.tracing.job(accepted, 100.0)
        assert trace is not None
        trace.finish(ROW, "", 101.0)
        job = [span for span in traced._exporter.get_finished_spans() if span.name == "job"][-1]
        assert (job.parent, job.kind) == (None, SpanKind.CONSUMER)
        assert [(link.context.trace_id, link.context.span_id) for link in job.links] == ([(7, 8)] if accepted else [])
