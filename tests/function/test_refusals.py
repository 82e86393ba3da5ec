"""Exceptions by their origin: those of reading a request are its client's error, those of the pod's own work are not."""

from typing import Any

import pytest
from flask.testing import FlaskClient

from function import outbound, protocols
from function.app import REFUSAL
from function.protocols import v1
from function.types import Classification
from tests.function.fakes import Fake, client_of

STRANGE = [OverflowError("x"), KeyError("x"), ZeroDivisionError("x"), RecursionError("x"), RuntimeError("x")]
ENOUGH = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/a", "ce-type": "a", "Content-Type": "image/png"}


@pytest.fixture
def lenient(fake: Fake) -> FlaskClient:
    """Return a client of a pod that renders unhandled exceptions, as gunicorn sees them."""
    client = client_of(fake)
    client.application.config["PROPAGATE_EXCEPTIONS"] = False
    return client


@pytest.mark.parametrize("error", STRANGE, ids=lambda error: type(error).__name__)
def test_any_exception_of_a_handler_is_a_400(
    lenient: FlaskClient, monkeypatch: pytest.MonkeyPatch, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    def parsed(_: object) -> Any:
        raise error

    monkeypatch.setattr(v1, "instances", parsed)
    response = lenient.post("/v1/models/resnet18:predict", data=b"{}")
    assert response.status_code == 400
    assert f"cannot read the request: {type(error).__name__}" in response.json["error"]  # type: ignore[index]
    assert "Traceback" in caplog.text


class Broken(Fake):
    """A classifier whose engine fails."""

    def classify(self, body: bytes) -> Classification:
        raise ValueError("the engine has no memory left")


@pytest.mark.parametrize(
    ("path", "headers", "body"),
    [
        ("/predict", {}, b"photo"),
        ("/", ENOUGH, b"photo"),
        ("/v1/models/resnet18:predict", {}, b'{"instances": ["cGhvdG8="]}'),
    ],
)
def test_a_failure_of_the_engine_is_a_500(path: str, headers: dict[str, str], body: bytes) -> None:
    client = client_of(Broken())
    client.application.config["PROPAGATE_EXCEPTIONS"] = False
    response = client.post(path, headers=headers, data=body)
    assert response.status_code == 500
    assert response.json is not None
    assert response.headers["X-Pod"] == "pod-7"


def test_a_failure_of_the_delivery_is_a_500(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    def deliver(*_: object) -> None:
        raise RuntimeError("no thread left")

    monkeypatch.setattr(outbound, "deliver", deliver)
    client = client_of(fake, sink_url="http://sink/")
    client.application.config["PROPAGATE_EXCEPTIONS"] = False
    assert client.post("/", headers=ENOUGH, data=b"photo").status_code == 500


def test_a_missing_module_is_a_500(lenient: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(name)

    protocols.handler.cache_clear()
    monkeypatch.setattr(protocols, "import_module", missing)
    assert lenient.get("/v2").status_code == 500


def test_a_request_that_the_worker_refuses_gets_the_form_of_every_refusal(client: FlaskClient) -> None:
    response = client.get("/", environ_overrides={REFUSAL: (431, "too long")})
    assert (response.status_code, response.json) == (431, {"error": "too long"})
    assert response.headers["X-Pod"] == "pod-7"
    assert 'function_requests_total{protocol="native",status="431"} 1.0' in client.get("/metrics").text


@pytest.mark.parametrize("path", ["/predict/", "//predict", "/predict//"])
def test_slashes_too_many_are_ignored(client: FlaskClient, fake: Fake, path: str) -> None:
    response = client.post("/predict", data=b"photo", environ_overrides={"PATH_INFO": path})
    assert (response.status_code, fake.seen) == (200, [b"photo"])


def test_an_empty_path_is_the_root(client: FlaskClient) -> None:
    assert client.get("/", environ_overrides={"PATH_INFO": ""}).json["status"] == "alive"  # type: ignore[index]


@pytest.mark.parametrize(
    "path", ["/", "/health/liveness", "/health/readiness/", "/v2/health/ready", "/v2/models/resnet18/"]
)
def test_head_responds_as_get_without_the_body(client: FlaskClient, path: str) -> None:
    response = client.head(path)
    assert (response.status_code, response.data) == (200, b"")
    assert response.headers["Content-Length"] == client.get(path).headers["Content-Length"]


@pytest.mark.parametrize("path", ["/v2/models", "/v2/models/"])
def test_v2_lists_its_models_as_kserve_does(client: FlaskClient, path: str) -> None:
    assert client.get(path).json == {"models": ["resnet18"]}


def test_v2_lists_its_models_as_triton_does(client: FlaskClient) -> None:
    expected = [{"name": "resnet18", "version": "random-seed-0", "state": "READY"}]
    assert client.post("/v2/repository/index").json == expected
    assert client.post("/v2/repository/index", json={"ready": True}).json == expected
