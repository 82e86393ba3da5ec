"""The OpenAPI document: it lists every route, and schemathesis finds no response that contradicts it."""

import json
import re
from collections.abc import Iterator
from threading import Thread
from typing import Any

import pytest
import schemathesis
from flask.testing import FlaskClient
from hypothesis import HealthCheck, settings, strategies
from schemathesis import Case
from schemathesis.specs.openapi.checks import positive_data_acceptance
from werkzeug.serving import make_server

from function.protocols import ROUTES, handler
from tests.effort import effort
from tests.function.fakes import Fake, client_of

# The headers of these must agree with each other or with the body, which a schema cannot express.
AGREEING = re.compile(r"^/$|/infer$")


@pytest.fixture
def document(client: FlaskClient) -> dict[str, Any]:
    return client.get("/openapi.json").json  # type: ignore[return-value]


def test_it_names_every_route_and_no_other(document: dict[str, Any]) -> None:
    served = {(method, path.format(model="resnet18", version="random-seed-0")) for method, path, *_ in ROUTES}
    documented = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert documented == served | {("GET", "/metrics")}


def test_every_route_has_a_handler() -> None:
    assert all(callable(handler(protocol, name)) for _, _, protocol, name in ROUTES)


def test_the_limits_and_the_model_are_those_of_the_pod(document: dict[str, Any]) -> None:
    assert document["components"]["schemas"]["V1Request"]["properties"]["instances"]["maxItems"] == 3
    assert document["info"]["description"].endswith("random-seed-0. A request body may have at most 1000 bytes.")
    assert "{" not in document["info"]["description"]


def test_every_response_is_documented_with_the_headers_for_pod_and_time(document: dict[str, Any]) -> None:
    responses = document["components"]["responses"]
    for methods in document["paths"].values():
        for operation in methods.values():
            for response in operation["responses"].values():
                whole = responses[response["$ref"].rpartition("/")[2]] if "$ref" in response else response
                assert {"X-Pod", "Server-Timing"} <= set(whole["headers"])


schemathesis.openapi.media_type("image/bmp", strategies.just(b"BM"))
APP = client_of(Fake(), max_body_bytes=10**7, max_images=16).application


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Serve over a socket, because only werkzeug's test client omits the line end after an empty file."""
    server = make_server("127.0.0.1", 0, APP)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()


@pytest.mark.integration
@schemathesis.openapi.from_dict(json.loads(APP.test_client().get("/openapi.json").text)).parametrize()
@settings(max_examples=effort(20, ci=50), deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_every_operation_conforms_to_the_document(case: Case[Any], url: str) -> None:
    case.call_and_validate(
        base_url=url, excluded_checks=[positive_data_acceptance] if AGREEING.search(case.path) else []
    )
