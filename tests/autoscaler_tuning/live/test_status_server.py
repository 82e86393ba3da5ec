"""The controller's own port: it is not ready before a decision was carried out."""

import json
import socket
import ssl
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
import requests
from prometheus_client import CollectorRegistry, Gauge

from autoscaler_tuning.live.serve import TlsConfig
from autoscaler_tuning.live.service_metrics import ServiceMetrics
from autoscaler_tuning.live.status_server import AddressError, StatusServer
from autoscaler_tuning.live.wish import API_PATH, Wish
from tests.ports import free_port
from tests.stubs.certificates import make_pair


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


def test_the_wish_is_json_and_follows_the_controller() -> None:
    server = StatusServer(CollectorRegistry())
    assert get(server, "/wish")[0] == 404
    wish = Wish("default", {"ml-app": None}, 0.0)
    server.wish = lambda: wish
    assert get(server, "/wish")[0] == 503
    wish = Wish("default", {"ml-app": 4}, 0.0)
    status, body = get(server, "/wish")
    assert (status, json.loads(body)) == (200, {"service": "ml-app", "wanted_pods": 4})
    status, body = get(server, f"{API_PATH}/namespaces/default/wanted-pods")
    assert (status, [item["value"] for item in json.loads(body)["items"]]) == (200, ["4"])


@pytest.mark.integration
def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AddressError, match=f"cannot bind 127.0.0.1:{port}") as caught:
            StatusServer(CollectorRegistry()).start("127.0.0.1", port)
    assert caught.value.port == port


@pytest.mark.integration
def test_an_api_server_that_knows_the_certificate_reads_the_wish_over_tls(tmp_path: Path) -> None:
    pair = make_pair(tmp_path)
    server, port = StatusServer(CollectorRegistry()), free_port()
    server.wish = lambda: Wish("default", {"ml-app": 4}, 0.0)
    server.start("127.0.0.1", port, TlsConfig(port, pair.cert, pair.key).context())
    url = f"https://127.0.0.1:{port}{API_PATH}/namespaces/default/wanted-pods"
    with socket.create_connection(("127.0.0.1", port)):  # a client that never shakes hands delays no other
        body = requests.get(url, verify=str(pair.cert), timeout=30).json()
    assert [item["value"] for item in body["items"]] == ["4"]
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(url, timeout=30)
    with socket.create_connection(("127.0.0.1", port)) as plain:
        context = ssl.create_default_context(cafile=str(pair.cert))
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as connection:
            assert connection.version() in ("TLSv1.2", "TLSv1.3")


@pytest.mark.integration
def test_connections_beyond_the_most_threads_are_closed_and_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autoscaler_tuning.live.status_server.MOST_THREADS", threading.active_count() + 20)
    port = free_port()
    StatusServer(CollectorRegistry()).start("127.0.0.1", port)
    idle = [socket.create_connection(("127.0.0.1", port), timeout=30) for _ in range(40)]
    assert all(connection.recv(1) == b"" for connection in idle[-20:])
    for connection in idle:
        connection.close()
    deadline_s = time.monotonic() + 30
    while True:
        with suppress(requests.ConnectionError):
            assert requests.get(f"http://127.0.0.1:{port}/livez", timeout=30).status_code == 200
            return
        assert time.monotonic() < deadline_s
        time.sleep(0.1)
