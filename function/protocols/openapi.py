"""The OpenAPI document of every protocol, from openapi.json, whose names in braces are filled in for each pod."""

import json
from pathlib import Path
from typing import Any, Final

from function.protocols import ProtocolContext, ProtocolRequest, ProtocolResponse, json_response

FILE: Final = Path(__file__).with_name("openapi.json")


def document(_: ProtocolRequest, context: ProtocolContext) -> ProtocolResponse:
    return json_response(described(context))


def described(context: ProtocolContext) -> dict[str, Any]:
    """Return the document for the model and the limits of this pod."""
    text = FILE.read_text()
    for name, value in (("model", context.model.name), ("version", context.model.version)):
        text = text.replace(f"{{{name}}}", json.dumps(value)[1:-1])
    text = text.replace("{max_body_bytes}", str(context.max_body_bytes))
    filled: dict[str, Any] = json.loads(text.replace('"{max_images}"', str(context.max_images)))
    return filled
