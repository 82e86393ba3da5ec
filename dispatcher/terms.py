"""What a request asks of the dispatcher: by when it needs its answer, and how urgent it is."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from hashlib import blake2b
from math import isfinite, nan


class Priority(IntEnum):
    """The class of a request; a smaller number goes first."""

    HIGH = 0
    NORMAL = 1
    LOW = 2


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of one request.

    deadline_s: the client's own deadline on the buffer's clock; a later answer is useless to the client. None if the
        client named none: then --slo-s orders the request and rejects nothing.
    kept: asynchronous work, which was accepted for good: it is never displaced and never dropped as expired.
    size_bytes: size of the body, for the bound in bytes.
    promise_key: recognises a client that returns after a Retry-After; empty if it cannot be recognised.
    """

    deadline_s: float | None = None
    priority: Priority = Priority.NORMAL
    kept: bool = False
    size_bytes: int = 0
    promise_key: bytes = b""


class TermsError(ValueError):
    """A term that cannot be read; the message contains its name, the rule and the value."""


DEADLINES_MS = ("X-Request-Deadline-Ms", "X-Request-Timeout-Ms")
PRIORITY = "X-Request-Priority"
# Larger V2 requests are not parsed for their parameters.
LARGEST_JSON_BYTES = 1 << 20


def read_terms(headers: Mapping[str, str], path: str, body: bytes, now_s: float, client: bytes) -> Terms:
    """Return the terms that the client sent in header fields or in the parameters of a V2 request.

    client: the name of its API key, or its address. The shortest deadline counts, and a priority in a header field
    counts before that in the body. Raises TermsError.
    """
    limits_s = [_milliseconds(name, headers[name]) for name in DEADLINES_MS if name in headers]
    priority = _named_priority(headers[PRIORITY]) if PRIORITY in headers else None
    if path.endswith("/infer") and b'"parameters"' in body:
        parameters = _parameters(headers, body)
        if (limit_s := _timeout_s(parameters.get("timeout"))) is not None:
            limits_s.append(limit_s)
        own = _numbered_priority(parameters.get("priority"))
        priority = own if priority is None else priority
    return Terms(
        deadline_s=now_s + min(limits_s) if limits_s else None,
        priority=Priority.NORMAL if priority is None else priority,
        size_bytes=len(body),
        promise_key=_promise_key(headers, body, client),
    )


def _milliseconds(name: str, text: str) -> float:
    try:
        value_ms = float(text)
    except ValueError:
        value_ms = nan
    if not (isfinite(value_ms) and value_ms > 0):
        raise TermsError(f"{name} must be a number of milliseconds above 0, got {text!r}")
    return value_ms / 1000


def _named_priority(text: str) -> Priority:
    name = text.strip().upper()
    if name not in Priority.__members__:
        raise TermsError(f"{PRIORITY} must be high, normal or low, got {text!r}")
    return Priority[name]


def _parameters(headers: Mapping[str, str], body: bytes) -> dict[str, object]:
    """Return the parameters of a V2 request; none if it cannot be parsed, which is for the pod to say."""
    length = headers.get("Inference-Header-Content-Length", "")
    text = body[: int(length)] if length.isascii() and length.isdigit() else body
    if len(text) > LARGEST_JSON_BYTES:
        return {}
    try:
        request = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    parameters = request.get("parameters") if isinstance(request, dict) else None
    return parameters if isinstance(parameters, dict) else {}


def _timeout_s(value: object) -> float | None:
    """Return Triton's timeout in seconds; it is in microseconds, and 0 is none."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise TermsError(f"parameters.timeout must be a whole number of microseconds, at least 0, got {value!r}")
    return min(value, 10**12) / 1e6 if value else None


def _numbered_priority(value: object) -> Priority:
    """Return the class of Triton's priority: 1 is the highest, 0 the default."""
    if value is None:
        return Priority.NORMAL
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise TermsError(f"parameters.priority must be a whole number of at least 0, got {value!r}")
    return {0: Priority.NORMAL, 1: Priority.HIGH, 2: Priority.NORMAL}.get(value, Priority.LOW)


def _promise_key(headers: Mapping[str, str], body: bytes, client: bytes) -> bytes:
    """Return what recognises a request that is sent again; a body counts by its length and its ends, which is cheap."""
    known = headers.get("Idempotency-Key") or headers.get("X-Request-Id")
    if known is None:
        material = b"%d %b %b" % (len(body), body[:512], body[-512:])
    else:
        material = known.encode("utf-8", "surrogateescape")
    return blake2b(client + b"\0" + material, digest_size=8).digest()
