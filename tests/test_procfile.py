"""Each line of a Procfile starts its process on $PORT, with only that component's own requirements installed."""

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import requests
import yaml

from knative.objects import ScaleBounds, revision_patch
from tests.component_env import component_environment
from tests.knative.fake_api import pod_json, ready, revision_json, service_json
from tests.paths import ROOT
from tests.ports import free_port, wait_for

REQUIREMENTS = {
    "web": ROOT / "function/requirements.txt",
    "dispatcher": ROOT / "dispatcher/requirements.txt",
    "controller": ROOT / "autoscaler_tuning/requirements.txt",
}
COMPONENT_FILES = shutil.ignore_patterns("__pycache__", "model")

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("procfile"), pytest.mark.timeout(600)]

Start = Callable[..., str]


def lines(procfile: Path) -> dict[str, str]:
    """Return the commands by process type."""
    return dict(line.split(": ", 1) for line in procfile.read_text().splitlines())


@pytest.fixture(scope="session")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, str]]:
    """Return a function that returns the environment of a process type, created on first use."""
    made: dict[str, dict[str, str]] = {}

    def environment(process: str) -> dict[str, str]:
        if process not in made:
            made[process] = component_environment(REQUIREMENTS[process], tmp_path_factory.mktemp(process) / "venv")
        return made[process]

    return environment


@pytest.fixture
def start(environments: Callable[[str], dict[str, str]]) -> Iterator[Start]:
    """Return a function that runs a line in a shell with PORT, as a platform does, and waits until its URL responds."""
    started: list[subprocess.Popen[bytes]] = []

    def run(process: str, folder: Path, **env: str) -> str:
        port, control_port = free_port(), env.get("CONTROL_PORT") or str(free_port())
        started.append(
            subprocess.Popen(
                ["sh", "-c", f"exec {lines(folder / 'Procfile')[process]}"],
                cwd=folder,
                env={
                    **environments(process),
                    "PORT": str(port),
                    "HOST": "127.0.0.1",
                    "CONTROL_PORT": control_port,
                    **env,
                },
                start_new_session=True,
            )
        )
        wait_for(f"http://127.0.0.1:{port}/")
        return f"http://127.0.0.1:{port}"

    yield run
    for process in started:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


def predicts(url: str, image: Path) -> bool:
    """Return whether an image is answered with a label."""
    answer = requests.post(f"{url}/predict", files={"file": image.read_bytes()}, timeout=60)
    return answer.status_code == 200 and bool(answer.json()["label"])


def test_a_components_environment_contains_its_packages_and_no_others(
    environments: Callable[[str], dict[str, str]],
) -> None:
    code = "import importlib.util as u; print([name for name in ('flask', 'aiohttp', 'scipy', 'torch', 'pytest') if u.find_spec(name)])"
    found = {
        process: subprocess.check_output(["python", "-c", code], env=environments(process), text=True).strip()
        for process in REQUIREMENTS
    }
    assert found == {
        "web": "['flask']",
        "dispatcher": "['aiohttp']",
        "controller": "['aiohttp', 'scipy']",
    }


def test_web_classifies_images(start: Start, model_dir: Path, samples_dir: Path) -> None:
    assert predicts(start("web", ROOT, MODEL_DIR=str(model_dir)), samples_dir / "cat.jpg")


def test_web_runs_from_a_copy_of_its_folder_alone(
    start: Start, model_dir: Path, samples_dir: Path, tmp_path: Path
) -> None:
    """As in a buildpack: only the folder `function` is present, under another name and with the model inside."""
    shutil.copytree(ROOT / "function", tmp_path / "workspace", ignore=COMPONENT_FILES)
    shutil.copytree(model_dir, tmp_path / "workspace/model")
    assert predicts(start("web", tmp_path / "workspace"), samples_dir / "cat.jpg")


def test_dispatcher_forwards_images(start: Start, model_dir: Path, samples_dir: Path) -> None:
    pod = start("web", ROOT, MODEL_DIR=str(model_dir))
    assert predicts(start("dispatcher", ROOT, ML_SERVICE_URL=pod), samples_dir / "cat.jpg")


class Cluster(BaseHTTPRequestHandler):
    """An API server with the objects that the controller reads and the one that it patches."""

    patches: ClassVar[list[Any]] = []
    OBJECTS: ClassVar[Mapping[str, Any]] = {
        "services/resnet18": service_json("resnet18", {"revisionName": "resnet18-00001", "percent": 100}),
        "revisions/resnet18-00001": revision_json("resnet18-00001", min_scale="0", max_scale="8"),
        "pods": {"items": [pod_json("a", "resnet18-00001", ready())]},
    }

    def do_GET(self) -> None:
        body = json.dumps(self.OBJECTS[self.path.partition("/namespaces/default/")[2].partition("?")[0]]).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_PATCH(self) -> None:
        self.patches.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Iterator[Path]:
    """Return the kubeconfig file of a fake API server on this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Cluster)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    config = {
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "users": [{"name": "u", "user": {}}],
        "current-context": "c",
    }
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    yield tmp_path / "kubeconfig"
    server.shutdown()


def test_controller_reads_the_cluster_and_writes_bounds(kubeconfig: Path, start: Start) -> None:
    control_port = str(free_port())
    start("dispatcher", ROOT, CONTROL_PORT=control_port)
    url = start("controller", ROOT, KUBECONFIG=str(kubeconfig), DISPATCHER=f"http://127.0.0.1:{control_port}")
    deadline_s = time.monotonic() + 60
    while not Cluster.patches:
        assert time.monotonic() < deadline_s, "the controller has written no bounds"
        time.sleep(0.1)
    assert Cluster.patches[0] == revision_patch(ScaleBounds(0, 1))
    assert "autoscaler_wanted_pods" in requests.get(url, timeout=10).text
