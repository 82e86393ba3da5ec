"""The OpenAPI document, which covers every protocol; beside this file, with names in braces for what a pod fills in."""

import json
from pathlib import Path
from typing import Any, Final

from function.protocols import Answer, ProtocolContext, Received, as_json

FILE: Final = Path(__file__).with_name("openapi.json")


def document(_: Received, service: ProtocolContext) -> Answer:
    return as_json(described(service))


def described(service: ProtocolContext) -> dict[str, Any]:
    """The document for the model and the limits of this pod."""
    text = FILE.read_text()
    for name, value in (("model", service.model.name), ("version", service.model.version)):
        text = text.replace(f"{{{name}}}", json.dumps(value)[1:-1])
    text = text.replace("{max_body_bytes}", str(service.max_body_bytes))
    filled: dict[str, Any] = json.loads(text.replace('"{max_images}"', str(service.max_images)))
    return filled
