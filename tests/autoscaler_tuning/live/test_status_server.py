"""The controller's own port: it is not ready before a decision was carried out."""

import json

import pytest
from prometheus_client import CollectorRegistry, Gauge

from autoscaler_tuning.live.service_metrics import ServiceMetrics
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
    server.readiness = lambda: {"resnet18": True}
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


def test_of_several_services_each_is_shown_and_one_that_fails_does_not_make_the_others_unready() -> None:
    server = StatusServer(CollectorRegistry())
    server.readiness = lambda: {"cats": True, "dogs": False}
    status, body = get(server, "/readyz")
    assert (status, json.loads(body)["services"]) == (200, {"cats": "ready", "dogs": "starting"})


def test_the_metrics_of_each_service_have_its_name() -> None:
    metrics = ServiceMetrics()
    for service, pods in (("cats", 3), ("dogs", 5)):
        gauge = Gauge("autoscaler_pods", "Pods by phase", ["phase"], registry=metrics.of(service))
        gauge.labels("ready").set(pods)
    _, body = get(StatusServer(metrics.registry), "/metrics")
    assert body.count("# TYPE autoscaler_pods gauge") == 1
    assert 'autoscaler_pods{phase="ready",service="cats"} 3.0' in body
    assert 'autoscaler_pods{phase="ready",service="dogs"} 5.0' in body


def test_metrics_of_pods_on_this_machine_have_no_service() -> None:
    metrics = ServiceMetrics()
    Gauge("autoscaler_example", "An example", registry=metrics.of("")).set(3)
    assert "autoscaler_example 3.0" in get(StatusServer(metrics.registry), "/metrics")[1]
