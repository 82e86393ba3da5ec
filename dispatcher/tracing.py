"""The spans of a request: the request itself, its waits, the cold start within them, and its attempts at pods.

Imported only if traces are wanted, because it needs the OpenTelemetry packages.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, Tracer

from dispatcher.messages import ClientRequest
from dispatcher.otlp import SpanSender, parent_of
from dispatcher.trace_context import TraceContext
from dispatcher.watch import Interval

# An empty context: without it the SDK would take whatever span is current in the task.
NO_PARENT = Context()
ROUTES = frozenset({"/", "/predict", "/add_to_queue"})
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Tracing:
    """Begins the traces of requests and of asynchronous work."""

    def __init__(self, sender: SpanSender) -> None:
        self._sender = sender

    def request(self, parent: TraceContext | None, method: str, path: str, now_s: float) -> "RequestTrace | None":
        """Begin the span of a client's request; None if it is not sampled.

        parent: the context that came with it, None for a new trace.
        """
        # names must be few. Source: https://opentelemetry.io/docs/specs/semconv/http/http-spans/#name
        name = f"{method if method in METHODS else 'HTTP'} {path}" if path in ROUTES else "HTTP"
        return self._begin(name, SpanKind.SERVER, NO_PARENT if parent is None else parent_of(parent), now_s)

    def job(self, accepted: TraceContext | None, now_s: float) -> "RequestTrace | None":
        """Begin the trace of one run of asynchronous work, with a link to the span of the request that brought it.

        None if that request was not sampled.
        """
        if accepted is None:
            return self._begin("job", SpanKind.CONSUMER, NO_PARENT, now_s)
        link = Link(trace.get_current_span(parent_of(accepted)).get_span_context())
        return self._begin("job", SpanKind.CONSUMER, NO_PARENT, now_s, (link,)) if accepted.sampled else None

    def _begin(
        self, name: str, kind: SpanKind, context: Context, now_s: float, links: Sequence[Link] = ()
    ) -> "RequestTrace | None":
        times = _SpanTimes(now_s)
        span = self._sender.tracer.start_span(name, context, kind, links=links, start_time=times.ns(now_s))
        return RequestTrace(self._sender.tracer, span, times, now_s) if span.is_recording() else None

    def close(self) -> None:
        """Send the last spans, for at most two seconds."""
        self._sender.close(2.0)


class _SpanTimes:
    """Converts the relay's clock to Unix time; the difference is taken once a request, so that durations are exact."""

    def __init__(self, now_s: float) -> None:
        self._zero_ns = time.time_ns() - int(now_s * 1e9)

    def ns(self, now_s: float) -> int:
        return self._zero_ns + int(now_s * 1e9)


class RequestTrace:
    """The spans of one request; see dispatcher.watch.RequestSpans for what the relay tells it."""

    def __init__(self, tracer: Tracer, span: Span, times: _SpanTimes, now_s: float) -> None:
        self._tracer, self._span, self._times = tracer, span, times
        self._context = trace.set_span_in_context(span)
        self._waiting_since_s: float | None = now_s
        self._attempt: Span | None = None
        self._sent = 0

    @property
    def context(self) -> TraceContext:
        """The request's own span, as its children see it."""
        return _context_of(self._span)

    def sent(self, request: ClientRequest, backend: str, now_s: float, no_pods: Interval | None) -> ClientRequest:
        """End the wait and begin an attempt; return the request with the attempt as the parent of the pod's spans."""
        self._end_wait(now_s, no_pods)
        parts = urlsplit(backend)
        self._attempt = self._child("attempt", now_s, SpanKind.CLIENT)
        self._attempt.set_attribute("server.address", parts.hostname or "")
        self._attempt.set_attribute("server.port", parts.port or (443 if parts.scheme == "https" else 80))
        if self._sent:
            self._attempt.set_attribute("http.request.resend_count", self._sent)
        self._sent += 1
        traceparent = _context_of(self._attempt).traceparent().encode()
        others = [field for field in request.headers if field[0].lower() != b"traceparent"]
        return replace(request, headers=(*others, (b"traceparent", traceparent)))

    def came_back(self, now_s: float, status: int, cause: str, waits: bool) -> None:
        """End the attempt; the next wait begins if the request goes back to the queue."""
        if self._attempt is not None:
            _finish(self._attempt, status, cause, self._times.ns(now_s))
        self._attempt, self._waiting_since_s = None, now_s if waits else None

    def ended(self, now_s: float, no_pods: Interval | None) -> None:
        """End the wait of a request that is refused, or whose client is gone, while it waits."""
        self._end_wait(now_s, no_pods)

    def finish(self, row: Mapping[str, object], cause: str, now_s: float) -> None:
        """End the request's span. row: its log line. cause: why there is no answer of a pod, else empty."""
        self._span.set_attributes(
            {
                **{"http.request.method": str(row["method"]), "url.path": str(row["path"])},
                **{f"dispatcher.{name}": str(row[name]) for name in ("outcome", "pod", "attempts")},
            }
        )
        _finish(self._span, int(str(row["status"])), cause, self._times.ns(now_s), least_error=500)

    def _end_wait(self, now_s: float, no_pods: Interval | None) -> None:
        since_s = self._waiting_since_s
        if since_s is None:
            return
        self._waiting_since_s = None
        wait = self._child("queue" if not self._sent else "queue for a retry", since_s)
        if no_pods is not None and since_s < no_pods[1]:
            context = trace.set_span_in_context(wait)
            cold = self._tracer.start_span("cold start", context, start_time=self._times.ns(max(since_s, no_pods[0])))
            cold.end(self._times.ns(no_pods[1]))
        wait.end(self._times.ns(now_s))

    def _child(self, name: str, since_s: float, kind: SpanKind = SpanKind.INTERNAL) -> Span:
        return self._tracer.start_span(name, self._context, kind, start_time=self._times.ns(since_s))


def _context_of(span: Span) -> TraceContext:
    found = span.get_span_context()
    return TraceContext(found.trace_id, found.span_id, found.trace_flags.sampled)


def _finish(span: Span, status: int, cause: str, end_ns: int, least_error: int = 400) -> None:
    if status:
        span.set_attribute("http.response.status_code", status)
    if cause or status >= least_error:
        span.set_attribute("error.type", str(status) if status else "no answer")
        span.set_status(Status(StatusCode.ERROR, cause or None))
    span.end(end_ns)
