"""The project's own protocol: a form with the field `file`, or the image itself, and one line of text as the answer."""

from collections.abc import Sequence
from typing import Any

from function.classifier import Classification
from function.protocols import Answer, ProtocolContext, Received, RefusedError, as_json, flat
from function.protocols.form import FIELD, files


def health(_: Received, service: ProtocolContext) -> Answer:
    """`alive` is the word that KServe's clients look for."""
    model = service.model
    told = {"model": model.name, "version": model.version, "engine": model.engine, "precision": model.precision}
    return as_json({"status": "alive", **told})


def predict(request: Received, service: ProtocolContext) -> Answer:
    """One image is answered with its labels, several with a list in their order."""
    images = _images(request)
    labelled = [labels(result) for result in service.classify(images)]
    answer: dict[str, Any] = labelled[0] if len(images) == 1 else {"predictions": labelled}
    return as_json({**answer, "model": flat(service.model)})


def labels(result: Classification) -> dict[str, Any]:
    """What the model sees in one image."""
    best = result.top[0]
    return {
        "prediction": f"{best.label}: {100 * best.confidence:.1f}%",
        "label": best.label,
        "confidence": best.confidence,
        "top": [flat(rank) for rank in result.top],
    }


def _images(request: Received) -> Sequence[bytes]:
    content_type = request.headers.get("content-type", "")
    if content_type.lower().startswith("multipart/form-data"):
        return files(content_type, request.body)
    if not request.body:
        raise RefusedError(f"no image: send a form with the field {FIELD!r}, or the image itself as the body")
    return (request.body,)
