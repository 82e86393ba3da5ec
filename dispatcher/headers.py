"""Copies header fields between client and pod: raw, repeated, in order, byte for byte."""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from dispatcher.trace_context import TraceContext, parse_traceparent

RawHeaders = tuple[tuple[bytes, bytes], ...]

_DURATION = re.compile(rb";\s*dur\s*=\s*\"?(\d{1,9}(?:\.\d{1,9})?)", re.IGNORECASE)

# Fields of one connection, which a proxy must not pass on. Source: RFC 9110, section 7.6.1; RFC 2616, section 13.5.1.
HOP_BY_HOP = frozenset(
    {
        b"connection", b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"proxy-authorization", b"te",
        b"trailer", b"transfer-encoding", b"upgrade",
    }
)  # fmt: skip
# The dispatcher answers Expect itself, and sets Host.
ANSWERED_HERE = HOP_BY_HOP | {b"expect", b"host"}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request came from: the client's address, the Host it asked for (may be empty), and the scheme."""

    address: str
    host: bytes
    scheme: bytes = b"http"


@dataclass(frozen=True, slots=True)
class Added:
    """What the dispatcher adds to a request: the Host of the pods, and the identifiers if the client sent none.

    takes_part: traceparent is the dispatcher's own span, and replaces that of the client.
    """

    host: bytes
    request_id: bytes
    traceparent: bytes
    takes_part: bool = False


def first(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    """Return the first value of a field; name is in lower case."""
    return next((value for key, value in headers if key.lower() == name), None)


def end_to_end(headers: RawHeaders, dropped: frozenset[bytes] = HOP_BY_HOP) -> list[tuple[bytes, bytes]]:
    """Return the fields that a proxy passes on: all except those in `dropped` and those that Connection names."""
    lowered = [name.lower() for name, _ in headers]
    if b"connection" in lowered:
        values = [value for name, (_, value) in zip(lowered, headers, strict=True) if name == b"connection"]
        dropped = dropped | {option.strip().lower() for value in values for option in value.split(b",")}
    return [field for name, field in zip(lowered, headers, strict=True) if name not in dropped]


def to_pod(headers: RawHeaders, body_bytes: int, origin: Origin, added: Added, secrets: frozenset[bytes]) -> RawHeaders:
    """Return the fields of a client's request as they go to a pod.

    secrets: fields (lower case) with credentials that were meant for the dispatcher.
    """
    passed = end_to_end(headers, ANSWERED_HERE | secrets if secrets else ANSWERED_HERE)
    present = {name.lower() for name, _ in passed}
    continued = None if added.takes_part or b"traceparent" not in present else trace_of(passed)
    if continued is None:
        passed = _without_trace(passed, present, keep_state=added.takes_part)
    result = [(b"Host", added.host), *passed]
    if body_bytes and b"content-length" not in present:
        result.append((b"Content-Length", b"%d" % body_bytes))
    if b"x-request-id" not in present:
        result.append((b"X-Request-Id", added.request_id))
    if continued is None:
        result.append((b"traceparent", added.traceparent))
    result.append((b"Forwarded", forwarded(origin)))
    if origin.address:
        result.append((b"X-Forwarded-For", origin.address.encode()))
    if b"x-forwarded-proto" not in present:
        result.append((b"X-Forwarded-Proto", origin.scheme))
    if b"x-forwarded-host" not in present and origin.host:
        result.append((b"X-Forwarded-Host", origin.host))
    return tuple(result)


def trace_of(headers: Iterable[tuple[bytes, bytes]]) -> TraceContext | None:
    """Return the trace that a request belongs to; None if it has none or its traceparent is malformed."""
    return parse_traceparent([value.decode("latin-1") for name, value in headers if name.lower() == b"traceparent"])


def _without_trace(
    fields: list[tuple[bytes, bytes]], present: Collection[bytes], keep_state: bool
) -> list[tuple[bytes, bytes]]:
    """Return the fields without traceparent, and without a tracestate that belongs to no valid one.

    Source: https://www.w3.org/TR/trace-context/, section 4.3: a malformed traceparent begins a new trace.
    """
    dropped = {b"traceparent", b"tracestate"}.intersection(present)
    if not dropped:
        return fields
    if keep_state and trace_of(fields) is not None:
        dropped.discard(b"tracestate")
    return [field for field in fields if field[0].lower() not in dropped]


def forwarded(origin: Origin) -> bytes:
    """Return one element of Forwarded. Source: RFC 7239, sections 4 and 6 (an IPv6 address is quoted in brackets)."""
    address = origin.address.encode() or b"unknown"
    node = b'"[%s]"' % address if b":" in address else address
    host = origin.host.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    return b"for=%s%s;proto=%s" % (node, b';host="%s"' % host if host else b"", origin.scheme)


def to_client(headers: RawHeaders) -> list[tuple[bytes, bytes]]:
    """Return the fields of a pod's answer as they go to the client."""
    return end_to_end(headers)


def head(start_line: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return a message's start line and fields as they go over the wire."""
    return b"%s\r\n%s\r\n" % (start_line, b"".join([b"%s: %s\r\n" % field for field in headers]))


def server_timing_s(headers: RawHeaders) -> float | None:
    """Return the time that Server-Timing reports, in seconds: that of `total`, else the sum of all; None without any.

    Source: https://www.w3.org/TR/server-timing/ (dur is in milliseconds).
    """
    found_ms: list[float] = []
    for name, value in headers:
        if name.lower() == b"server-timing":
            for entry in value.split(b","):
                duration = _DURATION.search(entry)
                if duration and entry.partition(b";")[0].strip() == b"total":
                    return float(duration[1]) / 1000  # a pod reports its stages beside their sum
                found_ms += [float(duration[1])] if duration else []
    return sum(found_ms) / 1000 if found_ms else None
