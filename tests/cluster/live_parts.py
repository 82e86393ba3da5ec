"""What tests of faults and roll-outs share: Services of the stub, our own processes, and a load with its ledger."""

import json
import re
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from knative.errors import ClusterError
from knative.objects import AUTOSCALING_GROUP, SERVICE_LABEL, Json, living_pods
from tests.cluster.cluster import NAMESPACE, Cluster, wait_until
from tests.cluster.conftest import Start
from tests.paths import ROOT
from tests.ports import free_port, wait_for

SYSTEM = "knative-serving"
STUB_IMAGE = "dev.local/stub"
PYTHON = "/usr/bin/python3"
START_S = 3.0
MAX_PODS = 8


def add_stub_image(cluster: Cluster) -> None:
    """Map an image to a stub that starts in 3 s and serves a request in 0.1 s, 0.005 s of which is processor time."""
    script = ROOT / "tests/cluster/stub_service.py"
    env = {"START_S": f"{START_S:g}", "SERVICE_S": "0.1", "CPU_S": "0.005"}
    entry = {"argv": [PYTHON, "-I", "-S", str(script)], "env": env, "files": {str(ROOT): str(ROOT)}}
    cluster.add_image(STUB_IMAGE, entry)


def stub_manifest(name: str, annotations: Mapping[str, str]) -> Json:
    """Return a Service of the stub; annotations are named without their group."""
    resources = {"requests": {"cpu": "50m"}, "limits": {"cpu": "1"}}
    named = {f"{AUTOSCALING_GROUP}/{key}": value for key, value in annotations.items()}
    containers = [{"image": STUB_IMAGE, "resources": resources}]
    spec = {"containerConcurrency": 1, "timeoutSeconds": 60, "containers": containers}
    return {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"template": {"metadata": {"annotations": named}, "spec": spec}},
    }


@contextmanager
def stub_services(cluster: Cluster, services: Mapping[str, Mapping[str, str]]) -> Iterator[None]:
    """Deploy Services of the stub by name, with these annotations, and delete them afterwards."""
    add_stub_image(cluster)
    items = [stub_manifest(name, annotations) for name, annotations in services.items()]
    names = [f"ksvc/{name}" for name in services]
    cluster.apply({"apiVersion": "v1", "kind": "List", "items": items})
    try:
        cluster.run("kubectl", "wait", "-n", NAMESPACE, "--for=condition=Ready", *names, "--timeout=150s")
        yield
    finally:
        cluster.run("kubectl", "delete", "-n", NAMESPACE, "--wait=false", *names)


@contextmanager
def observed(cluster: Cluster, settings: Mapping[str, str], *names: str) -> Iterator[None]:
    """Set these keys of Knative's config-observability, and remove them afterwards.

    names: Knative's Deployments that are restarted, because they read the keys at their start.
    """
    _observe(cluster, settings, names)
    try:
        yield
    finally:
        _observe(cluster, dict.fromkeys(settings), names)


def _observe(cluster: Cluster, settings: Mapping[str, str | None], names: Sequence[str]) -> None:
    patch = json.dumps({"data": settings})
    cluster.run("kubectl", "patch", "configmap", "config-observability", "-n", SYSTEM, "--type=merge", "-p", patch)
    deployments = [f"deployment/{name}" for name in names]
    cluster.run("kubectl", "rollout", "restart", "-n", SYSTEM, *deployments)
    cluster.run("kubectl", "rollout", "status", "-n", SYSTEM, *deployments, "--timeout=150s")


@dataclass(frozen=True, slots=True)
class Dispatcher:
    """A dispatcher process: its address for clients, and that for the controller."""

    process: subprocess.Popen[bytes]
    url: str
    control_url: str


def start_dispatcher(start: Start, cluster: Cluster, service: str, *flags: str) -> Dispatcher:
    """Start a dispatcher in front of the Service's route, and wait until it is ready."""
    port, control_port = free_port(), free_port()
    process = start(
        *("dispatcher", "--host", "127.0.0.1", "--port", str(port), "--control-port", str(control_port)),
        *("--ml-service-url", f"http://{cluster.gateway}", "--ml-service-host", cluster.host(service), *flags),
    )
    dispatcher = Dispatcher(process, f"http://127.0.0.1:{port}", f"http://127.0.0.1:{control_port}")
    wait_for(f"{dispatcher.url}/readyz", timeout_s=120)
    return dispatcher


@dataclass(frozen=True, slots=True)
class Controller:
    """A controller process, the address of its status and its log."""

    process: subprocess.Popen[bytes]
    url: str
    log_file: Path

    @property
    def log(self) -> str:
        """Return what it has logged so far."""
        return self.log_file.read_text()

    @property
    def led(self) -> bool:
        """Return whether it leads or has led."""
        return "this controller leads" in self.log

    def announces(self) -> bool:
        """Return whether it announces capacity to the dispatchers."""
        metrics = requests.get(f"{self.url}/metrics", timeout=30).text
        return re.search(r"^autoscaler_announcing(?:\{.*\})? 1", metrics, re.MULTILINE) is not None

    def stop(self) -> None:
        """Stop it with SIGTERM, upon which it gives back what it found."""
        self.process.terminate()
        self.process.wait(60)


def start_controller(start: Start, folder: Path, service: str, control_urls: Sequence[str]) -> Controller:
    """Start a controller of the Service; wait until it has carried out a decision, or another one leads."""
    port = free_port()
    log = folder / f"controller-{service}-{port}.log"
    process = start(
        *("autoscaler_tuning", "control", "--target", "knative", "--policy", "elastic", "--service", service),
        *("--dispatcher", ",".join(control_urls), "--namespace", NAMESPACE, "--port", str(port)),
        *("--max-pods", str(MAX_PODS)),
        log=log,
    )
    controller = Controller(process, f"http://127.0.0.1:{port}", log)
    wait_for(f"{controller.url}/", timeout_s=120)
    return controller


def start_pairs(
    start: Start, cluster: Cluster, folder: Path, services: Sequence[str]
) -> list[tuple[Dispatcher, Controller]]:
    """Start a dispatcher and a controller for each Service, all at the same time."""

    def pair(service: str) -> tuple[Dispatcher, Controller]:
        dispatcher = start_dispatcher(start, cluster, service)
        return dispatcher, start_controller(start, folder, service, [dispatcher.control_url])

    with ThreadPoolExecutor() as threads:
        return list(threads.map(pair, services))


@dataclass(frozen=True, slots=True)
class Seen:
    """The pods of a Service that start or are ready, and the annotations of the watched Revisions, at one moment."""

    at_s: float
    pods: int
    annotations: Mapping[str, Mapping[str, str]]

    def min_scale(self, revision: str) -> int:
        """Return the Revision's min-scale."""
        return int(self.annotations[revision].get("min-scale", "0"))


class Watch:
    """Records the pods and the annotations of Revisions about four times a second, in a thread."""

    def __init__(self, cluster: Cluster, service: str, revisions: Sequence[str]) -> None:
        self._client, self._service, self._revisions = cluster.client(), service, tuple(revisions)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._record, daemon=True)
        self.rows: list[Seen] = []

    @property
    def most_pods(self) -> int:
        """Return the largest number of pods that was seen."""
        return max((row.pods for row in self.rows), default=0)

    def since(self, at_s: float) -> list[Seen]:
        """Return the rows from this moment on."""
        return [row for row in self.rows if row.at_s >= at_s]

    def _record(self) -> None:
        while not self._stopped.wait(0.25):
            try:
                pods = living_pods(self._client.api.pods(f"{SERVICE_LABEL}={self._service}"))
                annotations = {name: self._client.annotations(name) for name in self._revisions}
            except ClusterError:
                continue  # the API server is away
            count = sum(pod.phase != "terminating" for pod in pods)
            self.rows.append(Seen(time.monotonic(), count, annotations))

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join(30)


def wait_for_no_pods(cluster: Cluster, *services: str, timeout_s: float = 240) -> None:
    """Wait until the Services have no pods, not counting terminating ones."""
    client = cluster.client()

    def none_left() -> bool:
        pods = [pod for name in services for pod in living_pods(client.api.pods(f"{SERVICE_LABEL}={name}"))]
        return all(pod.phase == "terminating" for pod in pods)

    wait_until(none_left, f"no pods of {', '.join(services)}", timeout_s=timeout_s, every_s=0.5)
