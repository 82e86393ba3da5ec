"""The controller's own port: it is not ready before a decision was carried out."""

import json

import pytest
from prometheus_client import CollectorRegistry, Gauge

from autoscaler_tuning.live.status_server import StatusServer


def get(server: StatusServer, path: str) -> tuple[int, str]:
    status: list[int] = []

    def start_response(line: str, headers: list[tuple[str, str]], *_: object) -> object:
        status.append(int(line.split(maxsplit=1)[0]))
        return None

    environ = {"PATH_INFO": path, "REQUEST_METHOD": "GET", "QUERY_STRING": ""}
    body = b"".join(server.respond(environ, start_response))  # type: ignore[arg-type]  # the server ignores write()
    return status[0], body.decode()


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz"])
def test_readiness_is_503_until_a_decision_was_carried_out(path: str) -> None:
    server = StatusServer(CollectorRegistry())
    status, body = get(server, path)
    assert (status, json.loads(body)["status"]) == (503, "starting")
    server.is_ready = lambda: True
    assert get(server, path)[0] == 200


def test_a_controller_that_is_not_ready_lives_and_exports_metrics() -> None:
    registry = CollectorRegistry()
    Gauge("autoscaler_example", "An example", registry=registry).set(3)
    server = StatusServer(registry)
    assert get(server, "/livez")[0] == 200
    status, body = get(server, "/metrics")
    assert status == 200
    assert "autoscaler_example 3.0" in body


def test_another_path_is_404_and_names_the_known_ones() -> None:
    status, body = get(StatusServer(CollectorRegistry()), "/signals")
    assert status == 404
    assert "/metrics" in body
