"""A collector of traces that keeps what it gets over OTLP/HTTP, and prints each trace as a tree.

`python -m tests.stubs.collector [PORT]` (4318 by default) prints the traces it has when it gets SIGINT or SIGTERM.
"""

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True, slots=True)
class SpanRow:
    """A span as it came; ids are hexadecimal, parent_id is empty for the first span of a trace."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    start_ns: int
    end_ns: int
    error: str = ""
    attributes: dict[str, str] = field(default_factory=dict)
    links: tuple[str, ...] = ()

    @property
    def duration_s(self) -> float:
        return (self.end_ns - self.start_ns) / 1e9


def spans_of(body: bytes) -> Iterator[SpanRow]:
    """Yield the spans of one export. Source: opentelemetry-proto, trace_service.proto."""
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        service = next(one.value.string_value for one in resource.resource.attributes if one.key == "service.name")
        for span in (span for scope in resource.scope_spans for span in scope.spans):
            yield SpanRow(
                service, span.name, span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex(),
                span.start_time_unix_nano, span.end_time_unix_nano, span.status.message or "?" * (span.status.code == 2),
                {one.key: one.value.string_value or str(one.value.int_value) for one in span.attributes},
                tuple(link.trace_id.hex() for link in span.links),
            )  # fmt: skip


class Collector(ThreadingHTTPServer):
    """The collector on a port of this machine; spans: what came so far. status: what it answers. hangs: never answer.

    host: the address it listens on; pods of a cluster do not reach 127.0.0.1.
    """

    daemon_threads = True

    def __init__(self, port: int = 0, host: str = "127.0.0.1") -> None:
        super().__init__((host, port), Handler)
        self.spans: list[SpanRow] = []
        self.status, self.hangs = 200, False
        self.url = f"http://{host}:{self.server_address[1]}"
        self.environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": self.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}

    def wait_for(self, holds: Callable[[Sequence[SpanRow]], bool], timeout_s: float = 30.0) -> list[SpanRow]:
        """Return the spans once they are as wanted; raise AssertionError after the timeout."""
        deadline_s = time.monotonic() + timeout_s
        while not holds(self.spans):
            assert time.monotonic() < deadline_s, f"got only {trees(self.spans)}"
            time.sleep(0.05)
        return list(self.spans)


class Handler(BaseHTTPRequestHandler):
    server: Collector
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        while self.server.hangs:
            time.sleep(0.1)
        if self.server.status == 200:
            self.server.spans += spans_of(body)
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        """Log nothing."""


@contextmanager
def collector(port: int = 0, host: str = "127.0.0.1") -> Iterator[Collector]:
    """Run a collector until the end of the block."""
    found = Collector(port, host)
    threading.Thread(target=found.serve_forever, daemon=True).start()
    try:
        yield found
    finally:
        found.shutdown()
        found.server_close()


def only(spans: Sequence[SpanRow], name: str, service: str = "dispatcher") -> SpanRow:
    """Return the only span of this name and service; raise ValueError if there is none, or another one."""
    (found,) = [span for span in spans if (span.name, span.service) == (name, service)]
    return found


def trees(spans: Sequence[SpanRow]) -> str:
    """Return each trace as lines of text: when a span begins within its trace and how long it takes, in milliseconds."""
    ids = {span.span_id for span in spans}
    lines: list[str] = []
    for root in sorted((span for span in spans if span.parent_id not in ids), key=lambda span: span.start_ns):
        lines.append(f"trace {root.trace_id}")
        lines += _branch(root, spans, root.start_ns, 0)
    return "\n".join(lines)


def _branch(span: SpanRow, spans: Sequence[SpanRow], zero_ns: int, depth: int) -> Iterator[str]:
    text = f"{'  ' * depth}{span.service}: {span.name}"
    known = span.attributes.get("http.response.status_code", "")
    links = "".join(f" -> trace {link}" for link in span.links)
    yield (
        f"{(span.start_ns - zero_ns) / 1e6:9.1f} {span.duration_s * 1e3:9.1f}  {text} {known} {span.error}{links}".rstrip()
    )
    children = [child for child in spans if child.parent_id == span.span_id]
    for child in sorted(children, key=lambda child: child.start_ns):
        yield from _branch(child, spans, zero_ns, depth + 1)


def main() -> int:
    """Collect until a signal, then print."""
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with collector(int(sys.argv[1]) if len(sys.argv) > 1 else 4318) as found:
        print(f"collecting on {found.url}", file=sys.stderr)
        ended.wait()
        print(trees(found.spans))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
