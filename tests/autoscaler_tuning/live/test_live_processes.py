"""Real controller and dispatcher processes with a cluster in memory: what cannot be scaled is not held back."""

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import requests

from autoscaler_tuning.live.local_stack import environment
from knative.leases import LEASES
from knative.objects import REVISIONS, SERVICES
from tests.autoscaler_tuning.live.knative_world import FIRST, cluster, refuse_revisions, route
from tests.autoscaler_tuning.live.test_dispatchers import FakeDispatcher
from tests.knative.fake_api import revision_json, service_json
from tests.knative.fake_server import FakeServer, write_kubeconfig
from tests.paths import ROOT
from tests.ports import free_port, wait_for

pytestmark = [pytest.mark.integration]

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Return a function that starts our own programs; they are stopped after the test."""
    started: list[subprocess.Popen[bytes]] = []

    def run(*argv: str, **env: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, "-m", *argv], cwd=ROOT, env={**environment(), **env})
        started.append(process)
        return process

    yield run
    for process in started:
        process.terminate()
    for process in started:
        process.wait(60)


class Route(BaseHTTPRequestHandler):
    """Knative's route: its activator would wake a pod."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


@pytest.fixture
def route_url() -> Iterator[str]:
    """Return the address of the route."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Route)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    deadline_s = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline_s, "it did not come to hold within 60 s"
        time.sleep(0.05)


def test_a_request_is_answered_although_every_patch_is_refused(tmp_path: Path, start: Start, route_url: str) -> None:
    api = cluster(max_scale="20")
    api.pod_list.clear()
    route(api, {FIRST: 100})
    api.refuse = refuse_revisions
    port, controller_port = str(free_port()), str(free_port())
    url, controller_url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{controller_port}"
    start("dispatcher", "--host", "127.0.0.1", "--port", port, "--ml-service-url", route_url)
    wait_for(f"{url}/")
    with FakeServer(api).running() as server:
        start(
            *("autoscaler_tuning", "control", "--target", "knative", "--dispatcher", url),
            *("--host", "127.0.0.1", "--port", controller_port),
            KUBECONFIG=str(write_kubeconfig(tmp_path, server.url)),
        )
        wait_for(f"{controller_url}/livez")
        wait_until(lambda: bool(api.objects[LEASES]))
        assert requests.post(f"{url}/predict", data=b"image", timeout=60).status_code == 200
        assert requests.get(f"{controller_url}/readyz", timeout=10).status_code == 503
        assert api.annotations(FIRST) == {"max-scale": "20"}


def test_one_controller_scales_several_services_and_one_that_is_missing_stops_no_other(
    tmp_path: Path, start: Start
) -> None:
    api = cluster(max_scale="20")
    api.objects[SERVICES]["dogs"] = service_json("dogs", {"revisionName": "dogs-00001", "percent": 100})
    api.objects[REVISIONS]["dogs-00001"] = revision_json("dogs-00001", max_scale="5")
    port = free_port()
    cats, dogs = FakeDispatcher(), FakeDispatcher()
    named = f"missing={cats.url},resnet18={cats.url},dogs={dogs.url}"
    with FakeServer(api).running() as server:
        controller = start(
            *("autoscaler_tuning", "control", "--target", "knative", "--policy", "peak", "--service", named),
            *("--host", "127.0.0.1", "--port", str(port)),
            KUBECONFIG=str(write_kubeconfig(tmp_path, server.url)),
        )
        wait_until(
            lambda: api.annotations(FIRST).get("min-scale") == api.annotations("dogs-00001").get("min-scale") == "1"
        )
        services = {"missing": "starting", "resnet18": "ready", "dogs": "ready"}
        readiness = f"http://127.0.0.1:{port}/readyz"
        wait_until(lambda: requests.get(readiness, timeout=10).json().get("services") == services)
        assert cats.told
        assert dogs.told
        metrics = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text
        for service in ("resnet18", "dogs"):
            assert f'autoscaler_wanted_pods{{policy="peak",service="{service}"}} 1.0' in metrics
            assert f'autoscaler_route_requests_per_second{{service="{service}"}} 0.0' in metrics
        failures = re.search(
            r'^autoscaler_failed_ticks_total{service="missing",step="step"} (.*)', metrics, re.MULTILINE
        )
        assert failures
        assert float(failures[1]) > 0
        assert sorted(api.objects[LEASES]) == ["elastic-dogs", "elastic-missing", "elastic-resnet18"]
        controller.terminate()
        assert controller.wait(60) == 0
    assert (api.annotations(FIRST), api.annotations("dogs-00001")) == ({"max-scale": "20"}, {"max-scale": "5"})
    assert {lease["spec"].get("holderIdentity") for lease in api.objects[LEASES].values()} == {None}
    cats.stop()
    dogs.stop()
