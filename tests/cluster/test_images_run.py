"""The built images on a real Knative: scaled from zero, deployed from our own manifests, with a read-only root."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import yaml

from knative.objects import WINDOW
from knative.rendering import service_manifest
from tests.cluster.cluster import NAMESPACE, Cluster, wait_until
from tests.cluster.oci import Image
from tests.paths import ROOT
from tests.ports import wait_for

SERVICE, IMAGE, DISPATCHER = "built", "dev.local/built", "dev.local/dispatcher"

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(2400)]


@pytest.fixture(scope="session")
def mapped(cluster: Cluster, images: dict[str, Image]) -> Cluster:
    """Return the cluster with the built images in its image map."""
    cluster.add_image(IMAGE, {"oci": images["function"].reference})
    cluster.add_image(DISPATCHER, {"oci": images["dispatcher"].reference})
    return cluster


@pytest.fixture(scope="session")
def built_service(mapped: Cluster) -> Iterator[str]:
    """Deploy the built image with our own manifest, including its read-only root, and return the Service's name."""
    manifest = service_manifest(NAMESPACE, SERVICE, IMAGE)
    manifest["spec"]["template"]["metadata"]["annotations"][WINDOW] = "6s"
    client = mapped.client()
    client.deploy(manifest)
    wait_until(lambda: client.service(SERVICE).ready, "the Service is ready", timeout_s=300)
    yield SERVICE
    mapped.run("kubectl", "delete", "ksvc", SERVICE, "-n", NAMESPACE)


def test_it_answers_from_zero_through_the_route(mapped: Cluster, built_service: str, samples_dir: Path) -> None:
    client = mapped.client()
    revision = client.live_revision(built_service).name
    took_s = []
    for _ in range(3):
        wait_until(lambda: client.pods(revision) == (), "no pods", timeout_s=300)
        answer = mapped.predict(built_service, samples_dir / "cat.jpg")
        assert answer.status_code == 200, answer.text
        assert answer.headers["X-Pod"].startswith(revision)
        took_s.append(answer.elapsed.total_seconds())
    print("from zero to response:", ", ".join(f"{seconds:.2f} s" for seconds in took_s))


def test_it_reports_its_cold_start_and_stays_within_its_memory_limit(
    mapped: Cluster, built_service: str, samples_dir: Path
) -> None:
    for name in ("cat.jpg", "coffee.jpg", "rocket.jpg") * 10:
        assert mapped.predict(built_service, samples_dir / name).status_code == 200
    url = f"http://{mapped.gateway}/metrics"
    metrics = requests.get(url, headers={"Host": mapped.host(built_service)}, timeout=60).text
    phases = dict(re.findall(r'^function_cold_start_seconds\{phase="(\w+)"\} (\S+)', metrics, re.MULTILINE))
    assert len(phases) > 1
    print("cold start:", ", ".join(f"{phase} {float(seconds):.2f} s" for phase, seconds in phases.items()))
    pod = mapped.client().pods(mapped.client().live_revision(built_service).name)[0].name
    log = mapped.run("kubectl", "logs", pod, "-c", "user-container", "-n", NAMESPACE)
    assert "ready" in log
    assert "Traceback" not in log
    memory_mib = used_mib(mapped, pod)
    print(f"memory in the pod: {memory_mib} MiB")
    assert 20 < memory_mib < 512


def used_mib(cluster: Cluster, pod: str) -> int:
    """Return the container's memory from the metrics API, which reports a new pod only after a while."""
    found: list[int] = []

    def known() -> bool:
        path = f"/apis/metrics.k8s.io/v1beta1/namespaces/{NAMESPACE}/pods/{pod}"
        try:
            usage = json.loads(cluster.run("kubectl", "get", "--raw", path))["containers"]
        except AssertionError:
            return False
        found.extend(
            int(container["usage"]["memory"].removesuffix("Ki")) // 1024
            for container in usage
            if container["name"] == "user-container"
        )
        return bool(found)

    wait_until(known, "the metrics API reports the pod's memory", timeout_s=120)
    return found[0]


def test_a_model_mounted_as_by_kserve_takes_precedence_over_its_own(
    mapped: Cluster, model_dir: Path, samples_dir: Path, tmp_path: Path
) -> None:
    shutil.copytree(model_dir, tmp_path / "model")
    (tmp_path / "model").chmod(0o755)  # the pod is not root
    manifest = json.loads((model_dir / "manifest.json").read_text())
    (tmp_path / "model/manifest.json").write_text(json.dumps({**manifest, "version": "mounted"}))
    container = {"name": "pod", "image": IMAGE, "volumeMounts": [{"name": "model", "mountPath": "/mnt/models"}]}
    volume = {"name": "model", "hostPath": {"path": str(tmp_path / "model")}}
    spec = {"containers": [container], "volumes": [volume], "terminationGracePeriodSeconds": 5}
    mapped.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "kserve-like"}, "spec": spec})
    url = f"http://{mapped.address('pod/kserve-like', '{.status.podIP}')}:8000"
    wait_for(url)
    answer = requests.post(f"{url}/predict", data=(samples_dir / "cat.jpg").read_bytes(), timeout=60)
    assert answer.json()["model"]["version"] == "mounted"
    mapped.run("kubectl", "delete", "pod", "kserve-like", "-n", NAMESPACE)


def test_the_dispatchers_image_forwards_to_the_functions(
    mapped: Cluster, built_service: str, samples_dir: Path
) -> None:
    """Deploy our manifest of the dispatcher with another backend, and send a request through both images."""
    mapped.run(
        "kubectl", "create", "secret", "generic", "dispatcher-control", "-n", NAMESPACE, "--from-literal=key=k3y"
    )
    for document in yaml.safe_load_all((ROOT / "knative/manifests/dispatcher/dispatcher.yaml").read_text()):
        if document["kind"] == "Deployment":
            (container,) = document["spec"]["template"]["spec"]["containers"]
            assert container["image"] == DISPATCHER
            (service,) = (variable for variable in container["env"] if variable["name"] == "SERVICE")
            service["value"] = built_service
            document["spec"]["replicas"] = 1  # the same one answers all requests below
        mapped.apply(document)
    address = mapped.address("service/dispatcher-service", "{.spec.clusterIP}")
    wait_for(f"http://{address}:8001", timeout_s=120)
    with (samples_dir / "cat.jpg").open("rb") as photograph:
        answer = requests.post(f"http://{address}:8001/add_to_queue", files={"file": photograph}, timeout=120)
    assert answer.status_code == 200, answer.text
    assert answer.json()["label"]
    assert answer.headers["X-Pod"].startswith(built_service)
    control = f"http://{mapped.address('endpoints/dispatcher-control', '{.subsets[0].addresses[0].ip}')}:8011"
    assert requests.get(f"{control}/signals", timeout=60).status_code == 401
    signals = requests.get(f"{control}/signals", headers={"Authorization": "Bearer k3y"}, timeout=60)
    assert signals.json()["arrivals"]["count"] == 1
    mapped.run("kubectl", "delete", "-n", NAMESPACE, "-f", "knative/manifests/dispatcher/dispatcher.yaml")
    mapped.run("kubectl", "delete", "secret", "dispatcher-control", "-n", NAMESPACE)
