"""What a pod tells about its requests: lines of JSON, and spans that cost a response nothing."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest
from flask.testing import FlaskClient
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

from function.app import create_app
from function.config import HttpConfig
from function.line_log import LineLog
from function.metrics import PodMetrics
from function.observer import MOST_CHARS, MOST_WAITING, Reporter, Served, Spans, record
from function.trace_context import TraceContext
from tests.function.fakes import Fake

GIVEN = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
STAGES: Mapping[str, float] = {"pre": 0.01, "infer": 0.03, "post": 0.001}


def served(context: TraceContext | None = None, status: int = 200, stages_s: Mapping[str, float] = STAGES) -> Served:
    return Served("id-1", context, "POST", "/predict", "/predict", status, 0.05, stages_s, 1, 100, 20)


@contextmanager
def pod() -> Iterator[tuple[FlaskClient, list[Served]]]:
    told: list[Served] = []
    registry, classifier = CollectorRegistry(), Fake()
    app = create_app(classifier, PodMetrics(registry, classifier.model), registry, HttpConfig(), told.append)
    yield app.test_client(), told


def test_a_request_is_told_with_its_id_trace_stages_and_sizes() -> None:
    with pod() as (client, told):
        response = client.post(
            "/predict?key=hidden", data=b"image", headers={"X-Request-Id": "id-1", "traceparent": GIVEN}
        )
    (found,) = told
    assert (found.request_id, found.method, found.path, found.route) == ("id-1", "POST", "/predict", "/predict")
    assert (found.status, found.images, list(found.stages_s)) == (200, 1, ["pre", "infer", "post"])
    assert found.context == TraceContext(0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7, True)
    assert (found.in_bytes, found.out_bytes) == (5, len(response.data))


def test_refusals_are_told_and_questions_about_the_pod_are_not() -> None:
    with pod() as (client, told):
        for path in ("/", "/metrics", "/v2/health/ready", "/v2"):
            client.get(path)
        client.post("/predict", data=b"")
        client.post("/nowhere/at/all", data=b"")
    assert [(found.status, found.route, found.images) for found in told] == [(400, "/predict", 0), (404, "", 0)]


@pytest.mark.parametrize(("status", "outcome"), [(200, "answered"), (400, "refused"), (500, "failed")])
def test_a_line_has_the_fields_of_the_documentation(status: int, outcome: str) -> None:
    reading, writing = os.pipe()
    lines = LineLog(lambda count: None, writing)
    Reporter("pod-1", lines, None).served(served(status=status))
    lines.close()
    os.close(writing)
    with os.fdopen(reading) as written:
        row = json.loads(written.read())
    assert (row["outcome"], row["pod"], row["trace_id"], row["service_s"], row["infer_s"]) == (
        outcome,
        "pod-1",
        "",
        0.05,
        0.03,
    )
    assert set(row) == {
        "time", "id", "trace_id", "method", "path", "status", "outcome", "service_s", "pre_s", "infer_s", "post_s", "images",
        "pod", "bytes_in", "bytes_out",
    }  # fmt: skip


def line_of(request: Served) -> dict[str, object]:
    """Return the line of a request without its time."""
    reading, writing = os.pipe()
    reporter = Reporter("pod-1", LineLog(lambda count: None, writing), None)
    reporter.served(request)
    reporter.close()
    os.close(writing)
    with os.fdopen(reading) as written:
        row: dict[str, object] = json.loads(written.read())
    del row["time"]
    return row


def test_the_line_of_a_request_has_each_figure_in_its_unit_and_bounded_texts() -> None:
    long = "x" * (2 * MOST_CHARS)
    row = line_of(Served(long, TraceContext(7, 8, True), "POST", long, "", 404, 0.05, STAGES, 3, 100, 20))
    assert row == {
        **{"id": long[:MOST_CHARS], "trace_id": f"{7:032x}", "method": "POST", "path": long[:MOST_CHARS]},
        **{"status": 404, "outcome": "refused", "service_s": 0.05, "pre_s": 0.01, "infer_s": 0.03, "post_s": 0.001},
        **{"images": 3, "pod": "pod-1", "bytes_in": 100, "bytes_out": 20},
    }


@pytest.mark.parametrize(
    ("status", "outcome"), [(399, "answered"), (400, "refused"), (499, "refused"), (500, "failed")], ids=str
)
def test_an_outcome_changes_with_the_class_of_the_status(status: int, outcome: str) -> None:
    assert line_of(served(status=status))["outcome"] == outcome


def recorded(request: Served) -> list[ReadableSpan]:
    provider, exporter = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    record(provider.get_tracer("test"), 1_000_000_000, request, "pod-1")
    return list(exporter.get_finished_spans())


def test_the_stages_lie_end_to_end_before_the_response() -> None:
    *stages, whole = recorded(served(TraceContext(7, 8, True)))
    assert [(span.name, span.start_time, span.end_time) for span in stages] == [
        ("pre", 959_000_000, 969_000_000), ("infer", 969_000_000, 999_000_000), ("post", 999_000_000, 1_000_000_000),
    ]  # fmt: skip
    assert (whole.name, whole.start_time, whole.end_time) == ("POST /predict", 950_000_000, 1_000_000_000)
    assert whole.parent is not None
    assert (whole.parent.trace_id, whole.parent.span_id) == (7, 8)
    assert dict(whole.attributes or {}) == {
        **{"http.request.method": "POST", "url.path": "/predict", "pod": "pod-1", "images": 1},
        "http.response.status_code": 200,
    }
    assert {span.parent.span_id for span in stages if span.parent} == {whole.context.span_id}


def test_a_path_that_no_route_knows_names_no_span() -> None:
    request = Served("id-1", None, "POST", "/tenant/1", "", 404, 0.05, {}, 0, 0, 0)
    assert [span.name for span in recorded(request)] == ["HTTP"]


def test_a_failure_is_an_error_and_a_refusal_is_none() -> None:
    assert recorded(served(status=500, stages_s={}))[-1].status.is_ok is False
    assert recorded(served(status=400, stages_s={}))[-1].status.status_code.name == "UNSET"


def test_requests_that_ask_for_no_recording_are_not_queued_and_the_queue_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Spans, "_work", lambda self: None)  # a collector that never gets to it
    spans = Spans({}, "pod-1")
    spans.add(served(TraceContext(7, 8, False)))
    assert len(spans._waiting) == 0
    spans.add(served(None))
    assert len(spans._waiting) == 1, "the sampler decides about a request without a trace"
    for _ in range(2 * MOST_WAITING):
        spans.add(served(TraceContext(7, 8, True)))
    assert len(spans._waiting) == MOST_WAITING
