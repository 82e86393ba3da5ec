"""KServe's V1 protocol: JSON, images in base64.

Source: https://kserve.github.io/website/docs/concepts/architecture/data-plane/v1-protocol
"""

from typing import Any, Final

from function.protocols import Answer, ProtocolContext, Received, RefusedError, as_json, from_base64, json_object, seen
from function.protocols.native import labels

# what TensorFlow Serving, TorchServe and KServe's own samples call it
NAMES: Final = ("b64", "image", "image_bytes", "data")


def models(_: Received, service: ProtocolContext) -> Answer:
    return as_json({"models": [service.model.name]})


def ready(_: Received, service: ProtocolContext) -> Answer:
    return as_json({"name": service.model.name, "ready": True})


def predict(request: Received, service: ProtocolContext) -> Answer:
    images = instances(json_object(request.body))
    return as_json({"predictions": [labels(result) for result in service.classify(images)]})


def instances(document: dict[str, Any]) -> list[bytes]:
    """The images of a request. Raises RefusedError."""
    listed = document.get("instances")
    if not isinstance(listed, list) or not listed:
        raise RefusedError(f"'instances' must be a list of at least one image, was {seen(listed)}")
    return [_image(instance, f"instances[{index}]") for index, instance in enumerate(listed)]


def _image(instance: object, where: str) -> bytes:
    """Base64, or an object that has it under exactly one of NAMES, or one around such: {"image": {"b64": "..."}}."""
    for _ in range(2):
        if not isinstance(instance, dict):
            break
        names = [name for name in NAMES if name in instance]
        if len(names) != 1:
            raise RefusedError(f"{where} must have exactly one of {', '.join(NAMES)}, has {seen(sorted(instance))}")
        instance, where = instance[names[0]], f"{where}.{names[0]}"
    return from_base64(instance, where)
