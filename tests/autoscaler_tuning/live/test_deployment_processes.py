"""Dispatcher and controller of a Deployment as processes, with an API server in memory."""

from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import requests

from knative.leases import LEASES
from knative.workloads import DEPLOYMENTS, HPAS
from tests.autoscaler_tuning.live.target_worlds import LEAST, MOST, NAME, deployment
from tests.autoscaler_tuning.live.test_live_processes import Route, Start, start
from tests.knative.fake_server import FakeServer, write_kubeconfig
from tests.ports import free_port, wait_for

__all__ = ["start"]

pytestmark = [pytest.mark.integration]


@pytest.fixture
def urls(start: Start) -> Iterator[tuple[str, str]]:
    """Run a dispatcher in front of a backend; return its address and that of its control port."""
    backend: type[BaseHTTPRequestHandler] = Route
    with ThreadingHTTPServer(("127.0.0.1", 0), backend) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        port, control = free_port(), free_port()
        flags = ("--port", str(port), "--control-port", str(control), "--ml-service-url")
        start("dispatcher", "--host", "127.0.0.1", *flags, f"http://127.0.0.1:{server.server_port}")
        wait_for(f"http://127.0.0.1:{port}/")
        yield f"http://127.0.0.1:{port}", f"http://127.0.0.1:{control}"
        server.shutdown()


def until(reached: Callable[[], bool], url: str) -> None:
    """Send requests until the condition holds, at most 600."""
    for _ in range(600):
        assert requests.post(f"{url}/predict", data=b"image", timeout=60).status_code == 200
        if reached():
            return
    raise AssertionError("not reached with 600 requests")


def test_the_hpa_is_led_and_has_its_own_bounds_at_the_end(tmp_path: Path, start: Start, urls: tuple[str, str]) -> None:
    world, (url, control) = deployment(), urls
    port = str(free_port())
    with FakeServer(world.api).running() as server:
        process = start(
            *("autoscaler_tuning", "control", "--target", "kubernetes", "--service", NAME, "--dispatcher", control),
            *("--host", "127.0.0.1", "--port", port, "--policy", "peak[utilization=0.001]", "--max-pods", "20"),
            KUBECONFIG=str(write_kubeconfig(tmp_path, server.url)),
        )
        wait_for(f"http://127.0.0.1:{port}/readyz")
        until(lambda: world.bounds() == (MOST, MOST), url)
        until(lambda: world.api.objects[DEPLOYMENTS][NAME]["spec"]["replicas"] == MOST, url)
        assert list(world.api.objects[LEASES]) == [world.lease]
        process.terminate()
        process.wait(60)
        assert world.bounds() == (LEAST, MOST)


def test_without_patches_the_wish_is_exported_and_the_capacity_announced(
    tmp_path: Path, start: Start, urls: tuple[str, str]
) -> None:
    world, (url, control) = deployment(), urls
    world.api.objects[HPAS].clear()
    status = f"http://127.0.0.1:{free_port()}"
    with FakeServer(world.api).running() as server:
        start(
            *("autoscaler_tuning", "control", "--target", "kubernetes", "--service", NAME, "--dispatcher", control),
            *("--host", "127.0.0.1", "--port", status.rpartition(":")[2], "--no-patch", "--policy", "peak"),
            KUBECONFIG=str(write_kubeconfig(tmp_path, server.url)),
        )
        wait_for(f"{status}/readyz")  # it has announced the capacity
        until(lambda: requests.get(f"{status}/wish", timeout=10).json().get("wanted_pods", 0) >= 1, url)
        assert f'autoscaler_announcing{{service="{NAME}"}} 1.0' in requests.get(f"{status}/metrics", timeout=10).text
        assert world.api.calls == []
