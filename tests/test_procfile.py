"""Each line of a Procfile starts its process on $PORT, with only that component's own requirements installed."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from tests.component_env import component_environment
from tests.knative.fake_api import FakeApi, pod_json, ready, revision_json, service_json
from tests.knative.fake_server import FakeServer, write_kubeconfig
from tests.paths import ROOT
from tests.ports import free_port, wait_for

REQUIREMENTS = {
    "web": ROOT / "function/requirements.txt",
    "dispatcher": ROOT / "dispatcher/requirements.txt",
    "controller": ROOT / "autoscaler_tuning/requirements.txt",
}
COMPONENT_FILES = shutil.ignore_patterns("__pycache__", "model")

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("procfile"), pytest.mark.timeout(600)]


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


class Processes:
    """Runs lines of a Procfile in a shell with PORT, as a platform does."""

    def __init__(self, environments: Callable[[str], dict[str, str]]) -> None:
        self._environments = environments
        self._started: list[subprocess.Popen[bytes]] = []

    def __call__(self, process: str, folder: Path, **env: str) -> str:
        """Start the line and return its URL once it responds."""
        port = free_port()
        env = {"CONTROL_PORT": str(free_port()), **env}
        self._started.append(
            subprocess.Popen(
                ["sh", "-c", f"exec {lines(folder / 'Procfile')[process]}"],
                cwd=folder,
                env={**self._environments(process), "PORT": str(port), "HOST": "127.0.0.1", **env},
                start_new_session=True,
            )
        )
        wait_for(f"http://127.0.0.1:{port}/")
        return f"http://127.0.0.1:{port}"

    def stop(self) -> None:
        """Stop the processes, the last one first."""
        while self._started:
            process = self._started.pop()
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(60)


@pytest.fixture
def start(environments: Callable[[str], dict[str, str]]) -> Iterator[Processes]:
    """Return a function that starts a process; all are stopped after the test."""
    processes = Processes(environments)
    yield processes
    processes.stop()


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


def test_web_classifies_images(start: Processes, model_dir: Path, samples_dir: Path) -> None:
    assert predicts(start("web", ROOT, MODEL_DIR=str(model_dir)), samples_dir / "cat.jpg")


def test_web_runs_from_a_copy_of_its_folder_alone(
    start: Processes, model_dir: Path, samples_dir: Path, tmp_path: Path
) -> None:
    """As in a buildpack: only the folder `function` is present, under another name and with the model inside."""
    shutil.copytree(ROOT / "function", tmp_path / "workspace", ignore=COMPONENT_FILES)
    shutil.copytree(model_dir, tmp_path / "workspace/model")
    assert predicts(start("web", tmp_path / "workspace"), samples_dir / "cat.jpg")


def test_dispatcher_forwards_images(start: Processes, model_dir: Path, samples_dir: Path) -> None:
    pod = start("web", ROOT, MODEL_DIR=str(model_dir))
    assert predicts(start("dispatcher", ROOT, ML_SERVICE_URL=pod), samples_dir / "cat.jpg")


def test_controller_writes_the_bounds_of_a_revision_and_gives_them_back(start: Processes, tmp_path: Path) -> None:
    api = FakeApi(
        services=[service_json("resnet18", {"revisionName": "resnet18-00001", "percent": 100})],
        revisions=[revision_json("resnet18-00001", min_scale="1", max_scale="8")],
        pods=[pod_json("a", "resnet18-00001", ready())],
    )
    found = api.annotations("resnet18-00001")
    control_port = str(free_port())
    start("dispatcher", ROOT, CONTROL_PORT=control_port)
    dispatcher = f"http://127.0.0.1:{control_port}"
    with FakeServer(api).running() as server:
        kubeconfig = write_kubeconfig(tmp_path, server.url)
        url = start("controller", ROOT, KUBECONFIG=str(kubeconfig), DISPATCHER=dispatcher)
        written = {"min-scale": "1", "max-scale": "8", "target-utilization-percentage": "100", "window": "6s"}
        assert api.annotations("resnet18-00001") == written
        assert "autoscaler_wanted_pods" in requests.get(f"{url}/metrics", timeout=10).text
        start.stop()
        assert api.annotations("resnet18-00001") == found
