"""The WSGI app around a fake classifier: the seed's own protocol, and what holds for every answer."""

import io
import tempfile
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.function.fakes import LABELS, MODEL, Fake, client_of


def form(*contents: bytes, name: str = "file") -> dict[str, Any]:
    files = [(io.BytesIO(content), "a.jpg") for content in contents or (b"photo",)]
    return {"data": {name: files}, "content_type": "multipart/form-data"}


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(form(), id="form"),
        pytest.param({"data": b"photo", "content_type": "image/jpeg"}, id="image/jpeg"),
        pytest.param({"data": b"photo", "content_type": "image/png"}, id="image/png"),
        pytest.param({"data": b"photo"}, id="no content type"),
        pytest.param({"data": b"photo", "content_type": "application/x-www-form-urlencoded"}, id="as curl says it"),
    ],
)
def test_a_photograph_is_answered(client: FlaskClient, fake: Fake, request_: dict[str, Any]) -> None:
    answer = client.post("/predict", **request_)
    assert fake.seen == [b"photo"]
    assert answer.json == {**LABELS, "model": MODEL}


def test_several_photographs_are_answered_in_their_order(client: FlaskClient, fake: Fake) -> None:
    answer = client.post("/predict", **form(b"one", b"two", b"three"))
    assert fake.seen == [b"one", b"two", b"three"]
    assert answer.json == {"predictions": [LABELS] * 3, "model": MODEL}
    assert answer.headers["Server-Timing"].startswith("pre;dur=6.3, infer;dur=35.4, post;dur=0.6, total;dur=")


@pytest.mark.parametrize("path", ["/", "/health/liveness", "/health/readiness"])
def test_health_is_told(client: FlaskClient, path: str) -> None:
    told = {"model": "resnet18", "version": "random-seed-0", "engine": "fake", "precision": "float32"}
    assert client.get(path).json == {"status": "alive", **told}


@pytest.mark.parametrize(
    ("method", "path", "arguments", "status", "words"),
    [
        pytest.param("POST", "/predict", {}, 400, "no image", id="no body"),
        pytest.param("POST", "/predict", form(name="photo"), 400, "'file'; fields found: ['photo']", id="wrong field"),
        pytest.param(
            "POST",
            "/predict",
            {"data": {"file": "x"}, "content_type": "multipart/form-data"},
            400,
            "found: ['file (without a file name)']",
            id="text",
        ),
        pytest.param("POST", "/predict", form(b"bad"), 400, "not an image: 3 bytes", id="no image"),
        pytest.param(
            "POST", "/predict", form(b"one", b"bad"), 400, "image 2 of 2: not an image: 3 bytes", id="one of two"
        ),
        pytest.param("POST", "/predict", form(*[b"x"] * 4), 400, "at most 3 images, this has 4", id="too many"),
        pytest.param(
            "POST", "/predict", {"data": b"x" * 1001}, 413, "at most 1000 bytes, this has 1001", id="too large"
        ),
        pytest.param("POST", "/predict", form(b"x" * 2000), 413, "at most 1000 bytes", id="too large a form"),
        pytest.param("GET", "/predict", {}, 405, "GET /predict", id="method"),
        pytest.param("GET", "/nowhere", {}, 404, "GET /nowhere", id="path"),
        pytest.param("GET", "/v1/models/vgg", {}, 404, "the model here is 'resnet18', version", id="model"),
    ],
)
def test_the_rest_is_refused_as_json_with_rule_and_value(
    client: FlaskClient, method: str, path: str, arguments: dict[str, Any], status: int, words: str
) -> None:
    answer = client.open(path, method=method, **arguments)
    assert answer.status_code == status
    assert words in answer.json["error"]  # type: ignore[index]


def test_a_form_of_too_many_parts_is_refused_for_its_parts(fake: Fake) -> None:
    answer = client_of(fake, max_body_bytes=10**6).post("/predict", **form(*[b"x"] * 1001))
    assert (answer.status_code, answer.json) == (413, {"error": "a form may have 1000 parts, this has more"})


@pytest.mark.parametrize(("size", "status"), [(1000, 200), (1001, 413), (5000, 413)])
def test_a_body_that_comes_in_chunks_has_the_same_bound(client: FlaskClient, size: int, status: int) -> None:
    chunked = {"input_stream": io.BytesIO(b"x" * size), "environ_overrides": {"wsgi.input_terminated": True}}
    answer = client.post("/predict", headers={"Transfer-Encoding": "chunked"}, **chunked)
    assert answer.status_code == status
    assert status == 200 or answer.json == {"error": "a body may have at most 1000 bytes, this has more"}


def test_what_is_allowed_instead_of_a_wrong_method_is_told(client: FlaskClient) -> None:
    assert set(client.get("/predict").headers["Allow"].split(", ")) == {"POST", "OPTIONS"}
    assert "POST" in client.options("/").headers["Allow"]


@pytest.mark.parametrize("path", ["/", "/predict", "/v1/models", "/v2", "/openapi.json", "/metrics", "/nowhere"])
def test_every_answer_names_its_pod_and_its_time(client: FlaskClient, path: str) -> None:
    answer = client.get(path)
    assert answer.headers["X-Pod"] == "pod-7"
    assert answer.headers["Server-Timing"].startswith("total;dur=")


def test_the_time_of_a_classification_is_told_by_stage(client: FlaskClient) -> None:
    answer = client.post("/predict", data=b"photo")
    assert answer.headers["Server-Timing"].startswith("pre;dur=2.1, infer;dur=11.8, post;dur=0.2, total;dur=")


def test_a_large_upload_needs_no_file_system(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")  # as in a pod, whose root is read-only
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
    answer = client_of(fake, max_body_bytes=2_000_000).post(
        "/predict", data=head + b"x" * 1_000_000 + b"\r\n--b--\r\n", content_type="multipart/form-data; boundary=b"
    )
    assert (answer.status_code, len(fake.seen[0])) == (200, 1_000_000)


def test_answers_are_counted_by_protocol_and_status(client: FlaskClient) -> None:
    client.post("/predict", data=b"photo")
    client.post("/predict", data=b"bad")
    client.get("/v2")
    client.get("/nowhere")
    text = client.get("/metrics").text
    for protocol, status in (("seed", 200), ("seed", 400), ("v2", 200), ("none", 404)):
        assert f'requests_total{{protocol="{protocol}",status="{status}"}} 1.0' in text


def test_images_and_stages_are_measured_and_the_model_is_told(client: FlaskClient) -> None:
    client.post("/predict", **form(b"one", b"three"))
    text = client.get("/metrics").text
    assert 'stage_seconds_count{stage="infer"} 2.0' in text
    assert 'stage_seconds_sum{stage="pre"} 0.0042' in text
    assert 'stage_seconds_sum{stage="post"} 0.0004' in text
    assert "image_bytes_sum 8.0" in text
    assert f"image_pixels_sum {2 * 640 * 480:.1f}" in text
    assert (
        'model_info{engine="fake",name="resnet18",precision="float32",version="random-seed-0",weights="RANDOM WEIGHTS"} 1.0'
        in text
    )


def test_the_request_that_asks_is_the_only_one_in_flight(client: FlaskClient) -> None:
    client.post("/predict", data=b"photo")
    client.post("/predict", data=b"bad")
    assert "in_flight 1.0" in client.get("/metrics").text
