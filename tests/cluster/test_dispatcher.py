"""The dispatcher in front of a Knative route: every protocol passes through it, and KPA takes over if the controller dies."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.cluster.cluster import NAMESPACE, Cluster, wait_until
from tests.cluster.conftest import Start
from tests.paths import ROOT
from tests.ports import free_port, wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

STUB_IMAGE = "dev.local/stub"
PYTHON = "/usr/bin/python3"


@dataclass(frozen=True, slots=True)
class Dispatcher:
    """A dispatcher process: its address for clients, and that for the controller."""

    url: str
    control_url: str


def start_dispatcher(start: Start, cluster: Cluster, service: str) -> Dispatcher:
    port, control_port = free_port(), free_port()
    start(
        *("dispatcher", "--host", "127.0.0.1", "--port", str(port), "--control-port", str(control_port)),
        *("--ml-service-url", f"http://{cluster.gateway}", "--ml-service-host", cluster.host(service)),
    )
    dispatcher = Dispatcher(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{control_port}")
    wait_for(f"{dispatcher.url}/readyz")
    return dispatcher


def test_the_kserve_client_passes_through_the_dispatcher(
    cluster: Cluster, deployed_service: str, samples_dir: Path, start: Start
) -> None:
    python = ROOT / ".venv-clients/bin/python"
    if not python.exists():
        if os.environ.get("CI"):
            pytest.fail("continuous integration must not skip this test: make clients")
        pytest.skip("needs KServe's client in its own environment: make clients")
    dispatcher = start_dispatcher(start, cluster, deployed_service)
    photograph = samples_dir / "cat.jpg"
    requests.post(f"{dispatcher.url}/predict", data=photograph.read_bytes(), timeout=120)  # a pod is ready from here on
    command = [str(python), "tests/clients/kserve_client.py", dispatcher.url, str(photograph)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stderr
    results: Any = json.loads(done.stdout)
    label = cluster.predict(deployed_service, photograph).json()["label"]
    assert results["v1"] == {"live": True, "ready": True, "labels": [label, label]}
    for kind in ("v2 JSON", "v2 binary"):
        assert (results[kind]["ready"], results[kind]["labels"]) == (True, [label, label])
    assert "not an image" in results["refused"]


def test_an_event_as_a_trigger_posts_it_is_answered_with_an_event(
    cluster: Cluster, deployed_service: str, samples_dir: Path, start: Start
) -> None:
    """Knative Eventing posts in binary mode with Prefer: reply and Kn-Namespace, and takes the response as the reply."""
    dispatcher = start_dispatcher(start, cluster, deployed_service)
    headers = {
        **{"ce-specversion": "1.0", "ce-id": "42", "ce-source": "/camera", "ce-type": "com.example.photo"},
        **{"Content-Type": "image/jpeg", "Prefer": "reply", "Kn-Namespace": NAMESPACE},
    }
    body = (samples_dir / "cat.jpg").read_bytes()
    answer = requests.post(dispatcher.url, data=body, headers=headers, timeout=120)
    assert answer.status_code == 200, answer.text
    assert answer.headers["ce-causationid"] == "42"
    assert answer.json()["label"]
    assert answer.headers["X-Pod"].startswith(deployed_service)


@pytest.fixture(scope="module")
def stub_image(cluster: Cluster) -> str:
    """Map an image to a stub that starts in 3 s and serves a request in 0.1 s, 0.005 s of which is processor time."""
    script = ROOT / "tests/cluster/stub_service.py"
    env = {"START_S": "3", "SERVICE_S": "0.1", "CPU_S": "0.005"}
    cluster.add_image(
        STUB_IMAGE, {"argv": [PYTHON, "-I", "-S", str(script)], "env": env, "files": {str(ROOT): str(ROOT)}}
    )
    return STUB_IMAGE


@contextmanager
def deployed_stub(cluster: Cluster, name: str, image: str) -> Iterator[str]:
    """Deploy a Service of the stub and yield its name; the dead controller's min-scale must not outlive the test."""
    resources = {"requests": {"cpu": "50m"}, "limits": {"cpu": "1"}}
    container = {"image": image, "resources": resources}
    template = {
        "metadata": {"annotations": {"autoscaling.knative.dev/max-scale": "20"}},
        "spec": {"containerConcurrency": 1, "timeoutSeconds": 60, "containers": [container]},
    }
    cluster.apply(
        {
            "apiVersion": "serving.knative.dev/v1",
            "kind": "Service",
            "metadata": {"name": name},
            "spec": {"template": template},
        }
    )
    try:
        cluster.run("kubectl", "wait", "-n", NAMESPACE, "--for=condition=Ready", f"ksvc/{name}", "--timeout=120s")
        yield name
    finally:
        cluster.run("kubectl", "delete", "-n", NAMESPACE, f"ksvc/{name}")


@pytest.fixture
def stub_services(cluster: Cluster, stub_image: str) -> Iterator[None]:
    """Two Services of the stub, `direct` and `buffered`."""
    with deployed_stub(cluster, "direct", stub_image), deployed_stub(cluster, "buffered", stub_image):
        yield


@dataclass
class PodCount:
    """The largest number of pods of a Revision that was seen while watching."""

    most: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)

    def watch(self, count: Callable[[], int]) -> None:
        while not self.stopped.wait(0.5):
            self.most = max(self.most, count())


@contextmanager
def watched_pods(cluster: Cluster, service: str) -> Iterator[PodCount]:
    client = cluster.client()
    revision = client.live_revision(service).name
    pods = PodCount()
    thread = threading.Thread(target=pods.watch, args=(lambda: len(client.pods(revision)),), daemon=True)
    thread.start()
    yield pods
    pods.stopped.set()
    thread.join(10)


@dataclass(frozen=True, slots=True)
class Burst:
    """What became of a burst. late_ratio: share of the second half that took longer than 0.5 s."""

    statuses: set[int]
    late_ratio: float


def burst(url: str, folder: Path, *flags: str) -> Burst:
    """Send 30 requests a second for 40 seconds."""
    out = folder / "burst.json"
    command = [sys.executable, "-m", "loadgen", url, "--workload", "step:seconds=40,low=30,high=30,noise=none"]
    command += ["--images", str(ROOT / "samples"), "--protocol", "raw", "--timeout-s", "60", "--max-lag-ms", "5000"]
    done = subprocess.run(
        [*command, "--quiet", "--json", str(out), *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert out.exists(), done.stderr
    columns = json.loads(out.read_text())["requests"]
    second_half = [
        done_s - due_s for due_s, done_s in zip(columns["intended_s"], columns["done_s"], strict=True) if due_s >= 20
    ]
    late = sum(latency_s > 0.5 for latency_s in second_half)
    return Burst(set(columns["status"]), late / len(second_half))


def test_with_the_controller_killed_in_a_burst_kpa_scales_as_without_a_dispatcher(
    cluster: Cluster, stub_services: None, tmp_path: Path, start: Start
) -> None:
    client = cluster.client()
    for service in ("direct", "buffered"):
        revision = client.live_revision(service).name
        wait_until(lambda revision=revision: not client.pods(revision), "no pods", timeout_s=240)  # type: ignore[misc]
    with watched_pods(cluster, "direct") as direct:
        straight = burst(f"http://{cluster.gateway}/predict", tmp_path, "--host", cluster.host("direct"))
    assert straight.statuses == {200}

    dispatcher = start_dispatcher(start, cluster, "buffered")
    controller_port = free_port()
    controller = start(
        *("autoscaler_tuning", "control", "--target", "knative", "--policy", "elastic", "--service", "buffered"),
        *("--dispatcher", dispatcher.control_url, "--namespace", NAMESPACE, "--port", str(controller_port)),
    )
    wait_for(f"http://127.0.0.1:{controller_port}/")

    def kill_the_controller() -> None:
        time.sleep(3)  # loadgen has begun, and no pod is ready yet
        controller.kill()

    killing = threading.Thread(target=kill_the_controller)
    killing.start()
    with watched_pods(cluster, "buffered") as buffered:
        orphaned = burst(f"{dispatcher.url}/predict", tmp_path)
    killing.join()
    assert controller.wait(10) < 0
    assert orphaned.statuses == {200}
    print(f"straight to the route: at most {direct.most} pods, late {straight.late_ratio:.1%}")
    print(f"with the controller killed: at most {buffered.most} pods, late {orphaned.late_ratio:.1%}")
    assert buffered.most >= 3  # as many as are busy
    assert orphaned.late_ratio <= straight.late_ratio + 0.05
