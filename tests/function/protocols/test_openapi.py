"""The OpenAPI document: it lists every route and documents every response."""

from typing import Any

import pytest
from flask.testing import FlaskClient

from function.protocols import ROUTES, handler


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
