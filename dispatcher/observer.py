"""Follows each request from its arrival to its answer, for its log line and its spans."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aiohttp import web

from dispatcher.headers import first, server_timing_s, trace_of
from dispatcher.incoming import target_of
from dispatcher.line_log import LineLog
from dispatcher.relay import BackendAnswer, ClientRequest
from dispatcher.replies import ClientReply
from dispatcher.terms import Terms
from dispatcher.trace_context import TraceContext, parse_traceparent
from dispatcher.watch import WATCH, Watch

if TYPE_CHECKING:
    from dispatcher.tracing import RequestTrace, Tracing

# Probes, which would be most of the lines.
PROBES = frozenset({"/", "/healthz", "/readyz"})
JOBS = "/jobs/ID"
MOST_CHARS = 128
Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
Handle = Callable[[ClientRequest, Terms], Awaitable[BackendAnswer]]
Row = dict[str, object]


class Observer:
    """Writes what the handlers do to the log and to the traces. now_s: the relay's clock.

    Either may be None; without both, the handlers stay as they are, so that requests cost nothing more.
    """

    def __init__(self, lines: LineLog | None, tracing: "Tracing | None", now_s: Callable[[], float]) -> None:
        self._lines, self._tracing, self._now_s = lines, tracing, now_s

    def around(self, handle: Handler) -> Handler:
        """Return the handler of clients' requests, observed."""
        if self._lines is None and self._tracing is None:
            return handle

        async def observed(request: web.BaseRequest) -> web.StreamResponse:
            path = target_of(request).partition("?")[0]
            if path in PROBES and request.method in ("GET", "HEAD"):
                return await handle(request)
            # without API keys, to know a job's id is all that it takes to read its result
            return await self._request(request, handle, JOBS if path.startswith("/jobs/") else path[:MOST_CHARS])

        return observed

    def around_jobs(self, handle: Handle) -> Handle:
        """Return the relay's method that runs asynchronous work, observed; each run is a trace of its own."""
        if self._lines is None and self._tracing is None:
            return handle

        async def observed(request: ClientRequest, terms: Terms) -> BackendAnswer:
            began_s = self._now_s()
            accepted = trace_of(request.headers)
            trace = None if self._tracing is None else self._tracing.job(accepted, began_s)
            watch = _watch(trace, accepted)
            try:
                return await handle(request, terms)
            finally:
                path = request.target.partition("?")[0][:MOST_CHARS]
                row: Row = {"method": request.method, "path": path, "job": True}
                answer = watch.answer
                row["status"], row["bytes_in"] = (0 if answer is None else answer.status), len(request.body)
                row["bytes_out"] = 0 if answer is None else len(answer.body)
                self._end(watch, first(request.headers, b"x-request-id") or b"", row, began_s)

        return observed

    def close(self) -> None:
        """Write and send what is left, for at most three seconds."""
        if self._lines is not None:
            self._lines.close()
        if self._tracing is not None:
            self._tracing.close()

    async def _request(self, request: web.BaseRequest, handle: Handler, path: str) -> web.StreamResponse:
        began_s = self._now_s()
        context = parse_traceparent(request.headers.getall("traceparent", ()))
        # a client that polls would bring traces of nothing
        traced = self._tracing if path != JOBS else None
        trace = None if traced is None else traced.request(context, request.method, path, began_s)
        if trace is None and self._lines is None:
            WATCH.set(None)  # requests of one connection are handled in one task
            return await handle(request)
        watch = _watch(trace, context)
        reply: web.StreamResponse | None = None
        try:
            reply = await handle(request)
            return reply
        finally:
            # without a reply the client has disconnected, which cancels the handler
            row: Row = {"method": request.method, "path": path, "status": 0 if reply is None else reply.status}
            fields, content = (reply.fields, reply.content) if isinstance(reply, ClientReply) else ([], b"")
            row["bytes_in"], row["bytes_out"] = request.content.total_bytes, len(content)
            request_id = first(fields, b"x-request-id") or request.headers.get("X-Request-Id", "").encode()
            self._end(watch, request_id, row, began_s)

    def _end(self, watch: Watch, request_id: bytes, row: Row, began_s: float) -> None:
        """Write the line and end the span. row: what differs between clients' requests and jobs."""
        answer, now_s = watch.answer or BackendAnswer(0), self._now_s()
        row |= {
            "outcome": _outcome(watch.answer, row["status"]),
            "wait_s": round(answer.queue_s, 4),
            "service_s": server_timing_s(answer.headers),
            "latency_s": round(now_s - began_s, 4),
            "attempts": answer.attempts,
            "pod": _text(first(answer.headers, b"x-pod") or b""),
        }
        if watch.trace is not None:
            watch.trace.finish(row, answer.cause if answer.reason else "", now_s)
        if self._lines is not None:
            head: Row = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "id": _text(request_id)}
            head["trace_id"] = watch.traceparent[3:35].decode("latin-1")
            self._lines.put(head | row)


def _watch(trace: "RequestTrace | None", given: TraceContext | None) -> Watch:
    """Make the watch of this task's request. given: the context that came with it."""
    context = given if trace is None else trace.context
    watch = Watch(trace, b"" if context is None else context.traceparent().encode())
    WATCH.set(watch)
    return watch


def _outcome(answer: BackendAnswer | None, status: object) -> str:
    """Return how a request ended, in words.

    A pod's answer counts as one whatever its status, also if it is what remains of exhausted attempts.
    """
    if answer is not None:
        return "answered" if answer.reason is None else answer.reason.value
    return "client gone" if not status else "answered here"


def _text(value: bytes) -> str:
    return value[:MOST_CHARS].decode("utf-8", "replace")
