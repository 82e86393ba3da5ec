"""KServe's V1 protocol."""

import base64
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.function.fakes import LABELS, Fake, client_of

PREDICT = "/v1/models/resnet18:predict"


def b64(content: bytes = b"photo") -> str:
    return base64.b64encode(content).decode()


def test_the_model_is_listed_and_ready(client: FlaskClient) -> None:
    assert client.get("/v1/models").json == {"models": ["resnet18"]}
    assert client.get("/v1/models/resnet18").json == {"name": "resnet18", "ready": True}


@pytest.mark.parametrize(
    "instance",
    [
        b64(),
        {"b64": b64()},
        {"image": {"b64": b64()}},
        {"image_bytes": {"b64": b64()}},
        {"data": b64()},
        {"image": b64(), "key": "1"},
    ],
    ids=["text", "b64", "image", "image_bytes", "data", "with another field"],
)
def test_an_image_may_have_the_form_that_other_servers_accept(
    client: FlaskClient, fake: Fake, instance: object
) -> None:
    response = client.post(PREDICT, json={"instances": [instance]})
    assert fake.seen == [b"photo"]
    assert response.json == {"predictions": [LABELS]}


def test_several_instances_are_answered_in_their_order(client: FlaskClient, fake: Fake) -> None:
    response = client.post(PREDICT, json={"instances": [{"b64": b64(b"one")}, {"b64": b64(b"two")}]})
    assert fake.seen == [b"one", b"two"]
    assert response.json == {"predictions": [LABELS, LABELS]}


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"{", 400, "the body must be JSON, got b'{'"),
        (b"[]", 400, "must be a JSON object, got []"),
        (b"{}", 400, "'instances' must be a list of at least one image, got None"),
        (b'{"instances": []}', 400, "got []"),
        (b'{"instances": "x"}', 400, "got 'x'"),
        (
            b'{"instances": [{"photo": "x"}]}',
            400,
            "instances[0] must have exactly one of b64, image, image_bytes, data",
        ),
        (
            b'{"instances": [{"b64": "YQ==", "data": "YQ=="}]}',
            400,
            "exactly one of b64, image, image_bytes, data, got ['b64', 'data']",
        ),
        (b'{"instances": [{"b64": 7}]}', 400, "instances[0].b64 must be an image in base64, got 7"),
        (b'{"instances": [{"b64": "Y"}]}', 400, "must be an image in base64, got 'Y'"),
        (b'{"instances": [{"b64": "a\xc3\xa9=="}]}', 400, "ASCII"),
        (b'{"instances": [{"b64": "YQ==!!"}]}', 400, "must be an image in base64, got 'YQ==!!'"),
        (b'{"instances": [{"image": {"image": {"b64": "YQ=="}}}]}', 400, "instances[0].image.image must be"),
        (b'{"instances": ["YmFk"]}', 400, "not an image: 3 bytes"),
        (b'{"instances": ["YQ==", "YQ==", "YQ==", "YQ=="]}', 400, "at most 3 images, got 4"),
    ],
)
def test_an_invalid_request_is_refused_with_rule_and_value(
    client: FlaskClient, body: bytes, status: int, words: str
) -> None:
    response = client.post(PREDICT, data=body, content_type="application/json")
    assert response.status_code == status
    assert words in response.json["error"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param(b"[" * 9_999, "the body must be JSON", id="too deep for the parser"),
        pytest.param(b'{"instances": [' + b"{}," * 100_000, "at most 10000 values", id="100,000 empty objects"),
    ],
)
def test_json_that_would_take_far_more_memory_than_its_text_is_refused(fake: Fake, body: bytes, words: str) -> None:
    response: Any = client_of(fake, max_body_bytes=10**6).post(PREDICT, data=body)
    assert response.status_code == 400
    assert words in response.json["error"]
    assert len(response.json["error"]) < 300
