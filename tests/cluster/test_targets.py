"""A Deployment on a real Kubernetes: its HPA's bounds lead its pods, or another HPA follows the exported wish."""

import base64
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from tests.cluster.cluster import NAMESPACE, NUMBER, Cluster, wait_until
from tests.cluster.conftest import Start
from tests.paths import ROOT
from tests.ports import free_port, wait_for
from tests.stubs.certificates import Pair, make_pair

pytestmark = [pytest.mark.cluster, pytest.mark.proof, pytest.mark.timeout(600)]

NAME = "stub-app"
IMAGE = "dev.local/stub-app"
TUNER = "elastic-controller"
# this machine's end of the link to the node, which the cluster's scripts make
HOST_IP = f"10.{NUMBER}.255.1"
METRICS_API = "/apis/external.metrics.k8s.io/v1beta1"


@pytest.fixture(scope="module")
def deployment(cluster: Cluster) -> Iterator[str]:
    """Run a Deployment of one pod that serves a request in 0.2 s, behind a Service; return its address."""
    entry = {
        "argv": ["/usr/bin/python3", "-I", "-S", str(ROOT / "tests/cluster/stub_service.py")],
        "env": {"START_S": "1", "SERVICE_S": "0.2", "CPU_S": "0.002", "PORT": "8000"},
        "files": {str(ROOT): str(ROOT)},
    }
    cluster.add_image(IMAGE, entry)
    labels = {"app": NAME}
    container = {
        "name": "stub",
        "image": IMAGE,
        "ports": [{"containerPort": 8000}],
        "readinessProbe": {"tcpSocket": {"port": 8000}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "50m"}, "limits": {"cpu": "1"}},
    }
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container], "terminationGracePeriodSeconds": 5}}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    meta = {"name": NAME}
    cluster.apply({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec})
    service = {"selector": labels, "ports": [{"port": 80, "targetPort": 8000}]}
    cluster.apply({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": service})
    cluster.run("kubectl", "rollout", "status", f"deployment/{NAME}", "-n", NAMESPACE)
    yield f"http://{cluster.address(f'service/{NAME}', '{.spec.clusterIP}')}"
    made = (f"deployment/{NAME}", f"service/{NAME}", f"hpa/{NAME}-hpa", f"lease/elastic-kubernetes.{NAME}")
    cluster.run("kubectl", "delete", *made, "-n", NAMESPACE, "--wait=false", "--ignore-not-found")


def hpa(cluster: Cluster, metric: dict[str, object], least: int, most: int) -> None:
    """Make the HPA of the Deployment; it scales down 5 s after the metric fell."""
    rules = {"scaleDown": {"stabilizationWindowSeconds": 5, "tolerance": "0"}, "scaleUp": {"tolerance": "0"}}
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": NAME},
        "minReplicas": least,
        "maxReplicas": most,
        "metrics": [metric],
        "behavior": rules,
    }
    meta = {"name": f"{NAME}-hpa"}
    manifest = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": meta, "spec": spec}
    cluster.apply(manifest)


def field(cluster: Cluster, thing: str, path: str) -> str:
    return cluster.run("kubectl", "get", thing, "-n", NAMESPACE, "-o", f"jsonpath={path}")


def bounds(cluster: Cluster) -> tuple[str, str]:
    least, most = field(cluster, f"hpa/{NAME}-hpa", "{.spec.minReplicas} {.spec.maxReplicas}").split()
    return least, most


def replicas(cluster: Cluster) -> int:
    return int(field(cluster, f"deployment/{NAME}", "{.spec.replicas}"))


def ready(cluster: Cluster) -> int:
    return int(field(cluster, f"deployment/{NAME}", "{.status.readyReplicas}") or 0)


def dispatcher(start: Start, url: str) -> tuple[str, str]:
    """Start a dispatcher in front of the Service; return its address and that of its control port."""
    port, control = free_port(), free_port()
    start(
        "dispatcher",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--control-port",
        str(control),
        "--ml-service-url",
        url,
    )
    wait_for(f"http://127.0.0.1:{port}/readyz")
    return f"http://127.0.0.1:{port}", f"http://127.0.0.1:{control}"


def controller(start: Start, control_url: str, *flags: str) -> tuple[str, subprocess.Popen[bytes]]:
    """Start a controller of the Deployment; return the address of its status and its process."""
    port = free_port()
    process = start(
        *("autoscaler_tuning", "control", "--target", "kubernetes", "--service", NAME, "--namespace", NAMESPACE),
        *("--dispatcher", control_url, "--port", str(port), "--max-pods", "6", *flags),
    )
    return f"http://127.0.0.1:{port}", process


@contextmanager
def load(url: str, rate_rps: float) -> Iterator[list[int]]:
    """Send requests at this rate during the with block; the list holds their statuses at the end."""
    statuses: list[int] = []
    stop = threading.Event()
    threads: list[threading.Thread] = []

    def ask() -> None:
        statuses.append(requests.post(f"{url}/predict", data=b"x", timeout=60).status_code)

    def send() -> None:
        while not stop.wait(1 / rate_rps):
            threads.append(threading.Thread(target=ask))
            threads[-1].start()

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield statuses
    finally:
        stop.set()
        sender.join()
        for thread in threads:
            thread.join()


def test_the_hpas_lower_bound_leads_the_pods_and_comes_back(cluster: Cluster, deployment: str, start: Start) -> None:
    hpa(
        cluster,
        {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}},
        1,
        5,
    )
    url, control_url = dispatcher(start, deployment)
    status, process = controller(start, control_url)
    wait_for(f"{status}/readyz")
    with load(url, 15) as statuses:
        needed_s = wait_until(lambda: int(bounds(cluster)[0]) >= 3, "minReplicas follows the wish", timeout_s=60)
        raised_s = wait_until(lambda: replicas(cluster) >= 3, "replicas follow minReplicas", timeout_s=60)
        wait_until(lambda: ready(cluster) >= 3, "pods are ready", timeout_s=60)
    sent = len(statuses)
    print(
        f"minReplicas 3 after {needed_s:.1f} s, replicas {raised_s:.1f} s later; {sent} requests, all {set(statuses)}"
    )
    assert set(statuses) == {200}
    assert raised_s < 5  # the HPA alone looks every 15 s
    assert int(bounds(cluster)[0]) <= 5
    assert bounds(cluster)[1] == "5"
    managers = json.loads(
        cluster.run("kubectl", "get", "hpa", f"{NAME}-hpa", "-n", NAMESPACE, "-o", "json", "--show-managed-fields")
    )
    assert "elastic-controller" in {entry["manager"] for entry in managers["metadata"]["managedFields"]}
    lease = field(cluster, f"lease/elastic-kubernetes.{NAME}", "{.metadata.annotations}")
    assert "minReplicas" in lease
    wait_until(lambda: bounds(cluster)[0] == "1", "idle, minReplicas is 1 again", timeout_s=120)
    with load(url, 15):
        wait_until(lambda: int(bounds(cluster)[0]) >= 2, "minReplicas follows again", timeout_s=60)
        process.kill()  # the next controller gives back what this one found
        process.wait(30)
    status, process = controller(start, control_url)
    wait_for(f"{status}/readyz")
    wait_until(
        lambda: field(cluster, f"lease/elastic-kubernetes.{NAME}", "{.spec.leaseTransitions}") != "0", "it leads"
    )
    process.terminate()
    process.wait(60)
    assert bounds(cluster) == ("1", "5")
    assert "minReplicas" not in field(cluster, f"lease/elastic-kubernetes.{NAME}", "{.metadata.annotations}")


@pytest.fixture
def wish_port(cluster: Cluster) -> Iterator[int]:
    """Return a free port; whatever is registered for it is removed after the test."""
    yield free_port()
    registered = ("apiservice/v1beta1.external.metrics.k8s.io", f"service/{TUNER}", f"endpointslice/{TUNER}")
    cluster.run("kubectl", "delete", *registered, "-n", NAMESPACE, "--ignore-not-found")


def serve_wish(cluster: Cluster, folder: Path, port: int) -> Pair:
    """Register the external metrics API at this port of this machine; return the certificate and its key."""
    pair = make_pair(folder, TUNER, f"DNS:{TUNER}.{NAMESPACE}.svc")
    service = {"name": TUNER, "namespace": NAMESPACE}
    ports = [{"name": "https", "port": port}]
    cluster.apply({"apiVersion": "v1", "kind": "Service", "metadata": service, "spec": {"ports": ports}})
    # a controller in the cluster has a selector in place of this
    labels = {"kubernetes.io/service-name": TUNER}
    endpoints = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {**service, "labels": labels},
    }
    cluster.apply({**endpoints, "addressType": "IPv4", "ports": ports, "endpoints": [{"addresses": [HOST_IP]}]})
    spec = {
        "group": "external.metrics.k8s.io",
        "version": "v1beta1",
        "service": {**service, "port": port},
        "caBundle": base64.b64encode(pair.cert.read_bytes()).decode(),
        "groupPriorityMinimum": 100,
        "versionPriority": 100,
    }
    meta = {"name": "v1beta1.external.metrics.k8s.io"}
    cluster.run(
        "kubectl",
        "apply",
        "-f",
        "-",
        given=json.dumps(
            {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": meta, "spec": spec}
        ),
    )
    return pair


def test_an_hpa_on_external_metrics_follows_the_wish(
    cluster: Cluster, deployment: str, start: Start, tmp_path: Path, wish_port: int
) -> None:
    cluster.run("kubectl", "delete", "hpa", f"{NAME}-hpa", "-n", NAMESPACE, "--ignore-not-found")
    cluster.run("kubectl", "scale", f"deployment/{NAME}", "-n", NAMESPACE, "--replicas=1")
    pair = serve_wish(cluster, tmp_path, wish_port)
    url, control_url = dispatcher(start, deployment)
    tls = ("--tls-port", str(wish_port), *pair.flags())
    status, process = controller(start, control_url, "--no-patch", *tls)
    wait_for(f"{status}/readyz")
    path = f"{METRICS_API}/namespaces/{NAMESPACE}/wanted-pods"
    wait_until(lambda: bool(read(cluster, path)), "the API server reads the wish", timeout_s=60)
    metric = {"name": "wanted-pods", "selector": {"matchLabels": {"service": NAME}}}
    target = {"type": "AverageValue", "averageValue": "1"}
    hpa(cluster, {"type": "External", "external": {"metric": metric, "target": target}}, 1, 6)
    with load(url, 15) as statuses:
        began_s = time.monotonic()
        wait_until(lambda: wished(status) >= 3, "the policy wants more pods", timeout_s=60)
        wait_until(lambda: replicas(cluster) >= 3, "the HPA follows the wish", timeout_s=90)
        wait_until(lambda: ready(cluster) >= 3, "pods are ready", timeout_s=60)
        print(f"3 pods ready {time.monotonic() - began_s:.1f} s after the load began; metric {read(cluster, path)}")
    assert set(statuses) == {200}
    assert bounds(cluster) == ("1", "6")
    wait_until(lambda: wished(status) <= 1, "idle, the policy wants none or one", timeout_s=120)
    wait_until(lambda: replicas(cluster) == 1, "the HPA follows the wish down", timeout_s=120)
    process.terminate()
    process.wait(60)
    managers = cluster.run(
        "kubectl", "get", "hpa", f"{NAME}-hpa", "-n", NAMESPACE, "-o", "json", "--show-managed-fields"
    )
    assert "elastic-controller" not in managers


def read(cluster: Cluster, path: str) -> list[str]:
    """Return the values of the metric, as the API server passes them on; empty while it cannot."""
    kubectl = ["kubectl", "get", "--raw", path]
    done = subprocess.run(kubectl, env=dict(cluster.env), capture_output=True, text=True, timeout=30, check=False)
    return [item["value"] for item in json.loads(done.stdout)["items"]] if done.returncode == 0 else []


def wished(status: str) -> int:
    response = requests.get(f"{status}/wish", timeout=10)
    return int(response.json()["wanted_pods"]) if response.ok else -1
