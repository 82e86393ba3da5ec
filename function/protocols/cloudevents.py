"""CloudEvents over HTTP, binary and structured: an event with an image gets an event with its labels in response.

The filter of a Knative Trigger posts such events. The sender is asked to retry only where a retry can succeed. Events
that are not about an image get 202 and no reply, since a Trigger without a filter sends everything, including our own
replies. Malformed events get 400.
Source: knative/specs specs/eventing/data-plane.md; cloudevents/spec v1.0.2, with its extension `dataref`.
"""

import json
import re
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
    json_object,
    refuse_many_values,
    shortened,
)
from function.protocols.native import labels
from function.types import Classification

CLASSIFIED: Final = "ml.elastic.image.classified"
STRUCTURED: Final = "application/cloudevents+json"
REQUIRED: Final = ("specversion", "id", "source", "type")
OCTETS: Final = "application/octet-stream"
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
    body = request.body
    if structured and None in names.values():  # null means an absent attribute; the SDK would take it as a value
        body = json.dumps({name: value for name, value in names.items() if value is not None}).encode()
    elif not structured and CONTAINER.match(body):  # the SDK may parse it
        refuse_many_values(body)
    try:
        event = (from_structured_event if structured else from_binary_event)(HTTPMessage(dict(request.headers), body))
        "".join(str(value) for value in event.get_attributes().values()).encode()
    # The SDK has raised each of these for malformed events.
    except (BaseCloudEventException, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise RefusedError(f"not a CloudEvent: {error}") from error
    return event


def _ce_headers(request: ProtocolRequest, media_type: str) -> dict[str, str]:
    names = {name[3:]: value for name, value in request.headers.items() if name.startswith("ce-")}
    if not names:
        raise RefusedError(
            f"POST / accepts one CloudEvent at a time: it must have ce-* headers or the content type {STRUCTURED}, "
            f"got content type {shortened(media_type)}; send plain images to /predict",
            415,
        )
    return names


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
