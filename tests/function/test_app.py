"""The WSGI app around a fake classifier: the native protocol, and what holds for every response."""

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
        pytest.param(
            {"data": b"photo", "content_type": "application/x-www-form-urlencoded"}, id="content type of curl"
        ),
    ],
)
def test_an_image_is_classified(client: FlaskClient, fake: Fake, request_: dict[str, Any]) -> None:
    response = client.post("/predict", **request_)
    assert fake.seen == [b"photo"]
    assert response.json == {**LABELS, "model": MODEL}


def test_several_images_are_classified_in_their_order(client: FlaskClient, fake: Fake) -> None:
    response = client.post("/predict", **form(b"one", b"two", b"three"))
    assert fake.seen == [b"one", b"two", b"three"]
    assert response.json == {"predictions": [LABELS] * 3, "model": MODEL}
    assert response.headers["Server-Timing"].startswith("pre;dur=6.3, infer;dur=35.4, post;dur=0.6, total;dur=")


@pytest.mark.parametrize("path", ["/", "/health/liveness", "/health/readiness"])
def test_health_reports_the_model(client: FlaskClient, path: str) -> None:
    info = {"model": "resnet18", "version": "random-seed-0", "engine": "fake", "precision": "float32"}
    assert client.get(path).json == {"status": "alive", **info}


@pytest.mark.parametrize(
    ("method", "path", "arguments", "status", "words"),
    [
        pytest.param("POST", "/predict", {}, 400, "no image", id="no body"),
        pytest.param(
            "POST", "/predict", form(name="photo"), 400, "in field 'file', got fields ['photo']", id="wrong field"
        ),
        pytest.param(
            "POST",
            "/predict",
            {"data": {"file": "x"}, "content_type": "multipart/form-data"},
            400,
            "got fields ['file (no file name)']",
            id="text",
        ),
        pytest.param("POST", "/predict", form(b"bad"), 400, "not an image: 3 bytes", id="no image"),
        pytest.param(
            "POST", "/predict", form(b"one", b"bad"), 400, "image 2 of 2: not an image: 3 bytes", id="one of two"
        ),
        pytest.param("POST", "/predict", form(*[b"x"] * 4), 400, "at most 3 images, got 4", id="too many"),
        pytest.param("POST", "/predict", {"data": b"x" * 1001}, 413, "at most 1000 bytes, got 1001", id="too large"),
        pytest.param("POST", "/predict", form(b"x" * 2000), 413, "at most 1000 bytes", id="form too large"),
        pytest.param("GET", "/predict", {}, 405, "GET /predict", id="method"),
        pytest.param("GET", "/nowhere", {}, 404, "GET /nowhere", id="path"),
        pytest.param("GET", "/v1/models/vgg", {}, 404, "this pod serves model 'resnet18', version", id="model"),
    ],
)
def test_invalid_requests_are_refused_as_json_with_rule_and_value(
    client: FlaskClient, method: str, path: str, arguments: dict[str, Any], status: int, words: str
) -> None:
    response = client.open(path, method=method, **arguments)
    assert response.status_code == status
    assert words in response.json["error"]  # type: ignore[index]


def test_a_form_with_too_many_parts_is_refused(fake: Fake) -> None:
    response = client_of(fake, max_body_bytes=10**6).post("/predict", **form(*[b"x"] * 1001))
    assert (response.status_code, response.json) == (413, {"error": "a form may have at most 1000 parts, got more"})


@pytest.mark.parametrize(("size", "status"), [(1000, 200), (1001, 413), (5000, 413)])
def test_a_chunked_body_has_the_same_limit(client: FlaskClient, size: int, status: int) -> None:
    chunked = {"input_stream": io.BytesIO(b"x" * size), "environ_overrides": {"wsgi.input_terminated": True}}
    response = client.post("/predict", headers={"Transfer-Encoding": "chunked"}, **chunked)
    assert response.status_code == status
    assert status == 200 or response.json == {"error": "a request body may have at most 1000 bytes, got more"}


def test_a_response_to_a_wrong_method_lists_the_allowed_ones(client: FlaskClient) -> None:
    assert set(client.get("/predict").headers["Allow"].split(", ")) == {"POST", "OPTIONS"}
    assert "POST" in client.options("/").headers["Allow"]


@pytest.mark.parametrize("path", ["/", "/predict", "/v1/models", "/v2", "/openapi.json", "/metrics", "/nowhere"])
def test_every_response_names_its_pod_and_its_time(client: FlaskClient, path: str) -> None:
    response = client.get(path)
    assert response.headers["X-Pod"] == "pod-7"
    assert response.headers["Server-Timing"].startswith("total;dur=")


def test_the_time_of_a_classification_is_reported_by_stage(client: FlaskClient) -> None:
    response = client.post("/predict", data=b"photo")
    assert response.headers["Server-Timing"].startswith("pre;dur=2.1, infer;dur=11.8, post;dur=0.2, total;dur=")


def test_a_large_upload_needs_no_file_system(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")  # as in a pod, whose root is read-only
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
    response = client_of(fake, max_body_bytes=2_000_000).post(
        "/predict", data=head + b"x" * 1_000_000 + b"\r\n--b--\r\n", content_type="multipart/form-data; boundary=b"
    )
    assert (response.status_code, len(fake.seen[0])) == (200, 1_000_000)


def test_responses_are_counted_by_protocol_and_status(client: FlaskClient) -> None:
    client.post("/predict", data=b"photo")
    client.post("/predict", data=b"bad")
    client.get("/v2")
    client.get("/nowhere")
    text = client.get("/metrics").text
    for protocol, status in (("native", 200), ("native", 400), ("v2", 200), ("none", 404)):
        assert f'function_requests_total{{protocol="{protocol}",status="{status}"}} 1.0' in text


def test_metrics_keep_their_names_of_earlier_releases_for_one_more(client: FlaskClient) -> None:
    client.post("/predict", data=b"photo")
    text = client.get("/metrics").text
    assert '\nrequests_total{protocol="seed",status="200"} 1.0' in text
    assert "# HELP requests_total Deprecated: use function_requests" in text
    assert '\nstage_seconds_count{stage="infer"} 1.0' in text


def test_images_stages_and_the_model_are_exported(client: FlaskClient) -> None:
    client.post("/predict", **form(b"one", b"three"))
    text = client.get("/metrics").text
    assert 'function_stage_seconds_count{stage="infer"} 2.0' in text
    assert 'function_stage_seconds_sum{stage="pre"} 0.0042' in text
    assert 'function_stage_seconds_sum{stage="post"} 0.0004' in text
    assert "function_image_bytes_sum 8.0" in text
    assert f"function_image_pixels_sum {2 * 640 * 480:.1f}" in text
    assert (
        'function_model_info{engine="fake",name="resnet18",precision="float32",version="random-seed-0",weights="RANDOM WEIGHTS"} 1.0'
        in text
    )


def test_only_the_metrics_request_itself_is_in_flight(client: FlaskClient) -> None:
    client.post("/predict", data=b"photo")
    client.post("/predict", data=b"bad")
    assert "in_flight 1.0" in client.get("/metrics").text
