"""What every protocol shares: requests and answers apart from any web framework, and the table of routes.

A protocol is one module that parses and renders; it is imported when its first request comes, because a pod that wakes
for a photograph should not pay for CloudEvents.
"""

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import Any, Final

from function.classifier import Classification, ModelInfo, Ranked

# A list or an object costs up to 30 times its text once it is parsed, so their number is checked before that.
MAX_JSON_VALUES: Final = 10_000
SEEN: Final = 60  # characters of a wrong value that an error repeats


class RefusedError(Exception):
    """A request that cannot be answered, and its status; the text names the rule and the value."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class Received:
    """One request; the names of headers are in lower case."""

    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back; headers include the content type."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProtocolContext:
    """What a protocol may ask for.

    classify: images to labels, in their order.
    fetch: the bytes behind a link.
    deliver: sends an event's headers and body to the sink, if there is one, and says whether there is.
    extensions: attributes that every event from here gets (K_CE_OVERRIDES).
    All three calls raise RefusedError.
    """

    model: ModelInfo
    classify: Callable[[Sequence[bytes]], Sequence[Classification]]
    fetch: Callable[[str], bytes]
    deliver: Callable[[Mapping[str, str], bytes], bool]
    extensions: Mapping[str, str]
    max_body_bytes: int
    max_images: int


Handler = Callable[[Received, ProtocolContext], Answer]

# (method, path, module, handler); {model} and {version} are those of the model that is served
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
    """Import the protocol's module and take its handler."""
    found: Handler = getattr(import_module(f"function.protocols.{protocol}"), name)
    return found


def as_json(document: object, status: int = 200) -> Answer:
    """An answer in JSON."""
    return Answer(status, json.dumps(document).encode() + b"\n", {"Content-Type": "application/json"})


def flat(record: ModelInfo | Ranked) -> dict[str, Any]:
    """Its fields by name. dataclasses.asdict(), which copies deeply, was a tenth of what an answer costs in Python."""
    return {name: getattr(record, name) for name in record.__slots__}


def refuse_many_values(body: bytes) -> None:
    """Raises RefusedError for JSON that would cost too much memory once it is parsed."""
    values = sum(body.count(mark) for mark in (b"[", b"{", b","))
    if values > MAX_JSON_VALUES:
        raise RefusedError(f"a JSON body may have at most {MAX_JSON_VALUES} values, this has about {values}")


def json_object(body: bytes) -> dict[str, Any]:
    """Raises RefusedError if body is no JSON object, or one that would cost too much memory."""
    refuse_many_values(body)
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RefusedError(f"the body must be JSON, was {seen(body)}: {error}") from error
    if not isinstance(document, dict):
        raise RefusedError(f"the body must be a JSON object, was {seen(document)}")
    return document


def from_base64(text: object, where: str) -> bytes:
    """Raises RefusedError, naming where the text was found, if it is none or no base64."""
    if not isinstance(text, str):
        raise RefusedError(f"{where} must be an image in base64, was {seen(text)}")
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:  # binascii's own, or characters beyond ASCII
        raise RefusedError(f"{where} must be an image in base64, was {seen(text)}: {error}") from error


def seen(value: object) -> str:
    """A wrong value for an error's text, cut where it is long."""
    text = repr(value)
    return text if len(text) <= SEEN else f"{text[:SEEN]}..."
