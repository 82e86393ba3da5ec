"""KServe's V2 protocol (Open Inference Protocol), with the binary tensor data extension.

One input, `image`: BYTES, the encoded images themselves (in JSON: base64). Two outputs, likeliest first: `label` and
`confidence`, both of shape (images, labels).
Source: https://github.com/kserve/open-inference-protocol and Triton's protocol/extension_binary_data.md.
"""

import json
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from function.classifier import TOP, Classification, ModelInfo
from function.protocols import Answer, ProtocolContext, Received, RefusedError, as_json, from_base64, json_object, seen

SERVER: Final = {"name": "elastic-ml-inference", "version": "0.1.0", "extensions": ["binary_tensor_data"]}
INPUT: Final = {"name": "image", "datatype": "BYTES", "shape": [-1]}
OUTPUTS: Final = {"label": "BYTES", "confidence": "FP32"}
HEADER: Final = "Inference-Header-Content-Length"


@dataclass(frozen=True, slots=True)
class Inference:
    """One request. outputs: name of each wanted one, and whether as binary data."""

    id: str | None
    images: tuple[bytes, ...]
    outputs: dict[str, bool]


def server(_: Received, __: ProtocolContext) -> Answer:
    return as_json(SERVER)


def live(_: Received, __: ProtocolContext) -> Answer:
    return as_json({"live": True})


def ready(_: Received, __: ProtocolContext) -> Answer:
    return as_json({"ready": True})


def model_ready(_: Received, service: ProtocolContext) -> Answer:
    return as_json({"name": service.model.name, "ready": True})


def metadata(_: Received, service: ProtocolContext) -> Answer:
    model = service.model
    outputs = [{"name": name, "datatype": datatype, "shape": [-1, TOP]} for name, datatype in OUTPUTS.items()]
    document = {"name": model.name, "versions": [model.version], "platform": model.engine}
    return as_json({**document, "inputs": [INPUT], "outputs": outputs})


def infer(request: Received, service: ProtocolContext) -> Answer:
    inference = parsed(request.body, request.headers.get(HEADER.lower()))
    return rendered(inference, service.classify(inference.images), service.model)


def parsed(body: bytes, json_bytes: str | None) -> Inference:
    """json_bytes: what HEADER says, where binary data follows the JSON. Raises RefusedError."""
    length = _length(json_bytes, len(body))
    document = json_object(body[:length])
    id_ = document.get("id")
    if id_ is not None and not isinstance(id_, str):
        raise RefusedError(f"'id' must be a string, was {seen(id_)}")
    return Inference(id_, _images(document.get("inputs"), body[length:]), _wanted(document))


def _length(json_bytes: str | None, body_bytes: int) -> int:
    if json_bytes is None:
        return body_bytes
    if not (json_bytes.isascii() and json_bytes.isdecimal()) or int(json_bytes[:20]) > body_bytes:
        raise RefusedError(
            f"{HEADER} must be a number of bytes, at most the body's {body_bytes}, was {seen(json_bytes)}"
        )
    return int(json_bytes)


def _images(inputs: object, binary: bytes) -> tuple[bytes, ...]:
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise RefusedError(f"'inputs' must be a list of one tensor, {INPUT['name']!r}, was {seen(inputs)}")
    tensor = inputs[0]
    for key in ("name", "datatype"):
        if tensor.get(key) != INPUT[key]:
            raise RefusedError(f"the input's {key} must be {INPUT[key]!r}, was {seen(tensor.get(key))}")
    size = _parameters(tensor).get("binary_data_size")
    images = _from_json(tensor.get("data"), binary) if size is None else _from_binary(size, binary)
    shape = tensor.get("shape")
    if not images or _elements(shape) != len(images):
        raise RefusedError(
            f"the input's shape must be [number of images, at least 1], was {seen(shape)} for {len(images)}"
        )
    return images


def _elements(shape: object) -> int:
    """Of a tensor of this shape, [4] or [4, 1]; -1 for what is no such shape."""
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
        raise RefusedError(f"the input's data must be a list of images in base64, was {seen(data)}")
    flat = [element for row in data for element in (row if isinstance(row, list) else [row])]
    return tuple(from_base64(element, f"data[{index}]") for index, element in enumerate(flat))


def _from_binary(size: object, binary: bytes) -> tuple[bytes, ...]:
    """Elements of a BYTES tensor: each its length in four bytes, little-endian, then itself."""
    if type(size) is not int or size != len(binary):
        raise RefusedError(f"binary_data_size must be the {len(binary)} bytes that follow the JSON, was {seen(size)}")
    images: list[bytes] = []
    start = 0
    while start < size:
        (length,) = struct.unpack_from("<I", binary, start) if start + 4 <= size else (size,)
        start += 4 + length
        if start > size:
            raise RefusedError(f"element {len(images)} of the binary data ends at byte {start} of {size}")
        images.append(binary[start - length : start])
    return tuple(images)


def _wanted(document: dict[str, Any]) -> dict[str, bool]:
    """All outputs unless some are named; in JSON unless binary data is asked for."""
    binary = _flag(_parameters(document), "binary_data_output", False)
    listed = document.get("outputs")
    if listed is None or listed == []:
        return dict.fromkeys(OUTPUTS, binary)
    if not isinstance(listed, list) or not all(isinstance(output, dict) for output in listed):
        raise RefusedError(f"'outputs' must be a list of objects with a name, was {seen(listed)}")
    names = [output.get("name") for output in listed]
    if any(not isinstance(name, str) or name not in OUTPUTS for name in names):
        raise RefusedError(f"an output's name must be one of {', '.join(OUTPUTS)}, was one of {seen(names)}")
    return {output["name"]: _flag(_parameters(output), "binary_data", binary) for output in listed}


def _parameters(holder: dict[str, Any]) -> dict[str, Any]:
    parameters = holder.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise RefusedError(f"'parameters' must be an object, was {seen(parameters)}")
    return parameters


def _flag(parameters: dict[str, Any], name: str, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise RefusedError(f"{name} must be true or false, was {seen(value)}")
    return value


def rendered(inference: Inference, results: Sequence[Classification], model: ModelInfo) -> Answer:
    """The answer, with the binary outputs after the JSON in the order of their names there."""
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
        return as_json(document)
    head = json.dumps(document).encode()
    headers = {"Content-Type": "application/octet-stream", HEADER: str(len(head))}
    return Answer(200, b"".join([head, *binary]), headers)


def _packed(datatype: str, values: Sequence[Any]) -> bytes:
    if datatype == "FP32":
        return struct.pack(f"<{len(values)}f", *values)
    encoded = [value.encode() for value in values]
    return b"".join(struct.pack("<I", len(element)) + element for element in encoded)
