"""Protocols: encode images as request bodies once before a run, and read predictions from responses."""

import base64
import json
import math
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from loadgen.records import Failure, Record, printable
from loadgen.sending.image_files import ImageFile


@dataclass(frozen=True, slots=True)
class Body:
    """An encoded request body.

    content: bytes, or anything else that aiohttp can send if a user's own hook returned it. headers: those that
    describe the content, such as Content-Type. id_headers: names of headers that contain the unique id of each request.
    """

    name: str
    content: Any
    headers: Mapping[str, str] = field(default_factory=dict)
    id_headers: tuple[str, ...] = ("X-Request-Id",)


@dataclass(frozen=True, slots=True)
class Prediction:
    """A label and its confidence from 0 to 1; 0 if the response contains none, nan if it is not a finite number."""

    label: str = ""
    confidence: float = 0.0


@dataclass(frozen=True, slots=True)
class Protocol:
    """A way to send images and to read responses.

    encode: encodes an image as a body. read: extracts the prediction from the JSON of a response.
    polls: the response is 202, and the result must be polled.
    """

    encode: Callable[[ImageFile], Body]
    read: Callable[[Mapping[str, object]], Prediction]
    headers: Mapping[str, str] = field(default_factory=dict)
    polls: bool = False


def multipart(image: ImageFile) -> Body:
    """Encode the form that a browser or curl would send for one file, in the field `file`.

    Source: RFC 7578.
    """
    boundary = uuid.uuid4().hex
    quoted = image.name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{quoted}"\r\n'
        f"Content-Type: {image.content_type}\r\n\r\n"
    )
    form = head.encode(errors="surrogateescape") + image.content + f"\r\n--{boundary}--\r\n".encode()
    return Body(image.name, form, {"Content-Type": f"multipart/form-data; boundary={boundary}"})


def raw(image: ImageFile) -> Body:
    """Send the file itself as the body."""
    return Body(image.name, image.content, {"Content-Type": image.content_type})


def kserve_v1(image: ImageFile) -> Body:
    """Encode one instance that contains the file in base64.

    Source: KServe's V1 protocol, which writes binary values as TensorFlow Serving's REST API does.
    """
    instance = {"b64": base64.b64encode(image.content).decode()}
    return Body(image.name, json.dumps({"instances": [instance]}).encode(), {"Content-Type": "application/json"})


def open_inference(image: ImageFile) -> Body:
    """Encode one input of type BYTES and shape (1,), with the file after the JSON.

    Source: Open Inference Protocol (V2) with its binary tensor data extension: 4 bytes of length, then the element.
    """
    element = len(image.content).to_bytes(4, "little") + image.content
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": len(element)}}
    head = json.dumps({"inputs": [tensor]}).encode()
    headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}
    return Body(image.name, head + element, headers)


def cloud_event(image: ImageFile) -> Body:
    """Encode a CloudEvents 1.0 event in binary mode: attributes as headers, the file as data, an id per request."""
    headers = {
        "ce-specversion": "1.0",
        "ce-type": "image.photograph",
        "ce-source": "loadgen",
        "Content-Type": image.content_type,
    }
    return Body(image.name, image.content, headers, ("X-Request-Id", "ce-id"))


def read_own(response: Mapping[str, object]) -> Prediction:
    """Read `label` and `confidence`, or else `prediction` alone (`cat: 89.2%`)."""
    label, confidence = response.get("label"), response.get("confidence")
    if isinstance(label, str) and isinstance(confidence, int | float):
        return Prediction(label, _finite(confidence))
    name, _, percent = str(response.get("prediction", "")).rpartition(": ")
    try:
        return Prediction(name, _finite(float(percent.rstrip("%")) / 100))
    except ValueError:
        return Prediction(str(response.get("prediction", "")))


def _finite(number: float) -> float:
    """Return a number of a response as a float; nan if JSON does not have it (NaN) or a float cannot hold it."""
    try:
        return float(number) if math.isfinite(number) else math.nan
    except OverflowError:  # an integer of more than 308 digits
        return math.nan


def read_v1(response: Mapping[str, object]) -> Prediction:
    """Read the first of `predictions`, which is an object with the fields of read_own, or a label."""
    predictions = response.get("predictions")
    first = predictions[0] if isinstance(predictions, list) and predictions else None
    return read_own(first) if isinstance(first, dict) else Prediction("" if first is None else str(first))


def read_v2(response: Mapping[str, object]) -> Prediction:
    """Read the first element of the outputs whose names contain "label" and "confidence", "score" or "probability"."""
    outputs = response.get("outputs")
    first = {
        str(output.get("name", "")): output["data"][0]
        for output in (outputs if isinstance(outputs, list) else [])
        if isinstance(output, dict) and isinstance(output.get("data"), list) and output["data"]
    }
    label = next((value for name, value in first.items() if "label" in name and isinstance(value, str)), "")
    words = ("confidence", "score", "probabilit")
    confidences = (value for name, value in first.items() if any(word in name for word in words))
    confidence = next((_finite(value) for value in confidences if isinstance(value, int | float)), 0.0)
    return Prediction(label, confidence)


def read_response(protocol: Protocol, content: bytes, record: Record) -> None:
    """Add the label of a successful response, or the reason of a failed one, to a record that has its status."""
    try:
        response = json.loads(content)
    except (ValueError, RecursionError):  # RecursionError: thousands of nested brackets
        response = None
    if not 200 <= record.status < 300:
        reason = f": {printable(str(response.get('error', '')), 100)}" if isinstance(response, dict) else ""
        record.failure, record.error = Failure.STATUS, f"status {record.status}{reason}"
    elif isinstance(response, dict):
        prediction = protocol.read(response)
        record.label, record.confidence = printable(prediction.label), prediction.confidence


PROTOCOLS = {
    "multipart": Protocol(multipart, read_own),
    "raw": Protocol(raw, read_own),
    "v1": Protocol(kserve_v1, read_v1),
    "v2": Protocol(open_inference, read_v2),
    "cloudevents": Protocol(cloud_event, read_own),
    "async": Protocol(multipart, read_own, {"Prefer": "respond-async"}, polls=True),
}
