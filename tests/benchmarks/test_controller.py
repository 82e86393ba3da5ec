"""CPU time and memory of the controller for one Service and for twenty, and the time of one patch.

The API server, the dispatchers and the pods' queue-proxies are stubs in the test's process, over HTTP: nothing of them is
counted. Each Service has three ready pods and 20 requests/s.
"""

import json
import os
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import quantiles

import psutil
import pytest

from autoscaler_tuning.live.local_stack import environment
from knative.client import KnativeClient, connect
from knative.objects import MIN_SCALE, REVISIONS, SERVICES, Json
from tests.benchmarks.tables import show
from tests.knative.fake_api import FakeApi, merged, pod_json, ready, revision_json, service_json
from tests.knative.fake_server import FakeServer, write_kubeconfig
from tests.paths import ROOT
from tests.ports import free_port, wait_for

MEASURED_S = float(os.environ.get("BENCH_CONTROLLER_S", "60"))
SETTLE_S = 15.0
RATE_RPS, PODS = 20, 3
POD_ADDRESS = "127.9.0.1"  # on its port 9090 a stub answers as queue-proxies do
# A real pod of the function is 8 kB of JSON.
PADDING = {"annotations": {"padding": "x" * 7000}}

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]


class Stub(BaseHTTPRequestHandler):
    """Answers as a dispatcher's control port and as a queue-proxy."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._answer(signals() if self.path == "/signals" else b"\x21" + struct.pack("<d", RATE_RPS / PODS))

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(b"{}")

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def signals() -> bytes:
    """Return two minutes of steady traffic up to now."""
    now_s = time.monotonic()
    count, first = int(RATE_RPS * now_s), int(now_s) - 120
    body = {
        "now_s": now_s,
        "arrivals": {"since_s": first, "count": count, "per_second": [RATE_RPS] * 120},
        "concurrency": {"since_s": first, "per_second": [RATE_RPS * 0.1] * 120},
        **{"waiting": 0, "in_flight": 2, "oldest_wait_s": 0.0, "feasible_backlog_s": 0.0},
        **{"service_time_s": {"mean": 0.1, "p95": 0.12}, "released": count, "rejected": 0, "retried": 0},
    }
    return json.dumps(body).encode()


@contextmanager
def stub(host: str, port: int) -> Iterator[str]:
    with ThreadingHTTPServer((host, port), Stub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{host}:{server.server_port}"
        server.shutdown()


def cluster(services: int) -> FakeApi:
    """Return a cluster with this many Services of PODS ready pods each."""
    names = [f"service-{number}" for number in range(services)]
    api = FakeApi(revisions=[revision_json(f"{name}-00001", max_scale="20") for name in names])
    for name in names:
        traffic: Json = {"revisionName": f"{name}-00001", "percent": 100}
        api.objects[SERVICES][name] = service_json(name, traffic)
        for number in range(PODS):
            pod = pod_json(f"{name}-{number}", f"{name}-00001", {**ready(), "podIP": POD_ADDRESS})
            api.pod_list.append(merged(pod, {"metadata": PADDING}))
    return api


def measured(services: int, folder: Path, dispatcher: str) -> dict[str, object]:
    """Run a controller and return its row."""
    named = ",".join(f"service-{number}={dispatcher}" for number in range(services))
    port = free_port()
    with FakeServer(cluster(services)).running() as server:
        kubeconfig = str(write_kubeconfig(folder, server.url))
        command = (*("control", "--target", "knative", "--service", named), "--host", "127.0.0.1", "--port", str(port))
        with subprocess.Popen(
            [sys.executable, "-m", "autoscaler_tuning", *command],
            cwd=ROOT,
            env={**environment(), "KUBECONFIG": kubeconfig},
            stderr=subprocess.DEVNULL,
        ) as controller:
            try:
                ready_services = wait_for(f"http://127.0.0.1:{port}/readyz").json()
                assert ready_services["status"] == "ready"
                time.sleep(SETTLE_S)
                process = psutil.Process(controller.pid)
                before, began_s = process.cpu_times(), time.monotonic()
                time.sleep(MEASURED_S)
                after, elapsed_s = process.cpu_times(), time.monotonic() - began_s
                memory = process.memory_info().rss
                wanted = wait_for(f"http://127.0.0.1:{port}/metrics").text.count("autoscaler_wanted_pods{")
                assert wanted == services
            finally:
                controller.terminate()
    cpu_s = (after.user + after.system) - (before.user + before.system)
    percent = 100 * cpu_s / elapsed_s
    return {"Services": services, "% of a core": percent, "% each": percent / services, "MB resident": memory / 1e6}


def test_the_controller(tmp_path: Path) -> None:
    """Goals: 3 % of a core and 80 MB for one Service, one core for twenty."""
    with stub("127.0.0.1", 0) as dispatcher, stub(POD_ADDRESS, 9090):
        rows = [measured(services, tmp_path, dispatcher) for services in (1, 20)]
    show("controller", f"controller over {MEASURED_S:g} s, {PODS} pods and {RATE_RPS} requests/s a Service", rows)


def test_a_patch(tmp_path: Path) -> None:
    """Goal: a p95 of 50 ms."""
    with FakeServer(cluster(1)).running() as server:
        client = KnativeClient("default", connect("default", write_kubeconfig(tmp_path, server.url)))
        times_ms = []
        for number in range(200):
            began_s = time.perf_counter()
            client.patch_settings(REVISIONS, "service-0-00001", {MIN_SCALE: str(number % 9)})
            times_ms.append(1000 * (time.perf_counter() - began_s))
        assert server.api.objects[REVISIONS]["service-0-00001"]["metadata"]["annotations"][MIN_SCALE] == str(199 % 9)
    marks = quantiles(times_ms, n=100)
    show("controller", "one patch, ms", [{"": "API server in the same process", "p50": marks[49], "p95": marks[94]}])
