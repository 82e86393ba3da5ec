"""CloudEvents over HTTP, binary and structured: an event with an image gets an event with its labels in response.

The filter of a Knative Trigger posts such events. The sender is asked to retry only where a retry can succeed. Events
that are not about an image get 202 and no reply, since a Trigger without a filter sends everything, including our own
replies. Malformed events get 400.
Source: knative/specs specs/eventing/data-plane.md; cloudevents/spec v1.0.2, with its extension `dataref`.
"""

import json
import re
from base64 import b64encode
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5

from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings.http import (
    HTTPMessage,
    from_binary_event,
    from_structured_event,
    to_binary_event,
    to_structured_event,
)
from cloudevents.core.exceptions import BaseCloudEventException
from cloudevents.core.v1.event import CloudEvent

from function.protocols import (
    ProtocolContext,
    ProtocolRequest,
    ProtocolResponse,
    RefusedError,
    as_dict,
    from_base64,
    json_object,
    percent_decoded,
    refuse_many_values,
    shortened,
)
from function.protocols.native import labels
from function.types import Classification

CLASSIFIED: Final = "ml.elastic.image.classified"
STRUCTURED: Final = "application/cloudevents+json"
REQUIRED: Final = ("specversion", "id", "source", "type")
OCTETS: Final = "application/octet-stream"
# Other attributes are not read, so that none of them, however it is named, costs the event.
NEEDED: Final = (*REQUIRED, "subject", "datacontenttype", "dataref", "data", "data_base64")
# RFC 3339, section 5.6. The SDK refuses some of it: letters in lower case, leap seconds.
TIME: Final = re.compile(r"\d{4}-\d\d-\d\d[tT ]\d\d:\d\d:\d\d(\.\d+)?([zZ]|[+-]\d\d:\d\d)")
ESCAPED: Final = re.compile(r"\\(.)")
CONTAINER: Final = re.compile(rb"\s*[\[{]")


def receive(request: ProtocolRequest, context: ProtocolContext) -> ProtocolResponse:
    """Return 200 with the event of labels, or 202 if there is none or it went to the sink. Raise RefusedError."""
    media_type = _media_type(request.headers.get("content-type"))
    event = parsed(request, media_type)
    image = image_of(event, context)
    if image is None:
        return ProtocolResponse(202)
    (result,) = context.classify([image])
    reply = reply_to(event, result, context)
    message = to_binary_event(reply)
    if context.deliver(message.headers, message.body):
        return ProtocolResponse(202)
    if media_type == STRUCTURED:
        message = to_structured_event(reply)
    return ProtocolResponse(200, message.body, message.headers)


def parsed(request: ProtocolRequest, media_type: str) -> BaseCloudEvent:
    """Parse an event. Raise RefusedError if the request is not an event, is a batch, or violates the specification."""
    structured = media_type == STRUCTURED
    names = json_object(request.body) if structured else _ce_headers(request, media_type)
    missing = [name for name in REQUIRED if not names.get(name)]
    if missing:
        raise RefusedError(f"an event must have {', '.join(REQUIRED)}; missing: {', '.join(missing)}")
    if names["specversion"] != "1.0":
        raise RefusedError(f"specversion must be '1.0', got {shortened(names['specversion'])}")
    _check_time(names.get("time") if structured else names.get("time") or None)
    if not structured and CONTAINER.match(request.body):  # the SDK may parse it
        refuse_many_values(request.body)
    try:
        event = _structured(names) if structured else _binary(names, request)
        "".join(str(value) for value in event.get_attributes().values()).encode()
    # The SDK has raised each of these for malformed events.
    except (BaseCloudEventException, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise RefusedError(f"not a CloudEvent: {error}") from error
    return event


def _check_time(time: object) -> None:
    if time is not None and not (isinstance(time, str) and TIME.fullmatch(percent_decoded(time))):
        raise RefusedError(f"not a CloudEvent: time must be as in RFC 3339, got {shortened(time)}")


def _structured(names: Mapping[str, Any]) -> BaseCloudEvent:
    """Parse a structured event without what the pod does not need; null means an absent attribute."""
    needed = {name: value for name, value in names.items() if name in NEEDED and value is not None}
    if isinstance(encoded := needed.get("data_base64"), str):  # the SDK would drop the letters that it does not expect
        needed["data_base64"] = b64encode(from_base64(encoded, "data_base64")).decode()
    return from_structured_event(HTTPMessage({"content-type": STRUCTURED}, json.dumps(needed).encode()))


def _binary(names: Mapping[str, str], request: ProtocolRequest) -> BaseCloudEvent:
    """Parse a binary event without what the pod does not need; an empty header means an absent attribute."""
    headers = {f"ce-{name}": value for name, value in names.items() if name in NEEDED and value}
    if content_type := request.headers.get("content-type"):
        headers["content-type"] = content_type
    return from_binary_event(HTTPMessage(headers, request.body))


def _ce_headers(request: ProtocolRequest, media_type: str) -> dict[str, str]:
    names = {name[3:]: _unquoted(value) for name, value in request.headers.items() if name.startswith("ce-")}
    if not names:
        raise RefusedError(
            f"POST / accepts one CloudEvent at a time: it must have ce-* headers or the content type {STRUCTURED}, "
            f"got content type {shortened(media_type)}; send plain images to /predict",
            415,
        )
    return names


def _unquoted(value: str) -> str:
    """Return a header's value without double quotes, and in UTF-8 if that is what its client has sent.

    WSGI decodes headers as Latin-1. Percent-encoding, which clients should use instead, is left to the SDK.
    Source: CloudEvents 1.0.2, HTTP binding, 3.1.3.2; PEP 3333.
    """
    with suppress(UnicodeError):
        value = value.encode("latin-1").decode()
    if len(value) >= 2 and value[0] == value[-1] == '"':
        value = ESCAPED.sub(r"\1", value[1:-1])
    return value


def _media_type(content_type: str | None) -> str:
    return (content_type or "").partition(";")[0].strip().lower()


def image_of(event: BaseCloudEvent, context: ProtocolContext) -> bytes | None:
    """Return the event's image or the one behind its link; None if the event is not about an image.

    Raise RefusedError if the link cannot be fetched or the data cannot be an image.
    """
    if event.get_type() == CLASSIFIED:
        return None
    media_type, data = _media_type(event.get_datacontenttype()), event.get_data()
    link = event.get_extension("dataref")
    if not isinstance(link, str | None):
        raise RefusedError(f"dataref must be a link, got {shortened(link)}")
    may_be_image = (
        media_type.startswith("image/") or media_type == OCTETS or (not media_type and isinstance(data, bytes))
    )
    # An event may carry both the data and a dataref to it; then the data is used.
    if not (may_be_image and data and isinstance(data, bytes | str)):
        if link is None and isinstance(data, dict):
            link = data.get("url")
        if link is not None:
            return context.fetch(str(link))
    if not may_be_image:
        return None
    if not isinstance(data, bytes | str):
        raise RefusedError(
            f"an event with content type {media_type} must carry the image as its data, got {shortened(data)}"
        )
    # The SDK decodes bytes that are valid text into a str.
    return data if isinstance(data, bytes) else data.encode(errors="replace")


def reply_to(event: BaseCloudEvent, result: Classification, context: ProtocolContext) -> CloudEvent:
    """Return the event of labels. Its id depends only on the request's, so that receivers can recognise duplicates."""
    attributes: dict[str, Any] = {
        "specversion": "1.0",
        "id": str(uuid5(NAMESPACE_URL, f"{event.get_source()}\n{event.get_id()}")),
        "source": f"/elastic-ml/{context.model.name}",
        "type": CLASSIFIED,
        "datacontenttype": "application/json",
        "causationid": event.get_id(),
        **context.extensions,
    }
    if event.get_subject():
        attributes["subject"] = event.get_subject()
    return CloudEvent(attributes, {**labels(result), "model": as_dict(context.model)})
