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
def test_an_image_may_come_as_users_of_other_servers_send_it(client: FlaskClient, fake: Fake, instance: object) -> None:
    answer = client.post(PREDICT, json={"instances": [instance]})
    assert fake.seen == [b"photo"]
    assert answer.json == {"predictions": [LABELS]}


def test_several_instances_are_answered_in_their_order(client: FlaskClient, fake: Fake) -> None:
    answer = client.post(PREDICT, json={"instances": [{"b64": b64(b"one")}, {"b64": b64(b"two")}]})
    assert fake.seen == [b"one", b"two"]
    assert answer.json == {"predictions": [LABELS, LABELS]}


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"{", 400, "the body must be JSON, was b'{'"),
        (b"[]", 400, "must be a JSON object, was []"),
        (b"{}", 400, "'instances' must be a list of at least one image, was None"),
        (b'{"instances": []}', 400, "was []"),
        (b'{"instances": "x"}', 400, "was 'x'"),
        (
            b'{"instances": [{"photo": "x"}]}',
            400,
            "instances[0] must have exactly one of b64, image, image_bytes, data",
        ),
        (
            b'{"instances": [{"b64": "YQ==", "data": "YQ=="}]}',
            400,
            "exactly one of b64, image, image_bytes, data, has ['b64', 'data']",
        ),
        (b'{"instances": [{"b64": 7}]}', 400, "instances[0].b64 must be an image in base64, was 7"),
        (b'{"instances": [{"b64": "YQ"}]}', 400, "Incorrect padding"),
        (b'{"instances": [{"b64": "a\xc3\xa9=="}]}', 400, "ASCII"),
        (b'{"instances": [{"b64": "YQ==!!"}]}', 400, "must be an image in base64, was 'YQ==!!'"),
        (b'{"instances": [{"image": {"image": {"b64": "YQ=="}}}]}', 400, "instances[0].image.image must be"),
        (b'{"instances": ["YmFk"]}', 400, "not an image: 3 bytes"),
        (b'{"instances": ["YQ==", "YQ==", "YQ==", "YQ=="]}', 400, "at most 3 images, this has 4"),
    ],
)
def test_the_rest_is_refused_with_rule_and_value(client: FlaskClient, body: bytes, status: int, words: str) -> None:
    answer = client.post(PREDICT, data=body, content_type="application/json")
    assert answer.status_code == status
    assert words in answer.json["error"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param(b"[" * 9_999, "the body must be JSON", id="deeper than the parser goes"),
        pytest.param(b'{"instances": [' + b"{}," * 100_000, "at most 10000 values", id="a million tiny objects"),
    ],
)
def test_json_that_would_cost_far_more_memory_than_its_text_is_refused(fake: Fake, body: bytes, words: str) -> None:
    answer: Any = client_of(fake, max_body_bytes=10**6).post(PREDICT, data=body)
    assert answer.status_code == 400
    assert words in answer.json["error"]
    assert len(answer.json["error"]) < 300
