"""KServe's V2 protocol (Open Inference Protocol), with the binary tensor data extension.

The one input is `image`, of type BYTES: the encoded image files themselves, or base64 in JSON. The two outputs are
`label` and `confidence`, likeliest first, both of shape (images, labels).
Source: https://github.com/kserve/open-inference-protocol and Triton's protocol/extension_binary_data.md.
"""

import json
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from function.protocols import (
    ProtocolContext,
    ProtocolRequest,
    ProtocolResponse,
    RefusedError,
    from_base64,
    json_object,
    json_response,
    shortened,
)
from function.types import TOP, Classification, ModelInfo

SERVER: Final = {"name": "elastic-ml-inference", "version": "0.1.0", "extensions": ["binary_tensor_data"]}
INPUT: Final = {"name": "image", "datatype": "BYTES", "shape": [-1]}
OUTPUTS: Final = {"label": "BYTES", "confidence": "FP32"}
HEADER: Final = "Inference-Header-Content-Length"


@dataclass(frozen=True, slots=True)
class Inference:
    """One parsed request. outputs: the name of each requested output, and whether it is wanted as binary data."""

    id: str | None
    images: tuple[bytes, ...]
    outputs: dict[str, bool]


def server(_: ProtocolRequest, __: ProtocolContext) -> ProtocolResponse:
    return json_response(SERVER)


def live(_: ProtocolRequest, __: ProtocolContext) -> ProtocolResponse:
    return json_response({"live": True})


def ready(_: ProtocolRequest, __: ProtocolContext) -> ProtocolResponse:
    return json_response({"ready": True})


def model_ready(_: ProtocolRequest, context: ProtocolContext) -> ProtocolResponse:
    return json_response({"name": context.model.name, "ready": True})


def metadata(_: ProtocolRequest, context: ProtocolContext) -> ProtocolResponse:
    model = context.model
    outputs = [{"name": name, "datatype": datatype, "shape": [-1, TOP]} for name, datatype in OUTPUTS.items()]
    document = {"name": model.name, "versions": [model.version], "platform": model.engine}
    return json_response({**document, "inputs": [INPUT], "outputs": outputs})


def models(_: ProtocolRequest, context: ProtocolContext) -> ProtocolResponse:
    """List the models as KServe does."""
    return json_response({"models": [context.model.name]})


def index(_: ProtocolRequest, context: ProtocolContext) -> ProtocolResponse:
    """List the models as Triton does. Source: its protocol/extension_model_repository.md."""
    return json_response([{"name": context.model.name, "version": context.model.version, "state": "READY"}])


def infer(request: ProtocolRequest, context: ProtocolContext) -> ProtocolResponse:
    json_bytes = request.headers.get(HEADER.lower())
    if json_bytes == "0" and request.body and "json" not in request.headers.get("content-type", ""):
        inference = Inference(None, (_raw(request.body),), dict.fromkeys(OUTPUTS, True))
    else:
        inference = parsed(request.body, json_bytes)
    return rendered(inference, context.classify(inference.images), context.model)


def parsed(body: bytes, json_bytes: str | None) -> Inference:
    """Parse a request. Raise RefusedError if it is malformed.

    json_bytes: value of HEADER, which a client sends when binary data follows the JSON.
    """
    length = _length(json_bytes, len(body))
    document = json_object(body[:length])
    id_ = document.get("id")
    if id_ is not None and not isinstance(id_, str):
        raise RefusedError(f"'id' must be a string, got {shortened(id_)}")
    return Inference(id_, _images(document.get("inputs"), body[length:]), _wanted(document))


def _raw(body: bytes) -> bytes:
    """Return the image of a raw binary request, which is the body, with or without its length in front.

    Source: Triton's protocol/extension_binary_data.md, "Raw Binary Request": one input, one element, binary outputs.
    """
    counted = len(body) >= 4 and struct.unpack_from("<I", body)[0] == len(body) - 4
    return body[4:] if counted else body


def _length(json_bytes: str | None, body_bytes: int) -> int:
    if json_bytes is None:
        return body_bytes
    if not (json_bytes.isascii() and json_bytes.isdecimal()) or int(json_bytes[:20]) > body_bytes:
        raise RefusedError(
            f"{HEADER} must be an integer from 0 to the body's {body_bytes} bytes, got {shortened(json_bytes)}"
        )
    return int(json_bytes)


def _images(inputs: object, binary: bytes) -> tuple[bytes, ...]:
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise RefusedError(f"'inputs' must be a list of one tensor, {INPUT['name']!r}, got {shortened(inputs)}")
    tensor = inputs[0]
    for key in ("name", "datatype"):
        if tensor.get(key) != INPUT[key]:
            raise RefusedError(f"the input's {key} must be {INPUT[key]!r}, got {shortened(tensor.get(key))}")
    size = _parameters(tensor).get("binary_data_size")
    images = _from_json(tensor.get("data"), binary) if size is None else _from_binary(size, binary)
    shape = tensor.get("shape")
    if not images or _elements(shape) != len(images):
        raise RefusedError(
            f"the input's shape must have one element for each image, and at least 1 image, "
            f"got {shortened(shape)} for {len(images)}"
        )
    return images


def _elements(shape: object) -> int:
    """Return the number of elements in a tensor of this shape, such as [4] or [4, 1]; -1 if the shape is invalid."""
    if (
        not isinstance(shape, list)
        or len(shape) not in (1, 2)
        or any(type(side) is not int or side < 0 for side in shape)
    ):
        return -1
    return math.prod(shape)


def _from_json(data: object, binary: bytes) -> tuple[bytes, ...]:
    if binary:
        raise RefusedError(f"{len(binary)} bytes follow the JSON, but the input has no parameter binary_data_size")
    if not isinstance(data, list):
        raise RefusedError(f"the input's data must be a list of images in base64, got {shortened(data)}")
    flat = [element for row in data for element in (row if isinstance(row, list) else [row])]
    return tuple(from_base64(element, f"data[{index}]") for index, element in enumerate(flat))


def _from_binary(size: object, binary: bytes) -> tuple[bytes, ...]:
    """Split a BYTES tensor; each element is preceded by its length in four bytes, little-endian."""
    if type(size) is not int or size != len(binary):
        raise RefusedError(
            f"binary_data_size must equal the {len(binary)} bytes that follow the JSON, got {shortened(size)}"
        )
    images: list[bytes] = []
    start = 0
    while start < size:
        (length,) = struct.unpack_from("<I", binary, start) if start + 4 <= size else (size,)
        start += 4 + length
        if start > size:
            raise RefusedError(
                f"element {len(images)} of the binary data ends at byte {start}, beyond its {size} bytes"
            )
        images.append(binary[start - length : start])
    return tuple(images)


def _wanted(document: dict[str, Any]) -> dict[str, bool]:
    """Return the requested outputs: all unless some are named, in JSON unless binary data is requested."""
    binary = _flag(_parameters(document), "binary_data_output", False)
    listed = document.get("outputs")
    if listed is None or listed == []:
        return dict.fromkeys(OUTPUTS, binary)
    if not isinstance(listed, list) or not all(isinstance(output, dict) for output in listed):
        raise RefusedError(f"'outputs' must be a list of objects with a name, got {shortened(listed)}")
    names = [output.get("name") for output in listed]
    if any(not isinstance(name, str) or name not in OUTPUTS for name in names):
        raise RefusedError(f"an output's name must be one of {', '.join(OUTPUTS)}, got {shortened(names)}")
    return {output["name"]: _flag(_parameters(output), "binary_data", binary) for output in listed}


def _parameters(holder: dict[str, Any]) -> dict[str, Any]:
    parameters = holder.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise RefusedError(f"'parameters' must be an object, got {shortened(parameters)}")
    return parameters


def _flag(parameters: dict[str, Any], name: str, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise RefusedError(f"{name} must be true or false, got {shortened(value)}")
    return value


def rendered(inference: Inference, results: Sequence[Classification], model: ModelInfo) -> ProtocolResponse:
    """Return the response; binary outputs follow the JSON in the order in which it lists them."""
    outputs, binary = [], []
    for name, as_binary in inference.outputs.items():
        values = [getattr(rank, name) for result in results for rank in result.top]
        shape = [len(results), len(results[0].top)]
        output: dict[str, Any] = {"name": name, "datatype": OUTPUTS[name], "shape": shape}
        if as_binary:
            binary.append(_packed(OUTPUTS[name], values))
            output["parameters"] = {"binary_data_size": len(binary[-1])}
        else:
            output["data"] = values
        outputs.append(output)
    document = {"model_name": model.name, "model_version": model.version, "outputs": outputs}
    if inference.id is not None:
        document["id"] = inference.id
    if not binary:
        return json_response(document)
    head = json.dumps(document).encode()
    headers = {"Content-Type": "application/octet-stream", HEADER: str(len(head))}
    return ProtocolResponse(200, b"".join([head, *binary]), headers)


def _packed(datatype: str, values: Sequence[Any]) -> bytes:
    if datatype == "FP32":
        return struct.pack(f"<{len(values)}f", *values)
    encoded = [value.encode() for value in values]
    return b"".join(struct.pack("<I", len(element)) + element for element in encoded)
