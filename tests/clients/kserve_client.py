"""KServe's own client against a pod: `python kserve_client.py URL IMAGE` prints the responses as JSON.

It runs in its own environment (`make clients`), because kserve pins other versions of packages that the project uses.
"""

import asyncio
import base64
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig
from kserve.protocol.infer_type import RequestedOutput

MODEL = "resnet18"


async def v1(url: str, image: bytes) -> dict[str, Any]:
    async with InferenceRESTClient(RESTConfig(protocol="v1")) as client:
        instance = {"image": {"b64": base64.b64encode(image).decode()}}
        response = await client.infer(url, {"instances": [instance, instance]}, model_name=MODEL)
        return {
            "live": await client.is_server_live(url),
            "ready": await client.is_model_ready(url, MODEL),
            "labels": [prediction["label"] for prediction in response["predictions"]],
        }


def request(image: bytes, binary: bool) -> InferRequest:
    tensor = InferInput("image", [2], "BYTES")
    content = image if binary else base64.b64encode(image)
    tensor.set_data_from_numpy(np.array([content, content], dtype=object), binary_data=binary)
    outputs = [RequestedOutput(name, {"binary_data": binary}) for name in ("label", "confidence")]
    return InferRequest(MODEL, [tensor], request_id="42", request_outputs=outputs)


async def v2(url: str, image: bytes, binary: bool) -> dict[str, Any]:
    async with InferenceRESTClient(RESTConfig(protocol="v2")) as client:
        response = await client.infer(url, request(image, binary), model_name=MODEL)
        label, confidence = (response.get_output_by_name(name).as_numpy() for name in ("label", "confidence"))
        first = [text if isinstance(text, str) else text.decode() for text in label[:, 0]]
        return {
            "live": await client.is_server_live(url),
            "ready": await client.is_server_ready(url) and await client.is_model_ready(url, MODEL),
            "id": response.id,
            "shape": list(confidence.shape),
            "labels": first,
            "confidence": float(confidence[0, 0]),
        }


async def refused(url: str) -> str:
    """Return the error message that a user of the client sees."""
    async with InferenceRESTClient(RESTConfig(protocol="v2")) as client:
        try:
            await client.infer(url, request(b"no image", True), model_name=MODEL)
        except Exception as error:  # noqa: BLE001  the type that the client raises does not matter
            return str(error)
    return "the request was not refused"


async def main(url: str, image: bytes) -> None:
    results = {
        "v1": await v1(url, image),
        "v2 JSON": await v2(url, image, False),
        "v2 binary": await v2(url, image, True),
        "refused": await refused(url),
    }
    print(json.dumps(results))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]).read_bytes()))
