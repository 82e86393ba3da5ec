"""The WSGI app around a fake classifier: what it accepts and answers."""

import io
from typing import Any

import pytest
from flask.testing import FlaskClient
from prometheus_client import CollectorRegistry

from function.app import create_app
from function.classifier import Classification, ModelInfo, Ranked, Timing
from function.images import ImageError
from function.metrics import Metrics


class Fake:
    """Sees a golden retriever in everything but `bad`."""

    model = ModelInfo("resnet18", "random-seed-0", "RANDOM WEIGHTS", "fake")

    def __init__(self) -> None:
        self.seen: list[bytes] = []

    def classify(self, body: bytes) -> Classification:
        if body in (b"bad", b""):
            raise ImageError(f"not an image: {len(body)} bytes")
        self.seen.append(body)
        return Classification((Ranked("golden retriever", 0.8917), Ranked("cat", 0.1)), Timing(0.0021, 0.0118, 0.0002))


@pytest.fixture
def fake() -> Fake:
    return Fake()


@pytest.fixture
def client(fake: Fake) -> FlaskClient:
    registry = CollectorRegistry()
    return create_app(fake, Metrics(registry, fake.model), registry, 1000, "pod-7").test_client()


def form(name: str = "file", content: bytes = b"photo") -> dict[str, Any]:
    return {"data": {name: (io.BytesIO(content), "a.jpg")}, "content_type": "multipart/form-data"}


@pytest.mark.parametrize(
    "request_",
    [form(), {"data": b"photo", "content_type": "image/jpeg"}, {"data": b"photo"}],
    ids=["form", "raw", "bare"],
)
def test_a_photograph_is_answered(client: FlaskClient, fake: Fake, request_: dict[str, Any]) -> None:
    answer = client.post("/predict", **request_)
    assert fake.seen == [b"photo"]
    assert answer.json == {
        "prediction": "golden retriever: 89.2%",
        "label": "golden retriever",
        "confidence": 0.8917,
        "top": [{"label": "golden retriever", "confidence": 0.8917}, {"label": "cat", "confidence": 0.1}],
        "model": {
            "name": "resnet18",
            "version": "random-seed-0",
            "weights": "RANDOM WEIGHTS",
            "engine": "fake",
            "precision": "float32",
        },
    }
    assert answer.headers["Server-Timing"] == "pre;dur=2.1, infer;dur=11.8, post;dur=0.2"


@pytest.mark.parametrize("path", ["/", "/health/liveness", "/health/readiness"])
def test_health_is_told(client: FlaskClient, path: str) -> None:
    assert client.get(path).json == {"status": "ok", "model": "resnet18", "version": "random-seed-0", "engine": "fake"}


@pytest.mark.parametrize(
    ("method", "path", "arguments", "status", "words"),
    [
        pytest.param("POST", "/predict", {}, 400, "no image", id="no body"),
        pytest.param("POST", "/predict", form("photo"), 400, "'file'; fields found: photo", id="wrong field"),
        pytest.param("POST", "/predict", form(content=b""), 400, "0 bytes", id="empty file"),
        pytest.param("POST", "/predict", form(content=b"bad"), 400, "not an image: 3 bytes", id="no image"),
        pytest.param(
            "POST", "/predict", {"data": b"x" * 1001}, 413, "at most 1000 bytes, this has 1001", id="too large"
        ),
        pytest.param("POST", "/predict", form(content=b"x" * 2000), 413, "at most 1000 bytes", id="too large a form"),
        pytest.param("GET", "/predict", {}, 405, "GET /predict", id="method"),
        pytest.param("GET", "/nowhere", {}, 404, "GET /nowhere", id="path"),
    ],
)
def test_the_rest_is_refused_as_json(
    client: FlaskClient, method: str, path: str, arguments: dict[str, Any], status: int, words: str
) -> None:
    answer = client.open(path, method=method, **arguments)
    assert (answer.status_code, answer.headers["X-Pod"]) == (status, "pod-7")
    assert words in answer.json["error"]  # type: ignore[index]


def test_answers_and_stages_are_counted(client: FlaskClient) -> None:
    client.post("/predict", **form())
    text = client.get("/metrics").text
    assert 'requests_total{status="200"} 1.0' in text
    assert 'stage_seconds_count{stage="infer"} 1.0' in text
    assert 'model_info{engine="fake",name="resnet18",version="random-seed-0"} 1.0' in text
