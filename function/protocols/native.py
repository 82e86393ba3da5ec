"""The project's own protocol: a form with the field `file`, or the image itself as the body; the response is JSON."""

from collections.abc import Sequence
from typing import Any

from function.protocols import (
    ProtocolContext,
    ProtocolRequest,
    ProtocolResponse,
    RefusedError,
    as_dict,
    json_response,
)
from function.protocols.form import FIELD, files
from function.types import Classification


def health(_: ProtocolRequest, context: ProtocolContext) -> ProtocolResponse:
    """Report that the pod is alive; KServe's clients look for the word `alive`."""
    model = context.model
    info = {"model": model.name, "version": model.version, "engine": model.engine, "precision": model.precision}
    return json_response({"status": "alive", **info})


def predict(request: ProtocolRequest, context: ProtocolContext) -> ProtocolResponse:
    """Return the labels of one image, or a list of labels for several images in their order."""
    images = _images(request)
    labelled = [labels(result) for result in context.classify(images)]
    document: dict[str, Any] = labelled[0] if len(images) == 1 else {"predictions": labelled}
    return json_response({**document, "model": as_dict(context.model)})


def labels(result: Classification) -> dict[str, Any]:
    """Return the labels of one image as JSON fields."""
    best = result.top[0]
    return {
        "prediction": f"{best.label}: {100 * best.confidence:.1f}%",
        "label": best.label,
        "confidence": best.confidence,
        "top": [as_dict(rank) for rank in result.top],
    }


def _images(request: ProtocolRequest) -> Sequence[bytes]:
    content_type = request.headers.get("content-type", "")
    if content_type.lower().startswith("multipart/form-data"):
        return files(content_type, request.body)
    if not request.body:
        raise RefusedError(
            f"no image in the request: send a form with a file in field {FIELD!r}, or the image itself as the body"
        )
    return (request.body,)
