"""Sends spans to an OpenTelemetry collector over OTLP/HTTP, configured by the standard variables OTEL_*.

The same file stands in dispatcher, function and loadgen, none of which can import another one. The OpenTelemetry
packages are an extra; they are imported only if an endpoint is set.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
    from opentelemetry.sdk.trace.id_generator import IdGenerator
    from opentelemetry.trace import Tracer

    from dispatcher.trace_context import TraceContext

log = logging.getLogger(__name__)

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
# They log each attempt at a collector that is away, and each span that finds the queue full.
TALKATIVE = ("opentelemetry.exporter.otlp", "opentelemetry.sdk._shared_internal", "urllib3.connectionpool")


class OtlpError(Exception):
    """Spans cannot be sent; the message says why."""


def export_wanted(env: Mapping[str, str]) -> bool:
    """Return whether the variables ask for traces: an endpoint is set, and neither SDK nor exporter is turned off."""
    disabled = env.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    return not disabled and env.get("OTEL_TRACES_EXPORTER") != "none" and any(env.get(name) for name in ENDPOINTS)


class SpanSender:
    """Sends spans from a thread with a bounded queue (OTEL_BSP_MAX_QUEUE_SIZE); what exceeds it is dropped."""

    def __init__(self, service: str, ids: IdGenerator | None = None) -> None:
        """Read the variables. Raise OtlpError if packages are missing.

        service: the name, unless the variables contain one. ids: names spans that are sampled already, so all are sent.
        """
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
            from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
            from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
            from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
            from opentelemetry.sdk.trace.sampling import ALWAYS_ON  # noqa: PLC0415
        except ImportError as error:
            raise OtlpError(f"{error}; install requirements-otel.txt") from error
        for name in TALKATIVE:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        resource = Resource.create()
        if str(resource.attributes["service.name"]).startswith("unknown_service"):
            resource = resource.merge(Resource({"service.name": service}))
        self._provider = TracerProvider(ALWAYS_ON if ids else None, resource, shutdown_on_exit=False, id_generator=ids)
        self._provider.add_span_processor(BatchSpanProcessor(_reporting(OTLPSpanExporter())))
        self.tracer: Tracer = self._provider.get_tracer(service)

    def flush(self) -> None:
        """Wait until all spans so far are sent, or given up."""
        self._provider.force_flush()

    def close(self, timeout_s: float) -> None:
        """Send what is left, for at most this time."""
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(timeout_s)


def open_sender(env: Mapping[str, str], service: str) -> SpanSender | None:
    """Return the sender of spans; None if the variables ask for none, or if it cannot be had, which is logged."""
    if not export_wanted(env):
        return None
    try:
        return SpanSender(service)
    except OtlpError as error:
        log.warning("traces are off: %s", error)
        return None


def parent_of(parent: TraceContext) -> Context:
    """Return the context of a span whose parent is in another process."""
    from opentelemetry import trace  # noqa: PLC0415  an extra

    flags = trace.TraceFlags(trace.TraceFlags.SAMPLED if parent.sampled else trace.TraceFlags.DEFAULT)
    context = trace.SpanContext(parent.trace_id, parent.span_id, is_remote=True, trace_flags=flags)
    return trace.set_span_in_context(trace.NonRecordingSpan(context))


def _reporting(inner: SpanExporter) -> SpanExporter:
    """Return the exporter with one line in the log when it begins to fail, and one when it succeeds again."""
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult  # noqa: PLC0415

    class Reporting(SpanExporter):
        lost = 0

        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            result = inner.export(spans)
            if result is not SpanExportResult.SUCCESS:
                if not self.lost:
                    log.warning("the collector of traces does not answer; spans are dropped until it does")
                self.lost += len(spans)
            elif self.lost:
                log.warning("the collector of traces answers again, spans dropped: at least %d", self.lost)
                self.lost = 0
            return result

        def shutdown(self) -> None:
            inner.shutdown()

    return Reporting()
