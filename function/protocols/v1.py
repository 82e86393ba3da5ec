"""KServe's V1 protocol: JSON with images in base64.

Source: https://kserve.github.io/website/docs/concepts/architecture/data-plane/v1-protocol
"""

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
from function.protocols.native import labels

# The field's name in TensorFlow Serving, TorchServe and KServe's own samples.
NAMES: Final = ("b64", "image", "image_bytes", "data")


def models(_: ProtocolRequest, context: ProtocolContext) -> ProtocolResponse:
    return json_response({"models": [context.model.name]})


def ready(_: ProtocolRequest, context: ProtocolContext) -> ProtocolResponse:
    return json_response({"name": context.model.name, "ready": True})


def predict(request: ProtocolRequest, context: ProtocolContext) -> ProtocolResponse:
    images = instances(json_object(request.body))
    return json_response({"predictions": [labels(result) for result in context.classify(images)]})


def instances(document: dict[str, Any]) -> list[bytes]:
    """Return the images of a request. Raise RefusedError if there are none or one is not valid base64."""
    listed = document.get("instances")
    if not isinstance(listed, list) or not listed:
        raise RefusedError(f"'instances' must be a list of at least one image, got {shortened(listed)}")
    return [_image(instance, f"instances[{index}]") for index, instance in enumerate(listed)]


def _image(instance: object, where: str) -> bytes:
    """Decode an instance: base64, or an object with exactly one of NAMES, up to two deep: {"image": {"b64": "..."}}."""
    for _ in range(2):
        if not isinstance(instance, dict):
            break
        names = [name for name in NAMES if name in instance]
        if len(names) != 1:
            raise RefusedError(
                f"{where} must have exactly one of {', '.join(NAMES)}, got {shortened(sorted(instance))}"
            )
        instance, where = instance[names[0]], f"{where}.{names[0]}"
    return from_base64(instance, where)
