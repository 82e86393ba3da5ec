"""Sends a span for each request of a run, after the run: while it lasts, traces cost it nothing but a header field."""

from collections.abc import Mapping, Sequence

from loadgen.otlp import SpanSender
from loadgen.records import Record
from loadgen.trace_context import TraceContext, parse_traceparent

# Fewer than the queue of the SDK holds.
BATCH = 500


def send_spans(records: Sequence[Record], zero_unix_s: float) -> int:
    """Send the spans of the recorded requests, to the collector in OTEL_EXPORTER_OTLP_ENDPOINT; return their number.

    zero_unix_s: start of the schedule. Raises OtlpError without the OpenTelemetry packages.
    """
    from opentelemetry.context import Context  # noqa: PLC0415  an extra
    from opentelemetry.sdk.trace.id_generator import IdGenerator  # noqa: PLC0415  an extra
    from opentelemetry.trace import SpanKind, Status, StatusCode  # noqa: PLC0415  an extra

    class Sent(IdGenerator):
        """Returns the ids that the request carried."""

        context = TraceContext(1, 1, False)

        def generate_trace_id(self) -> int:
            return self.context.trace_id

        def generate_span_id(self) -> int:
            return self.context.span_id

    ids, count = Sent(), 0
    sender = SpanSender("loadgen", ids)
    for record in records:
        context = parse_traceparent([record.traceparent])
        if context is None or not context.sampled or record.ended_s is None:
            continue
        ids.context = context
        began_ns = int((zero_unix_s + record.intended_s) * 1e9)
        span = sender.tracer.start_span("request", Context(), SpanKind.CLIENT, _attributes(record), start_time=began_ns)
        if record.sent_s is not None:
            span.add_event("sent", timestamp=int((zero_unix_s + record.sent_s) * 1e9))
        if not record.good:
            span.set_status(Status(StatusCode.ERROR, record.error or None))
        span.end(int((zero_unix_s + record.ended_s) * 1e9))
        count += 1
        if count % BATCH == 0:
            sender.flush()
    sender.close(30.0)
    return count


def _attributes(record: Record) -> Mapping[str, str | int]:
    found: dict[str, str | int] = {"http.response.status_code": record.status, "pod": record.pod}
    found["request.id"] = record.request_id
    return found
