"""CloudEvents over HTTP, binary and structured: an event with an image is answered with an event of its labels.

What a Knative Trigger's filter posts is one of these. No retry is asked for what can never succeed: events that are not
about an image get 202 and no reply (a Trigger without a filter sends everything, our own replies too), broken ones 400.
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

from function.classifier import Classification
from function.protocols import (
    Answer,
    ProtocolContext,
    Received,
    RefusedError,
    flat,
    json_object,
    refuse_many_values,
    seen,
)
from function.protocols.native import labels

CLASSIFIED: Final = "ml.elastic.image.classified"
STRUCTURED: Final = "application/cloudevents+json"
REQUIRED: Final = ("specversion", "id", "source", "type")
OCTETS: Final = "application/octet-stream"
CONTAINER: Final = re.compile(rb"\s*[\[{]")


def receive(request: Received, service: ProtocolContext) -> Answer:
    """200 and an event, 202 where there is none to give or it went to the sink. Raises RefusedError."""
    media_type = _media_type(request.headers.get("content-type"))
    event = parsed(request, media_type)
    image = image_of(event, service)
    if image is None:
        return Answer(202)
    (result,) = service.classify([image])
    reply = reply_to(event, result, service)
    message = to_binary_event(reply)
    if service.deliver(message.headers, message.body):
        return Answer(202)
    if media_type == STRUCTURED:
        message = to_structured_event(reply)
    return Answer(200, message.body, message.headers)


def parsed(request: Received, media_type: str) -> BaseCloudEvent:
    """Raises RefusedError if the request is no event, a batch, or not what the specification asks for."""
    structured = media_type == STRUCTURED
    names = json_object(request.body) if structured else _ce_headers(request, media_type)
    missing = [name for name in REQUIRED if not names.get(name)]
    if missing:
        raise RefusedError(f"an event must have {', '.join(REQUIRED)}; without {', '.join(missing)} here")
    if names["specversion"] != "1.0":
        raise RefusedError(f"specversion must be '1.0', was {seen(names['specversion'])}")
    body = request.body
    if structured and None in names.values():  # a null is an attribute left out; the SDK takes it for a value
        body = json.dumps({name: value for name, value in names.items() if value is not None}).encode()
    elif not structured and CONTAINER.match(body):  # which the SDK may parse
        refuse_many_values(body)
    try:
        event = (from_structured_event if structured else from_binary_event)(HTTPMessage(dict(request.headers), body))
        "".join(str(value) for value in event.get_attributes().values()).encode()
    except (BaseCloudEventException, ValueError, TypeError, AttributeError, RecursionError) as error:  # all were seen
        raise RefusedError(f"not a CloudEvent: {error}") from error
    return event


def _ce_headers(request: Received, media_type: str) -> dict[str, str]:
    names = {name[3:]: value for name, value in request.headers.items() if name.startswith("ce-")}
    if not names:
        raise RefusedError(
            f"POST / takes CloudEvents, one at a time: headers ce-..., or the content type {STRUCTURED}; "
            f"the content type was {seen(media_type)}. Photographs go to /predict",
            415,
        )
    return names


def _media_type(content_type: str | None) -> str:
    return (content_type or "").partition(";")[0].strip().lower()


def image_of(event: BaseCloudEvent, service: ProtocolContext) -> bytes | None:
    """The event's image, or the one behind its link; None if the event is not about an image. Raises RefusedError."""
    if event.get_type() == CLASSIFIED:
        return None
    media_type, data = _media_type(event.get_datacontenttype()), event.get_data()
    link = event.get_extension("dataref")
    if not isinstance(link, str | None):
        raise RefusedError(f"dataref must be a link, was {seen(link)}")
    pictured = media_type.startswith("image/") or media_type == OCTETS or (not media_type and isinstance(data, bytes))
    if not (pictured and data and isinstance(data, bytes | str)):  # a dataref may come beside the data it leads to
        if link is None and isinstance(data, dict):
            link = data.get("url")
        if link is not None:
            return service.fetch(str(link))
    if not pictured:
        return None
    if not isinstance(data, bytes | str):
        raise RefusedError(f"an event of {media_type} must have the image as its data, had {seen(data)}")
    return (
        data if isinstance(data, bytes) else data.encode(errors="replace")
    )  # the SDK makes a str of bytes that can be one


def reply_to(event: BaseCloudEvent, result: Classification, service: ProtocolContext) -> CloudEvent:
    """The same event twice gets the same id twice, so that receivers can tell."""
    attributes: dict[str, Any] = {
        "specversion": "1.0",
        "id": str(uuid5(NAMESPACE_URL, f"{event.get_source()}\n{event.get_id()}")),
        "source": f"/elastic-ml/{service.model.name}",
        "type": CLASSIFIED,
        "datacontenttype": "application/json",
        "causationid": event.get_id(),
        **service.extensions,
    }
    if event.get_subject():
        attributes["subject"] = event.get_subject()
    return CloudEvent(attributes, {**labels(result), "model": flat(service.model)})
