"""Our manifests on a real cluster: accepted in a restricted namespace, run as deployed, reported on, and deleted."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from knative.layouts import OVERLAYS, PARTS
from knative.objects import MAX_SCALE, MIN_SCALE
from tests.cluster.cluster import IMAGE, Cluster, kn_create, wait_until
from tests.paths import ROOT

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

NAMESPACE = "restricted"
RESTRICTED = "pod-security.kubernetes.io/enforce=restricted"
# Modules of the Go proxy that contain the definitions of Triggers and Brokers, and of ServiceMonitors and PodMonitors
EVENTING = ("knative.dev/eventing@v0.50.0", ("config/core/resources/trigger.yaml", "config/core/resources/broker.yaml"))
MONITORING = (
    "github.com/prometheus-operator/prometheus-operator@v0.85.0",
    tuple(
        f"example/prometheus-operator-crd/monitoring.coreos.com_{kind}s.yaml"
        for kind in ("servicemonitor", "podmonitor", "prometheusrule")
    ),
)


@pytest.fixture(scope="module")
def restricted(cluster: Cluster, model_dir: Path) -> Iterator[Cluster]:
    """Return the cluster with a namespace that refuses pods which are not restricted, and images that are processes."""
    files = {str(folder): str(folder) for folder in (ROOT, (ROOT / ".venv").resolve(), model_dir)}
    python = [f"{ROOT}/.venv/bin/python", "-m"]
    # as root, because Python may be installed in root's folder; the images' own user is tested in test_images.py
    shared = {"cwd": str(ROOT), "files": files}
    cluster.add_image("dev.local/dispatcher", {"argv": [*python, "dispatcher"], **shared})
    control = [*python, "autoscaler_tuning", "control"]
    cluster.add_image("dev.local/controller", {"argv": control, **shared})
    cluster.add_image("docker.io/library/redis:7.0", {"argv": ["redis-server"]})
    cluster.run("kubectl", "create", "namespace", NAMESPACE)
    cluster.run("kubectl", "label", "namespace", NAMESPACE, RESTRICTED)
    yield cluster
    cluster.run("kubectl", "delete", "namespace", NAMESPACE, timeout_s=240)


def knative(cluster: Cluster, *argv: str, status: int = 0) -> str:
    """Run `python -m knative` with the Service's namespace; return its output, and show it."""
    done = subprocess.run(
        [sys.executable, "-m", "knative", *argv, "--namespace", NAMESPACE],
        env=dict(cluster.env),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    print(f"$ python -m knative {' '.join(argv)}\n{done.stdout}{done.stderr}")
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


def objects(cluster: Cluster, kinds: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = json.loads(cluster.run("kubectl", "get", kinds, "-n", NAMESPACE, "-o", "json"))[
        "items"
    ]
    return items


@pytest.fixture(scope="module")
def definitions(restricted: Cluster) -> None:
    """Define Triggers and ServiceMonitors as Knative Eventing and the Prometheus Operator do, without their programs."""
    for module, files in (EVENTING, MONITORING):
        argv = ("go", "mod", "download", "-json", module)
        try:
            done = subprocess.run(argv, cwd="/", capture_output=True, text=True, timeout=240, check=False)
        except FileNotFoundError:
            pytest.skip("needs go, which downloads the definitions")
        if done.returncode != 0:
            pytest.skip(f"the Go module proxy does not give {module}: {done.stdout}{done.stderr}")
        for file in files:
            path = Path(json.loads(done.stdout)["Dir"], file)
            restricted.run("kubectl", "apply", "--server-side", "-f", str(path))
    names = ("triggers.eventing.knative.dev", "prometheusrules.monitoring.coreos.com")
    for name in names:
        restricted.run("kubectl", "wait", "--for=condition=Established", f"crd/{name}", "--timeout=60s")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_each_overlay_passes_the_api_server_and_knatives_webhook(restricted: Cluster, overlay: str) -> None:
    folder = f"knative/manifests/overlays/{overlay}"
    documents = f"\n{restricted.run('kubectl', 'kustomize', folder)}".count("\nkind: ")
    applied = restricted.run("kubectl", "apply", "--dry-run=server", "-n", NAMESPACE, "-k", folder)
    assert applied.count("(server dry run)") == applied.count("\n") == documents >= 5


def test_each_part_passes_the_definitions_of_its_kinds(restricted: Cluster, definitions: None, tmp_path: Path) -> None:
    rendered = knative(restricted, "render", "tuned", "--with", ",".join(PARTS))
    applied = restricted.run(
        "kubectl", "apply", "--server-side", "--dry-run=server", "-n", NAMESPACE, "-f", "-", given=rendered
    )
    kinds = ("trigger.eventing", "broker.eventing", "servicemonitor.monitoring", "podmonitor.monitoring")
    for kind in (*kinds, "prometheusrule.monitoring"):
        assert kind in applied
    wrong = rendered.replace("portNumber: 8000", "portNumber: many").replace("broker: default", "broker: [default]")
    wrong = wrong.replace("for: 1h", "for: one hour")
    done = subprocess.run(
        ["kubectl", "apply", "--dry-run=server", "-f", "-"],
        env=dict(restricted.env),
        input=wrong,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    for word in ("portNumber", "spec.broker", "].for"):
        assert word in done.stderr


def test_the_monitor_of_knatives_own_metrics_selects_services_with_the_port_that_it_names(
    restricted: Cluster, definitions: None
) -> None:
    file = "knative/monitoring/knative-serving.yaml"
    restricted.run("kubectl", "apply", "--server-side", "--dry-run=server", "-f", file)
    monitor = yaml.safe_load((ROOT / file).read_text())
    (chosen,) = monitor["spec"]["selector"]["matchExpressions"]
    (endpoint,) = monitor["spec"]["endpoints"]
    selector = f"{chosen['key']} {chosen['operator'].lower()} ({','.join(chosen['values'])})"
    argv = ("kubectl", "get", "services", "-n", monitor["metadata"]["namespace"], "-l", selector, "-o", "json")
    services = json.loads(restricted.run(*argv))["items"]
    assert {service["metadata"]["name"] for service in services} == {"activator-service", "autoscaler"}
    for service in services:
        assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}


def template(service: dict[str, Any]) -> dict[str, Any]:
    """Return a Service's template without what the page says that kn cannot set: a read-only root, no token, and labels."""
    found: dict[str, Any] = json.loads(json.dumps(service["spec"]["template"]))
    found["metadata"].pop("labels", None)
    annotations = found["metadata"]["annotations"]
    found["metadata"] = {
        "annotations": {k: v for k, v in annotations.items() if not k.startswith("client.knative.dev/")}
    }
    (container,) = found["spec"]["containers"]
    container.pop("name", None)
    container.pop("volumeMounts", None)
    container.get("securityContext", {}).pop("readOnlyRootFilesystem", None)
    found["spec"].pop("volumes", None)
    found["spec"].pop("automountServiceAccountToken", None)
    return found


def test_the_readmes_kn_line_makes_the_same_service_as_the_manifest(restricted: Cluster) -> None:
    argv = kn_create((ROOT / "README.md").read_text())
    restricted.run(*argv, "-n", NAMESPACE, "--no-wait")
    try:
        (made,) = objects(restricted, "ksvc")
    finally:
        restricted.run("kn", "service", "delete", argv[3], "-n", NAMESPACE, "--wait")
    dry_run = ("apply", "--dry-run=server", "-o", "json", "-n", NAMESPACE, "-f", "knative/manifests/base/service.yaml")
    shipped = json.loads(restricted.run("kubectl", *dry_run))
    assert template(made) == template(shipped)
    assert made["metadata"]["name"] == shipped["metadata"]["name"]


def classify(url: str, samples_dir: Path) -> requests.Response:
    return requests.post(f"{url}/predict", data=(samples_dir / "cat.jpg").read_bytes(), timeout=120)


@pytest.fixture(scope="module")
def tuned(restricted: Cluster) -> str:
    """Deploy the overlay `tuned` for a Service of another name, and return the dispatcher's address."""
    knative(restricted, "deploy", "tuned", "--name", "cats", "--image", IMAGE)
    return dispatcher_service(restricted)


def dispatcher_service(cluster: Cluster) -> str:
    address = cluster.run(
        "kubectl", "get", "service/dispatcher-service", "-n", NAMESPACE, "-o", "jsonpath={.spec.clusterIP}"
    )
    return f"http://{address}:8001"


def dispatcher_pods(cluster: Cluster) -> list[dict[str, Any]]:
    return [pod for pod in objects(cluster, "pods") if pod["metadata"]["name"].startswith("dispatcher-")]


def control_key(cluster: Cluster) -> str:
    encoded = ("-o", "go-template={{.data.key | base64decode}}")
    return cluster.run("kubectl", "get", "secret", "dispatcher-control", "-n", NAMESPACE, *encoded)


def live_annotations(cluster: Cluster) -> dict[str, str]:
    (revision,) = objects(cluster, "revisions.serving.knative.dev")
    annotations: dict[str, str] = revision["metadata"]["annotations"]
    return annotations


def revision_pods(cluster: Cluster) -> list[dict[str, Any]]:
    return [pod for pod in objects(cluster, "pods") if "serving.knative.dev/revision" in pod["metadata"]["labels"]]


def test_tuned_answers_from_zero_while_the_controller_leads_and_moves_bounds(
    restricted: Cluster, tuned: str, samples_dir: Path
) -> None:
    wait_until(lambda: not revision_pods(restricted), "no pods of the classifier", timeout_s=180)
    answer = classify(tuned, samples_dir)
    assert answer.status_code == 200, answer.text
    assert answer.headers["X-Pod"].startswith("cats-00001")
    wait_until(lambda: live_annotations(restricted)[MIN_SCALE] != "0", "the controller has set min-scale", 60)
    status = knative(restricted, "status", "--name", "cats")
    rows = {line[:12].strip(): line[12:].strip() for line in status.splitlines()}
    assert rows["service"] == "cats, ready"
    assert rows["revision"] == "cats-00001, ready"
    assert re.fullmatch(r"min-scale \d, max-scale 8", rows["bounds"])
    assert rows["found"].startswith("min-scale 0, max-scale 8")
    assert rows["controllers"] == rows["dispatchers"] == "2 of 2 ready"
    assert rows["leader"].startswith("elastic-controller-")
    assert rows["healthy"] == "yes"
    assert len(status.splitlines()) == 10


def test_the_controller_tells_each_dispatcher_its_capacity(restricted: Cluster, tuned: str) -> None:
    key = control_key(restricted)
    assert len(key) == 64
    pods = dispatcher_pods(restricted)
    assert len(pods) == 2
    for pod in pods:
        url = f"http://{pod['status']['podIP']}:8011/queue"
        assert requests.get(url, timeout=30).status_code == 401

        def knows(url: str = url) -> bool:
            answer = requests.get(url, headers={"Authorization": f"Bearer {key}"}, timeout=30)
            return answer.json()["capacity"] is not None

        wait_until(knows, f"{pod['metadata']['name']} was told its capacity", timeout_s=30)


def test_a_rolled_dispatcher_and_controller_lose_no_request(restricted: Cluster, tuned: str, samples_dir: Path) -> None:
    """Restart both while requests flow, as an upgrade does."""
    stopped, statuses = threading.Event(), []

    def send() -> None:
        while not stopped.wait(0.05):
            statuses.append(classify(tuned, samples_dir).status_code)

    sending = threading.Thread(target=send)
    sending.start()
    try:
        for name in ("dispatcher", "elastic-controller"):
            restricted.run("kubectl", "rollout", "restart", "-n", NAMESPACE, f"deployment/{name}")
            restricted.run("kubectl", "rollout", "status", "-n", NAMESPACE, f"deployment/{name}", "--timeout=120s")
        wait_until(lambda: len(statuses) > 20, "more than 20 requests were answered, however fast the rollouts were")
    finally:
        stopped.set()
        sending.join(130)
    assert len(statuses) > 20
    assert set(statuses) == {200}


def test_a_full_dispatcher_stays_within_its_memory_limit(restricted: Cluster, tuned: str) -> None:
    """Without a controller, hold back requests until their bodies reach the byte bound, and then let them go."""
    restricted.run("kubectl", "scale", "-n", NAMESPACE, "deployment/elastic-controller", "--replicas=0")
    wait_until(lambda: not controller_pods(restricted), "the controllers are gone")
    pod = dispatcher_pods(restricted)[0]
    name, address = pod["metadata"]["name"], pod["status"]["podIP"]
    headers = {"Authorization": f"Bearer {control_key(restricted)}"}

    def announce(ready_pods: int) -> None:
        capacity = {"ready_pods": ready_pods, "concurrency": 1, "valid_s": 60}
        requests.put(f"http://{address}:8011/capacity", json=capacity, headers=headers, timeout=30).raise_for_status()

    body = os.urandom(9 * 1024 * 1024)
    statuses: list[int] = []

    def send() -> None:
        statuses.append(requests.post(f"http://{address}:8001/predict", data=body, timeout=200).status_code)

    announce(0)
    threads = [threading.Thread(target=send) for _ in range(40)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: len(statuses) == 12, "28 bodies of 9 MiB wait, and the others are refused", timeout_s=55)
    finally:
        announce(8)
        for thread in threads:
            thread.join(220)
    assert sorted(statuses) == [400] * 28 + [503] * 12  # they are no images
    (after,) = (pod for pod in dispatcher_pods(restricted) if pod["metadata"]["name"] == name)
    assert [status["restartCount"] for status in after["status"]["containerStatuses"]] == [0]


def controller_pods(cluster: Cluster) -> list[dict[str, Any]]:
    return [pod for pod in objects(cluster, "pods") if pod["metadata"]["name"].startswith("elastic-controller-")]


def test_another_layout_removes_what_it_does_not_have(restricted: Cluster, tuned: str) -> None:
    """From `tuned` to `private`, nothing is removed; the route leaves the gateway."""
    said = knative(restricted, "deploy", "private", "--name", "cats", "--image", IMAGE)
    assert "deleted" not in said
    wait_until(
        lambda: objects(restricted, "ksvc")[0]["status"]["url"] == f"http://cats.{NAMESPACE}.svc.cluster.local",
        "the route is private",
    )


def test_deleting_leaves_nothing_of_ours_and_a_service_of_the_user_as_it_was(
    restricted: Cluster, tuned: str, samples_dir: Path
) -> None:
    """`existing` works for a Service that somebody else made; deleting it gives that Service its bounds back."""
    knative(restricted, "delete", "--name", "cats")
    assert [
        thing["metadata"]["name"] for thing in objects(restricted, "ksvc,deployments,secrets,leases,pdb,roles")
    ] == []
    manifest = knative(restricted, "render", "--name", "theirs", "--image", IMAGE).replace(
        "app.kubernetes.io/part-of: elastic-ml-inference", "app.kubernetes.io/part-of: theirs"
    )
    restricted.run("kubectl", "apply", "-n", NAMESPACE, "-f", "-", given=manifest)
    restricted.run("kubectl", "wait", "-n", NAMESPACE, "--for=condition=Ready", "ksvc/theirs", "--timeout=120s")
    found = live_annotations(restricted)
    knative(restricted, "deploy", "existing", "--name", "theirs")
    address = dispatcher_service(restricted)
    assert classify(address, samples_dir).status_code == 200
    wait_until(lambda: live_annotations(restricted)[MIN_SCALE] != "0", "the controller has set min-scale", 60)
    knative(restricted, "delete", "--name", "theirs")
    after = live_annotations(restricted)
    assert (after[MIN_SCALE], after[MAX_SCALE]) == ("0", "8")
    assert after == found
    assert [thing["metadata"]["name"] for thing in objects(restricted, "ksvc")] == ["theirs"]
    left = [
        one
        for one in objects(restricted, "deployments,secrets,leases,pdb,roles")
        if not one["metadata"].get("ownerReferences")
    ]
    assert left == []
    restricted.run("kubectl", "delete", "ksvc", "theirs", "-n", NAMESPACE)


@pytest.fixture
def volume(restricted: Cluster, tmp_path: Path) -> Iterator[None]:
    """Offer the volume that Redis asks for; this cluster makes none by itself."""
    if shutil.which("redis-server") is None:
        pytest.skip("needs redis-server: apt-get install redis-server")
    folder = tmp_path / "redis"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    tmp_path.chmod(0o755)
    spec = {"capacity": {"storage": "4Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": str(folder)}}
    claim = {"claimRef": {"namespace": NAMESPACE, "name": "data-redis-0"}}
    restricted.apply(
        {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "redis"}, "spec": {**spec, **claim}}
    )
    yield
    restricted.run("kubectl", "delete", "pv", "redis", "--wait=false")


def test_plain_kubernetes_with_redis_serves_and_keeps_asynchronous_work(
    restricted: Cluster, volume: None, samples_dir: Path
) -> None:
    """Three replicas without Knative, and two dispatchers that share the work: either knows a job of the other."""
    knative(restricted, "deploy", "kubernetes", "--with", "redis", "--image", IMAGE)

    def three() -> bool:
        (found,) = (one for one in objects(restricted, "deployments") if one["metadata"]["name"] == "ml-app")
        return bool(found["status"].get("readyReplicas") == 3)

    wait_until(three, "the HPA has started three replicas")
    assert "healthy     yes" in knative(restricted, "status")
    address = dispatcher_service(restricted)
    assert classify(address.removesuffix("8001") + "80", samples_dir).status_code == 200
    body, headers = (samples_dir / "cat.jpg").read_bytes(), {"Prefer": "respond-async"}
    accepted = requests.post(f"{address}/predict", data=body, headers=headers, timeout=60)
    assert accepted.status_code == 202, accepted.text
    for pod in dispatcher_pods(restricted):
        job = f"http://{pod['status']['podIP']}:8001{accepted.headers['Location']}"
        wait_until(lambda job=job: "label" in requests.get(job, timeout=30).text, f"{job} is done")  # type: ignore[misc]
    knative(restricted, "delete", "--volumes")
    assert objects(restricted, "pvc,statefulsets,secrets") == []


def test_tuned_plain_kubernetes_serves_while_a_controller_leads_the_hpa(restricted: Cluster, samples_dir: Path) -> None:
    knative(restricted, "deploy", "kubernetes-tuned", "--image", IMAGE)
    assert classify(dispatcher_service(restricted), samples_dir).status_code == 200

    def is_led() -> bool:
        leases = [
            one for one in objects(restricted, "leases") if one["metadata"]["name"] == "elastic-kubernetes.ml-app"
        ]
        return any(lease["spec"].get("holderIdentity") for lease in leases)

    wait_until(is_led, "a controller leads the HPA")
    status = knative(restricted, "status")
    assert "healthy     yes" in status
    assert "controllers 2 of 2 ready" in status
    (hpa,) = objects(restricted, "hpa")
    assert hpa["spec"]["minReplicas"] >= 3
    knative(restricted, "delete")
    assert objects(restricted, "deployments,hpa,leases") == []


def test_why_pods_do_not_start_is_said(restricted: Cluster) -> None:
    said = knative(restricted, *("deploy", "kubernetes", "--image", "dev.local/no-such", "--timeout-s", "20"), status=1)
    assert "waiting: " in said
    assert "ErrImagePull" in said or "ImagePullBackOff" in said
    knative(restricted, "delete")
