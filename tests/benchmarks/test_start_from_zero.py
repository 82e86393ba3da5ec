"""From zero pods through the Knative route to the first answer: the function beside a pod that does nothing.

Needs the cluster of tests/cluster. The two Services start in turn on the same cluster, so that both meet the same
machine; the difference is compared with the start that the pod itself reports, under its own limit of one CPU.
"""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

import pytest
import requests

from tests.benchmarks.servers import OURS, ours, running
from tests.benchmarks.tables import show
from tests.cluster.cluster import IMAGE, NAMESPACE, Cluster, wait_until
from tests.paths import ROOT
from tests.ports import wait_for

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1500)]

ROUNDS = 7
FUNCTION, NOTHING = "function", "nothing"
NOTHING_IMAGE = "dev.local/nothing"
STUB = ROOT / "tests/cluster/stub_service.py"
PHASES = ("interpreter", "imports", "engine", "weights", "warmup", "ready")


def deploy(cluster: Cluster, name: str, image: str) -> None:
    """Deploy a Service with the resources and the probe of the README's command."""
    resources = {"requests": {"cpu": "200m", "memory": "512Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}}
    probe = {"httpGet": {"path": "/health/readiness", "port": 8000}}
    container = {"image": image, "ports": [{"containerPort": 8000}], "resources": resources, "readinessProbe": probe}
    spec = {"containerConcurrency": 1, "containers": [container]}
    annotations = {"autoscaling.knative.dev/window": "6s"}
    manifest = {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": {"name": name}}
    cluster.apply({**manifest, "spec": {"template": {"metadata": {"annotations": annotations}, "spec": spec}}})
    cluster.run("kubectl", "wait", "-n", NAMESPACE, "--for=condition=Ready", f"ksvc/{name}", "--timeout=120s")


@pytest.fixture
def services(cluster: Cluster) -> Iterator[None]:
    """Two Services that differ in their image alone."""
    env = {"START_S": "0", "SERVICE_S": "0", "CPU_S": "0"}
    argv = ["/usr/bin/python3", "-I", "-S", str(STUB)]
    cluster.add_image(NOTHING_IMAGE, {"argv": argv, "env": env, "files": {str(ROOT): str(ROOT)}})
    deploy(cluster, NOTHING, NOTHING_IMAGE)
    deploy(cluster, FUNCTION, IMAGE)
    yield
    for name in (NOTHING, FUNCTION):
        cluster.run("kubectl", "delete", "-n", NAMESPACE, f"ksvc/{name}")


def seconds_from_zero(cluster: Cluster, service: str, image: Path) -> float:
    """Wait until the Service has no pod, and return the time of the next answer."""

    def no_pod() -> bool:
        pods = cluster.run("kubectl", "get", "pods", "-n", NAMESPACE, "-l", f"serving.knative.dev/service={service}")
        return not pods.strip()

    wait_until(no_pod, f"{service} has no pod", 300, every_s=1)
    began_s = time.monotonic()
    answer = cluster.predict(service, image)
    took_s = time.monotonic() - began_s
    assert answer.status_code == 200, answer.text
    return took_s


def read_phases(url: str, host: str | None = None) -> dict[str, float]:
    """Return the phases of the start that a pod reports among its metrics, in seconds."""
    text = requests.get(f"{url}/metrics", headers={"Host": host} if host else {}, timeout=60).text
    return {
        name: float(value) for name, value in re.findall(r'function_cold_start_seconds\{phase="(\w+)"\} (\S+)', text)
    }


def unlimited_start(model_dir: Path) -> dict[str, float]:
    """Start the same process without the limit of a pod, and return its phases."""
    with running(OURS, ours(model_dir)) as server:
        wait_for(f"http://127.0.0.1:{server.port}/health/readiness")
        return read_phases(f"http://127.0.0.1:{server.port}")


def test_zero_to_answer(cluster: Cluster, services: None, samples_dir: Path, model_dir: Path) -> None:
    took: dict[str, list[float]] = {NOTHING: [], FUNCTION: []}
    limited: list[dict[str, float]] = []
    unlimited: list[dict[str, float]] = []
    for _ in range(ROUNDS):
        for service, times_s in took.items():
            times_s.append(seconds_from_zero(cluster, service, samples_dir / "cat.jpg"))
        limited.append(read_phases(f"http://{cluster.gateway}", cluster.host(FUNCTION)))
        unlimited.append(unlimited_start(model_dir))
    own_s = median_of(limited, "ready")
    nothing_s, function_s = median(took[NOTHING]), median(took[FUNCTION])
    rows = [
        {"what": "a pod that does nothing: zero to answer", "s": nothing_s},
        {"what": "the function: zero to answer", "s": function_s},
        {"what": "the function's own start", "s": own_s},
        {"what": "what remains (goal: at most 0.1)", "s": function_s - nothing_s - own_s},
    ]
    show("start", f"zero pods to the answer through the route, medians of {ROUNDS} starts in turn", rows)
    phases = [
        {"phase": name, "limit of 1 CPU, s": median_of(limited, name), "no limit, s": median_of(unlimited, name)}
        for name in PHASES
    ]
    show("start", "phases of the function's own start (those of the engine run beside the imports)", phases)


def median_of(starts: Sequence[Mapping[str, float]], phase: str) -> float:
    return median(start[phase] for start in starts)
