"""Types and helpers that all protocols share, free of any web framework, and the table of routes.

A protocol is one module that parses requests and renders responses. It is imported with its first request, so that a
cold start for a plain image does not pay for importing CloudEvents.
"""

import base64
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import Any, Final

from function.types import Classification, ModelInfo, Ranked

# Parsed lists and objects take up to 30 times the memory of their text, so they are counted before parsing.
MAX_JSON_VALUES: Final = 10_000
DATA_URI: Final = re.compile(r"\s*data:[^,]{0,200};base64,", re.IGNORECASE)
PERCENT: Final = re.compile("%([0-9a-fA-F]{2})")
URL_SAFE: Final = str.maketrans("-_", "+/")
MAX_SHOWN_CHARS: Final = 60  # of an invalid value that an error message repeats


class RefusedError(Exception):
    """A request that is refused with this status; the text states the rule and the value."""

    def __init__(self, text: str, status: int = 400, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.status, self.headers = status, headers or {}


@dataclass(frozen=True, slots=True)
class ProtocolRequest:
    """One request; header names are in lower case."""

    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class ProtocolResponse:
    """One response; headers include the content type."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProtocolContext:
    """The model, the limits and the functions that a protocol may use.

    classify: classifies images, in their order.
    fetch: returns the bytes behind a link.
    deliver: sends an event's headers and body to the sink and returns True; returns False if no sink is configured.
    extensions: attributes to add to every outgoing event (K_CE_OVERRIDES).
    All three functions raise RefusedError.
    """

    model: ModelInfo
    classify: Callable[[Sequence[bytes]], Sequence[Classification]]
    fetch: Callable[[str], bytes]
    deliver: Callable[[Mapping[str, str], bytes], bool]
    extensions: Mapping[str, str]
    max_body_bytes: int
    max_images: int


Handler = Callable[[ProtocolRequest, ProtocolContext], ProtocolResponse]

# (method, path, module, handler); {model} and {version} stand for those of the served model
ROUTES: Final = (
    ("GET", "/", "native", "health"),
    ("GET", "/health/liveness", "native", "health"),
    ("GET", "/health/readiness", "native", "health"),
    ("POST", "/predict", "native", "predict"),
    ("POST", "/", "cloudevents", "receive"),
    ("GET", "/v1/models", "v1", "models"),
    ("GET", "/v1/models/{model}", "v1", "ready"),
    ("POST", "/v1/models/{model}:predict", "v1", "predict"),
    ("GET", "/v2", "v2", "server"),
    ("GET", "/v2/health/live", "v2", "live"),
    ("GET", "/v2/health/ready", "v2", "ready"),
    ("GET", "/v2/models", "v2", "models"),
    ("POST", "/v2/repository/index", "v2", "index"),
    ("GET", "/v2/models/{model}", "v2", "metadata"),
    ("GET", "/v2/models/{model}/ready", "v2", "model_ready"),
    ("POST", "/v2/models/{model}/infer", "v2", "infer"),
    ("GET", "/v2/models/{model}/versions/{version}", "v2", "metadata"),
    ("GET", "/v2/models/{model}/versions/{version}/ready", "v2", "model_ready"),
    ("POST", "/v2/models/{model}/versions/{version}/infer", "v2", "infer"),
    ("GET", "/openapi.json", "openapi", "document"),
)


@cache
def handler(protocol: str, name: str) -> Handler:
    """Import the protocol's module and return its handler of this name."""
    found: Handler = getattr(import_module(f"function.protocols.{protocol}"), name)
    return found


def json_response(document: object, status: int = 200) -> ProtocolResponse:
    """Return a response with the document as JSON."""
    return ProtocolResponse(status, json.dumps(document).encode() + b"\n", {"Content-Type": "application/json"})


def as_dict(record: ModelInfo | Ranked) -> dict[str, Any]:
    """Return the record's fields by name.

    dataclasses.asdict(), which copies deeply, took a tenth of the CPU time of a response outside the engine.
    """
    return {name: getattr(record, name) for name in record.__slots__}


def refuse_many_values(body: bytes) -> None:
    """Raise RefusedError for JSON that would take too much memory once parsed."""
    values = sum(body.count(mark) for mark in (b"[", b"{", b","))
    if values > MAX_JSON_VALUES:
        raise RefusedError(f"a JSON body may have at most {MAX_JSON_VALUES} values, got about {values}")


def json_object(body: bytes) -> dict[str, Any]:
    """Parse a JSON object. Raise RefusedError if body is not one or would take too much memory."""
    refuse_many_values(body)
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RefusedError(f"the body must be JSON, got {shortened(body)}: {error}") from error
    if not isinstance(document, dict):
        raise RefusedError(f"the body must be a JSON object, got {shortened(document)}")
    return document


def from_base64(text: object, where: str) -> bytes:
    """Decode base64, strict or as in loose_base64(). Raise RefusedError, which names where the text was found."""
    if not isinstance(text, str):
        raise RefusedError(f"{where} must be an image in base64, got {shortened(text)}")
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:  # binascii.Error, or characters beyond ASCII
        pass
    try:
        return loose_base64(text)
    except ValueError as error:
        raise RefusedError(f"{where} must be an image in base64, got {shortened(text)}: {error}") from error


def loose_base64(text: str) -> bytes:
    """Decode base64 in lines, as a data URI, in the URL-safe alphabet, or without padding. Raise ValueError.

    Source: RFC 2045, section 6.8; RFC 2397; RFC 4648, section 5.
    """
    if DATA_URI.match(text):
        text = percent_decoded(text.partition(",")[2])
    text = "".join(text.split()).translate(URL_SAFE).rstrip("=")
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


def percent_decoded(text: str) -> str:
    """Undo percent-encoding of ASCII characters."""
    return PERCENT.sub(lambda found: chr(int(found[1], 16)), text)


def shortened(value: object) -> str:
    """Return the repr of an invalid value for an error message, cut to MAX_SHOWN_CHARS."""
    text = repr(value)
    return text if len(text) <= MAX_SHOWN_CHARS else f"{text[:MAX_SHOWN_CHARS]}..."
