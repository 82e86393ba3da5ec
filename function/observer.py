"""What a pod tells about each request: a line of JSON, and spans of the request and its stages.

Spans are made in a thread of their own, which also imports the OpenTelemetry packages: neither the pod's start nor a
response waits for them.
"""

import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from function.line_log import LineLog
from function.otlp import open_sender, parent_of
from function.trace_context import TraceContext

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

# Requests whose spans are not made yet; the oldest are dropped above it.
MOST_WAITING = 1000
MOST_CHARS = 128


@dataclass(frozen=True, slots=True)
class Served:
    """A request that was answered.

    route: the rule that its path matches, or empty.
    stages_s: seconds of each stage, in order, as Server-Timing reports them.
    service_s: from the request's head until the response. context: its trace; None without a valid one.
    """

    request_id: str
    context: TraceContext | None
    method: str
    path: str
    route: str
    status: int
    service_s: float
    stages_s: Mapping[str, float]
    images: int
    in_bytes: int
    out_bytes: int


class Reporter:
    """Tells about requests. lines, spans: where to; either may be None."""

    def __init__(self, pod: str, lines: LineLog | None, spans: "Spans | None") -> None:
        self._pod, self._lines, self._spans = pod, lines, spans

    def served(self, request: Served) -> None:
        """Tell about one request; costs the request no I/O."""
        if self._spans is not None:
            self._spans.add(request)
        if self._lines is not None:
            self._lines.put(self._row(request))

    def close(self) -> None:
        """Write and send what is left, for at most three seconds."""
        if self._lines is not None:
            self._lines.close()
        if self._spans is not None:
            self._spans.close()

    def _row(self, request: Served) -> Mapping[str, object]:
        return {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "id": request.request_id[:MOST_CHARS],
            "trace_id": "" if request.context is None else f"{request.context.trace_id:032x}",
            "method": request.method,
            "path": request.path[:MOST_CHARS],
            "status": request.status,
            "outcome": "answered" if request.status < 400 else "refused" if request.status < 500 else "failed",
            "service_s": round(request.service_s, 4),
            **{f"{stage}_s": round(seconds, 4) for stage, seconds in request.stages_s.items()},
            "images": request.images,
            "pod": self._pod,
            "bytes_in": request.in_bytes,
            "bytes_out": request.out_bytes,
        }


class Spans:
    """Makes spans of requests that are over, and sends them. env: the variables OTEL_*."""

    def __init__(self, env: Mapping[str, str], pod: str) -> None:
        self._env, self._pod = env, pod
        self._waiting: deque[tuple[int, Served]] = deque(maxlen=MOST_WAITING)
        self._added, self._closing, self._starting = threading.Event(), threading.Event(), threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, request: Served) -> None:
        """Queue a request that ends now."""
        if request.context is not None and not request.context.sampled:
            return
        self._waiting.append((time.time_ns(), request))
        self._added.set()
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="spans", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Send what is left, for at most two seconds."""
        self._closing.set()
        self._added.set()
        if self._thread is not None:
            self._thread.join(2.0)

    def _work(self) -> None:
        sender = open_sender(self._env, "function")
        if sender is None:
            return
        while self._waiting or not self._closing.is_set():
            self._added.wait()
            self._added.clear()
            while self._waiting:
                end_ns, request = self._waiting.popleft()
                record(sender.tracer, end_ns, request, self._pod)
        sender.close(2.0)


def record(tracer: "Tracer", end_ns: int, request: Served, pod: str) -> None:
    """Make the span of a request and one for each stage; the stages are laid end to end before the response."""
    from opentelemetry import trace  # noqa: PLC0415  an extra
    from opentelemetry.context import Context  # noqa: PLC0415  an extra

    parent = Context() if request.context is None else parent_of(request.context)
    attributes: dict[str, str | int] = {
        **{
            "http.request.method": request.method,
            "url.path": request.path[:MOST_CHARS],
            "pod": pod,
            "images": request.images,
        },
        "http.response.status_code": request.status,
    }
    start_ns = end_ns - int(request.service_s * 1e9)
    # names must be few. Source: https://opentelemetry.io/docs/specs/semconv/http/http-spans/#name
    name = f"{request.method} {request.route}" if request.route else "HTTP"
    span = tracer.start_span(name, parent, trace.SpanKind.SERVER, attributes, start_time=start_ns)
    stage_ns = end_ns - int(sum(request.stages_s.values()) * 1e9)
    for stage, seconds in request.stages_s.items():
        child = tracer.start_span(stage, trace.set_span_in_context(span), start_time=stage_ns)
        stage_ns += int(seconds * 1e9)
        child.end(stage_ns)
    if request.status >= 500:
        span.set_attribute("error.type", str(request.status))
        span.set_status(trace.Status(trace.StatusCode.ERROR))
    span.end(end_ns)
