"""How a photograph becomes a request body, once before the start, and what an answer says."""

import base64
import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from loadgen.records import Failure, Record
from loadgen.sending.image_files import ImageFile


@dataclass(frozen=True, slots=True)
class Body:
    """A ready request body.

    content: bytes, or what else aiohttp can send if a hook of the user's own made it. headers: those that belong to
    it, Content-Type among them. id_headers: get the request's own id, each time another.
    """

    name: str
    content: Any
    headers: Mapping[str, str] = field(default_factory=dict)
    id_headers: tuple[str, ...] = ("X-Request-Id",)


@dataclass(frozen=True, slots=True)
class Prediction:
    """What an answer of any protocol says; confidence from 0 to 1, 0 if it says none."""

    label: str = ""
    confidence: float = 0.0


@dataclass(frozen=True, slots=True)
class Protocol:
    """encode: makes a body of a photograph; read: finds the prediction in an answer's JSON; polls: 202, then ask."""

    encode: Callable[[ImageFile], Body]
    read: Callable[[Mapping[str, object]], Prediction]
    headers: Mapping[str, str] = field(default_factory=dict)
    polls: bool = False


def multipart(photograph: ImageFile) -> Body:
    """The form that a browser or curl would send for one file, as field `file`.

    Source: RFC 7578.
    """
    boundary = uuid.uuid4().hex
    quoted = photograph.name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{quoted}"\r\n'
        f"Content-Type: {photograph.content_type}\r\n\r\n"
    )
    form = head.encode(errors="surrogateescape") + photograph.content + f"\r\n--{boundary}--\r\n".encode()
    return Body(photograph.name, form, {"Content-Type": f"multipart/form-data; boundary={boundary}"})


def raw(photograph: ImageFile) -> Body:
    """The file itself."""
    return Body(photograph.name, photograph.content, {"Content-Type": photograph.content_type})


def kserve_v1(photograph: ImageFile) -> Body:
    """One instance with the file in base64.

    Source: KServe's V1 protocol, which writes binary values as TensorFlow Serving's REST API does.
    """
    instance = {"b64": base64.b64encode(photograph.content).decode()}
    return Body(photograph.name, json.dumps({"instances": [instance]}).encode(), {"Content-Type": "application/json"})


def open_inference(photograph: ImageFile) -> Body:
    """One input of type BYTES, shape (1,), the file behind the JSON.

    Source: Open Inference Protocol (V2) with its binary tensor data extension: 4 bytes of length, then the element.
    """
    element = len(photograph.content).to_bytes(4, "little") + photograph.content
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": len(element)}}
    head = json.dumps({"inputs": [tensor]}).encode()
    headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}
    return Body(photograph.name, head + element, headers)


def cloud_event(photograph: ImageFile) -> Body:
    """A CloudEvents 1.0 event in binary mode: attributes as headers, the file as data; each request another id."""
    headers = {
        "ce-specversion": "1.0",
        "ce-type": "image.photograph",
        "ce-source": "loadgen",
        "Content-Type": photograph.content_type,
    }
    return Body(photograph.name, photograph.content, headers, ("X-Request-Id", "ce-id"))


def read_own(answer: Mapping[str, object]) -> Prediction:
    """From `label` and `confidence`, or from `prediction` alone (`cat: 89.2%`)."""
    label, confidence = answer.get("label"), answer.get("confidence")
    if isinstance(label, str) and isinstance(confidence, int | float):
        return Prediction(label, float(confidence))
    name, _, percent = str(answer.get("prediction", "")).rpartition(": ")
    try:
        return Prediction(name, float(percent.rstrip("%")) / 100)
    except ValueError:
        return Prediction(str(answer.get("prediction", "")))


def read_v1(answer: Mapping[str, object]) -> Prediction:
    """The first of `predictions`, an object as above or a bare label."""
    predictions = answer.get("predictions")
    first = predictions[0] if isinstance(predictions, list) and predictions else None
    return read_own(first) if isinstance(first, dict) else Prediction("" if first is None else str(first))


def read_v2(answer: Mapping[str, object]) -> Prediction:
    """First elements of the outputs named like a label and like a confidence, score or probability."""
    outputs = answer.get("outputs")
    first = {
        str(output.get("name", "")): output["data"][0]
        for output in (outputs if isinstance(outputs, list) else [])
        if isinstance(output, dict) and isinstance(output.get("data"), list) and output["data"]
    }
    label = next((value for name, value in first.items() if "label" in name and isinstance(value, str)), "")
    words = ("confidence", "score", "probabilit")
    sure = (value for name, value in first.items() if any(word in name for word in words))
    confidence = next((float(value) for value in sure if isinstance(value, int | float)), 0.0)
    return Prediction(label, confidence)


def read_answer(protocol: Protocol, content: bytes, record: Record) -> None:
    """Fill a record whose status is known: the label of a good answer, the reason of a bad one."""
    try:
        answer = json.loads(content)
    except ValueError:
        answer = None
    if not 200 <= record.status < 300:
        said = f": {' '.join(str(answer.get('error', '')).split())[:100]}" if isinstance(answer, dict) else ""
        record.failure, record.error = Failure.STATUS, f"status {record.status}{said}"
    elif isinstance(answer, dict):
        prediction = protocol.read(answer)
        record.label, record.confidence = prediction.label, prediction.confidence


PROTOCOLS = {
    "multipart": Protocol(multipart, read_own),
    "raw": Protocol(raw, read_own),
    "v1": Protocol(kserve_v1, read_v1),
    "v2": Protocol(open_inference, read_v2),
    "cloudevents": Protocol(cloud_event, read_own),
    "async": Protocol(multipart, read_own, {"Prefer": "respond-async"}, polls=True),
}
