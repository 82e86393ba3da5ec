"""KServe's V2 protocol (Open Inference Protocol) and its binary tensor data."""

import base64
import json
import struct
import tomllib
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.function.fakes import Fake
from tests.paths import ROOT

INFER = "/v2/models/resnet18/infer"
OCTETS = "application/octet-stream"


def b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def tensor(*images: bytes, **changes: Any) -> dict[str, Any]:
    made = {"name": "image", "datatype": "BYTES", "shape": [len(images)], "data": [b64(image) for image in images]}
    return {key: value for key, value in {**made, **changes}.items() if value is not None}


def packed(*elements: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


def post_binary(client: FlaskClient, document: dict[str, Any], binary: bytes, **headers: str) -> TestResponse:
    head = json.dumps(document).encode()
    length = {"Inference-Header-Content-Length": str(len(head)), **headers}
    return client.post(INFER, data=head + binary, content_type=OCTETS, headers=length)


def test_the_server_describes_itself(client: FlaskClient) -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    server: Any = client.get("/v2").json
    assert server["extensions"] == ["binary_tensor_data"]
    assert (server["name"], server["version"]) == (pyproject["project"]["name"], pyproject["project"]["version"])
    assert client.get("/v2/health/live").json == {"live": True}
    assert client.get("/v2/health/ready").json == {"ready": True}


@pytest.mark.parametrize("model", ["/v2/models/resnet18", "/v2/models/resnet18/versions/random-seed-0"])
def test_the_model_describes_itself(client: FlaskClient, model: str) -> None:
    assert client.get(f"{model}/ready").json == {"name": "resnet18", "ready": True}
    assert client.get(model).json == {
        "name": "resnet18",
        "versions": ["random-seed-0"],
        "platform": "fake",
        "inputs": [{"name": "image", "datatype": "BYTES", "shape": [-1]}],
        "outputs": [
            {"name": "label", "datatype": "BYTES", "shape": [-1, 5]},
            {"name": "confidence", "datatype": "FP32", "shape": [-1, 5]},
        ],
    }


def test_images_in_json_get_two_tensors_and_the_id_of_the_request(client: FlaskClient, fake: Fake) -> None:
    response = client.post(INFER, json={"id": "42", "inputs": [tensor(b"one", b"two")]})
    assert fake.seen == [b"one", b"two"]
    labels = ["golden retriever", "cat"] * 2
    assert response.json == {
        "id": "42",
        "model_name": "resnet18",
        "model_version": "random-seed-0",
        "outputs": [
            {"name": "label", "datatype": "BYTES", "shape": [2, 2], "data": labels},
            {"name": "confidence", "datatype": "FP32", "shape": [2, 2], "data": [0.8917, 0.1] * 2},
        ],
    }


def test_a_request_without_an_id_gets_a_response_without_one(client: FlaskClient) -> None:
    assert "id" not in client.post(INFER, json={"inputs": [tensor(b"one")]}).json  # type: ignore[operator]


def test_nested_data_and_a_named_version_are_accepted(client: FlaskClient, fake: Fake) -> None:
    nested = tensor(b"one", b"two", shape=[2, 1], data=[[b64(b"one")], [b64(b"two")]])
    response = client.post("/v2/models/resnet18/versions/random-seed-0/infer", json={"inputs": [nested]})
    assert (response.status_code, fake.seen) == (200, [b"one", b"two"])


def test_images_may_follow_the_json_as_binary_data(client: FlaskClient, fake: Fake) -> None:
    binary = packed(b"\xff\xd8 one", b"two")
    both = tensor(shape=[2], data=None, parameters={"binary_data_size": len(binary)})
    response = post_binary(client, {"inputs": [both]}, binary)
    assert fake.seen == [b"\xff\xd8 one", b"two"]
    assert response.json["outputs"][0]["shape"] == [2, 2]  # type: ignore[index]


def test_outputs_may_follow_the_json_as_binary_data(client: FlaskClient) -> None:
    response = client.post(
        INFER, json={"id": "7", "inputs": [tensor(b"one")], "parameters": {"binary_data_output": True}}
    )
    head = int(response.headers["Inference-Header-Content-Length"])
    document, binary = json.loads(response.data[:head]), response.data[head:]
    label_bytes, confidence_bytes = packed(b"golden retriever", b"cat"), struct.pack("<2f", 0.8917, 0.1)
    assert response.content_type == OCTETS
    assert document["id"] == "7"
    assert document["outputs"] == [
        {"name": "label", "datatype": "BYTES", "shape": [1, 2], "parameters": {"binary_data_size": len(label_bytes)}},
        {"name": "confidence", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}},
    ]
    assert binary == label_bytes + confidence_bytes


def test_only_the_named_outputs_are_returned_each_in_its_requested_form(client: FlaskClient) -> None:
    wanted = [{"name": "confidence", "parameters": {"binary_data": True}}, {"name": "label"}]
    response = client.post(INFER, json={"inputs": [tensor(b"one")], "outputs": wanted})
    head = int(response.headers["Inference-Header-Content-Length"])
    confidence, label = json.loads(response.data[:head])["outputs"]
    assert confidence["parameters"] == {"binary_data_size": 8}
    assert label["data"] == ["golden retriever", "cat"]
    every = {"inputs": [tensor(b"one")], "parameters": {"binary_data_output": True}, "outputs": [{"name": "label"}]}
    assert "Inference-Header-Content-Length" in client.post(INFER, json=every).headers
    one = client.post(INFER, json={"inputs": [tensor(b"one")], "outputs": [{"name": "label"}]})
    assert [output["name"] for output in one.json["outputs"]] == ["label"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({}, "'inputs' must be a list of one tensor, 'image', got None"),
        ({"inputs": [tensor(b"a"), tensor(b"b")]}, "must be a list of one tensor"),
        ({"inputs": [7]}, "got [7]"),
        ({"inputs": [tensor(b"a", name="pixels")]}, "the input's name must be 'image', got 'pixels'"),
        ({"inputs": [tensor(b"a", datatype="FP32")]}, "the input's datatype must be 'BYTES', got 'FP32'"),
        ({"inputs": [tensor(b"a", shape=[2])]}, "got [2] for 1"),
        ({"inputs": [tensor(b"a", shape=[True])]}, "got [True] for 1"),
        ({"inputs": [tensor(b"a", shape=[-1, -1])]}, "got [-1, -1] for 1"),
        ({"inputs": [tensor(b"a", shape=[1, 1, 1])]}, "got [1, 1, 1] for 1"),
        ({"inputs": [tensor(b"a", shape=None)]}, "got None for 1"),
        ({"inputs": [tensor()]}, "at least 1 image, got [0] for 0"),
        ({"inputs": [tensor(b"a", data=None)]}, "data must be a list of images in base64, got None"),
        ({"inputs": [tensor(b"a", data=[1.5])]}, "data[0] must be an image in base64, got 1.5"),
        ({"inputs": [tensor(b"a", parameters=[])]}, "'parameters' must be an object, got []"),
        ({"inputs": [tensor(b"a", parameters={"binary_data_size": 3})]}, "binary_data_size must equal the 0 bytes"),
        ({"inputs": [tensor(b"bad")]}, "not an image: 3 bytes"),
        ({"inputs": [tensor(b"a")], "id": 7}, "'id' must be a string, got 7"),
        ({"inputs": [tensor(b"a")], "outputs": 7}, "'outputs' must be a list of objects with a name, got 7"),
        (
            {"inputs": [tensor(b"a")], "outputs": [{"name": "logits"}]},
            "one of label, confidence, got ['logits']",
        ),
        ({"inputs": [tensor(b"a")], "outputs": [{"name": []}]}, "one of label, confidence"),
        ({"inputs": [tensor(b"a")], "parameters": {"binary_data_output": 1}}, "must be true or false, got 1"),
    ],
)
def test_an_invalid_request_is_refused_with_rule_and_value(
    client: FlaskClient, document: dict[str, Any], words: str
) -> None:
    response = client.post(INFER, json=document)
    assert response.status_code == 400
    assert words in response.json["error"]  # type: ignore[index]


ONE = {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 7}}]}


@pytest.mark.parametrize(
    ("document", "binary", "length", "words"),
    [
        pytest.param(ONE, b"\x03\0\0\0one", {"Inference-Header-Content-Length": "-1"}, "got '-1'", id="below 0"),
        pytest.param(
            ONE,
            b"\x03\0\0\0one",
            {"Inference-Header-Content-Length": "9" * 5000},
            "from 0 to the body's",
            id="too long",
        ),
        pytest.param(ONE, b"\x03\0\0\0one", {"Inference-Header-Content-Length": "x"}, "got 'x'", id="not a number"),
        pytest.param(ONE, b"\x03\0\0\0on", {}, "must equal the 6 bytes that follow the JSON, got 7", id="too few"),
        pytest.param(ONE, b"\x03\0\0\0one!", {}, "must equal the 8 bytes that follow the JSON, got 7", id="too many"),
        pytest.param(
            ONE,
            b"\x04\0\0\0one",
            {},
            "element 0 of the binary data ends at byte 8, beyond its 7 bytes",
            id="beyond the end",
        ),
        pytest.param(ONE, b"\xff\xff\xff\xffone", {}, "ends at byte 4294967299, beyond its 7 bytes", id="far beyond"),
        pytest.param(ONE, b"\0\0\0\0\0\0\0", {}, "element 1 of the binary data", id="truncated length"),
        pytest.param({"inputs": [tensor(b"a")]}, b"rest", {}, "4 bytes follow the JSON", id="bytes without a tensor"),
    ],
)
def test_invalid_binary_data_is_refused_with_rule_and_value(
    client: FlaskClient, document: dict[str, Any], binary: bytes, length: dict[str, str], words: str
) -> None:
    response = post_binary(client, document, binary, **length)
    assert response.status_code == 400
    assert words in response.json["error"]  # type: ignore[index]


@pytest.mark.parametrize("kind", [OCTETS, "image/jpeg", None])
@pytest.mark.parametrize("body", [b"photo", b"\x05\0\0\0photo"], ids=["the image", "its length and the image"])
def test_a_raw_binary_request_gets_binary_outputs(
    client: FlaskClient, fake: Fake, body: bytes, kind: str | None
) -> None:
    headers = {"Inference-Header-Content-Length": "0"}
    response = client.post(INFER, data=body, headers=headers, content_type=kind)
    head = int(response.headers["Inference-Header-Content-Length"])
    document = json.loads(response.data[:head])
    sizes = [output["parameters"]["binary_data_size"] for output in document["outputs"]]
    assert (response.status_code, fake.seen) == (200, [b"photo"])
    assert ([output["name"] for output in document["outputs"]], sum(sizes)) == (
        ["label", "confidence"],
        len(response.data) - head,
    )


@pytest.mark.parametrize(("body", "kind"), [(b"", OCTETS), (b"{}", "application/json")])
def test_a_raw_binary_request_must_have_an_image(client: FlaskClient, body: bytes, kind: str) -> None:
    headers = {"Inference-Header-Content-Length": "0"}
    assert client.post(INFER, data=body, headers=headers, content_type=kind).status_code == 400
