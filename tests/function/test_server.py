"""The function as its image runs it: gunicorn with one worker."""

import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest
import requests

from function.startup import PHASES
from tests.paths import ROOT
from tests.ports import free_port, wait_for

COMMAND = [sys.executable, "-m", "gunicorn", "-c", "function/gunicorn.conf.py", "function.wsgi:app"]

pytestmark = pytest.mark.integration


class Pod:
    """One pod: a gunicorn process on a free port."""

    def __init__(self, model: Path, port: int = 0, **env: str) -> None:
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        settings = {"MODEL_DIR": str(model), "PORT": str(self.port), "HOST": "127.0.0.1", **env}
        self.process = subprocess.Popen(
            COMMAND, cwd=ROOT, env={**os.environ, **settings}, stderr=subprocess.PIPE, text=True
        )

    def ready(self) -> "Pod":
        try:
            wait_for(f"{self.url}/health/readiness")
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.kill()}") from error
        return self

    def kill(self) -> str:
        """End the master and its workers at once and return their log.

        A worker by itself takes seconds to notice that its master is gone.
        """
        workers: list[psutil.Process] = []
        with suppress(psutil.NoSuchProcess):
            workers = psutil.Process(self.process.pid).children()
        self.process.kill()
        for worker in workers:
            with suppress(psutil.NoSuchProcess):
                worker.kill()
        return self.process.communicate()[1]

    def predict(self, photograph: Path) -> requests.Response:
        return requests.post(f"{self.url}/predict", files={"file": photograph.read_bytes()}, timeout=60)


@pytest.fixture
def start(model_dir: Path) -> Iterator[Callable[..., Pod]]:
    started: list[Pod] = []

    def run(model: Path = model_dir, port: int = 0, **env: str) -> Pod:
        started.append(Pod(model, port, **env))
        return started[-1]

    yield run
    for pod in started:
        pod.kill()


def test_the_response_has_a_label_and_names_the_random_weights(start: Callable[..., Pod], samples_dir: Path) -> None:
    pod = start(POD_NAME="pod-1").ready()
    response = pod.predict(samples_dir / "cat.jpg")
    body = response.json()
    assert body["prediction"] == f"{body['label']}: {100 * body['confidence']:.1f}%"
    assert body["model"]["version"] == "random-seed-0"
    assert body["model"]["weights"].startswith("RANDOM WEIGHTS")
    assert response.headers["X-Pod"] == "pod-1"
    exported = requests.get(f"{pod.url}/metrics", timeout=10).text
    for phase in PHASES:
        assert f'function_cold_start_seconds{{phase="{phase}"}}' in exported


def test_the_serving_process_never_imports_torch(model_dir: Path) -> None:
    code = "import sys, function.wsgi; print([name for name in ('torch', 'torchvision', 'openvino') if name in sys.modules])"
    env = {**os.environ, "MODEL_DIR": str(model_dir)}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_worker_exits_when_its_master_is_killed(start: Callable[..., Pod]) -> None:
    pod = start().ready()
    worker = int(Path(f"/proc/{pod.process.pid}/task/{pod.process.pid}/children").read_text().split()[0])
    pod.process.send_signal(signal.SIGKILL)
    deadline_s = time.monotonic() + 10
    while Path(f"/proc/{worker}").exists() and "Z" not in Path(f"/proc/{worker}/stat").read_text().split()[2]:
        assert time.monotonic() < deadline_s, "the worker is still running"
        time.sleep(0.1)


def test_a_changed_engine_file_is_refused_and_named(start: Callable[..., Pod], model_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(model_dir, tmp_path / "model")
    with (tmp_path / "model/resnet18.prepared.onnx.data").open("r+b") as file:
        file.seek(1000)
        file.write(b"changed")
    pod = start(tmp_path / "model")
    _, err = pod.process.communicate(timeout=60)
    assert pod.process.returncode != 0
    assert "resnet18.prepared.onnx.data must have SHA-256" in err
    assert "Traceback" not in err


def test_a_port_in_use_exits_with_2_and_names_the_process(start: Callable[..., Pod]) -> None:
    first = start().ready()
    second = start(port=first.port)
    _, err = second.process.communicate(timeout=60)
    assert second.process.returncode == 2
    assert re.fullmatch(
        rf"function: cannot bind 127\.0\.0\.1:{first.port}: process \d+ \(.+\) is listening on it\n", err
    )


@pytest.mark.parametrize("port", [8012, 8013, 8022, 9090, 9091])
def test_a_port_of_knatives_queue_proxy_is_refused(start: Callable[..., Pod], port: int) -> None:
    pod = start(port=port)
    _, err = pod.process.communicate(timeout=60)
    assert pod.process.returncode == 2
    assert err == (
        "function: PORT must not be one of 8012, 8013, 8022, 9090, 9091, on which Knative's queue-proxy listens in a pod, "
        f"got {port}\n"
    )


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({"THREADS": "four"}, "function: THREADS must be an integer, got 'four'\n"),
        ({"THREADS": "0"}, "function: THREADS must be at least 1, got 0\n"),
        ({"GRACEFUL_TIMEOUT_S": "x"}, "function: GRACEFUL_TIMEOUT_S must be an integer, got 'x'\n"),
    ],
)
def test_an_invalid_setting_of_the_server_exits_with_2(
    start: Callable[..., Pod], env: dict[str, str], message: str
) -> None:
    pod = start(**env)
    _, err = pod.process.communicate(timeout=60)
    assert (pod.process.returncode, err) == (2, message)


def cold_start_s(pod: Pod) -> float:
    """Return the time from the start of the process until ready that the pod exports."""
    (line,) = [
        line
        for line in requests.get(f"{pod.url}/metrics", timeout=60).text.splitlines()
        if line.startswith('function_cold_start_seconds{phase="ready"}')
    ]
    return float(line.split()[1])


def test_a_replacement_worker_exports_its_own_cold_start(start: Callable[..., Pod]) -> None:
    began_s = time.monotonic()
    pod = start().ready()
    first_s = cold_start_s(pod)
    time.sleep(max(1.0, 3 * first_s))
    (worker,) = psutil.Process(pod.process.pid).children()
    worker.kill()
    worker.wait(60)
    killed_s = time.monotonic() - began_s
    pod.ready()
    assert cold_start_s(pod) < killed_s


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", "cannot read the request body"),
        (b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n0\r\n\r\n", "cannot read the request body"),
        (
            b"Content-Length: 5000\r\n\r\n" + b"a" * 10,
            "the request body must have the 5000 bytes of its Content-Length",
        ),
    ],
    ids=["malformed chunk", "chunk without its end", "truncated body"],
)
def test_a_malformed_body_gets_400(start: Callable[..., Pod], request_: bytes, words: str) -> None:
    pod = start().ready()
    with socket.create_connection(("127.0.0.1", pod.port), timeout=60) as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: pod\r\n" + request_)
        connection.shutdown(socket.SHUT_WR)
        response = http.client.HTTPResponse(connection, method="POST")
        response.begin()
        assert response.status == 400
        assert words in response.read().decode()


def test_idle_and_stalled_clients_do_not_delay_others(start: Callable[..., Pod]) -> None:
    """Forty clients stay idle, which plain gthread takes 100 s to clear; then one client per thread stalls in its request."""
    pod = start(THREADS="2").ready()
    address = ("127.0.0.1", pod.port)
    with ExitStack() as clients:
        for _ in range(40):
            clients.enter_context(socket.create_connection(address, timeout=60))
        assert requests.get(f"{pod.url}/health/liveness", timeout=60).status_code == 200
        stalled = []
        for head in (b"POST /predict HTTP/1.1\r\nHost:", b"POST /predict HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc"):
            stalled.append(clients.enter_context(socket.create_connection(address, timeout=60)))
            stalled[-1].sendall(head)
        assert requests.get(f"{pod.url}/health/liveness", timeout=60).status_code == 200
        assert [b" 408 " in client.recv(100) for client in stalled] == [True, True]
        pod.process.terminate()
        assert pod.process.wait(60) == 0


def test_a_pod_that_is_stopped_during_its_start_exits_with_0(start: Callable[..., Pod]) -> None:
    pod = start()
    while not (children := psutil.Process(pod.process.pid).children()):
        time.sleep(0.005)
    time.sleep(0.05)
    pod.process.terminate()
    _, err = pod.process.communicate(timeout=60)
    assert (pod.process.returncode, len(children)) == (0, 1)
    assert "Traceback" not in err


SLOW = f"""
exec(open({str(ROOT / "function" / "gunicorn.conf.py")!r}).read())

def post_fork(server, worker):
    import time
    time.sleep(3)
"""


def test_a_worker_that_was_just_forked_can_be_stopped(model_dir: Path, tmp_path: Path) -> None:
    """A worker sets its own signal handlers later, here after 3 s; those of its master only record signals."""
    (tmp_path / "slow.conf.py").write_text(SLOW)
    settings = {"MODEL_DIR": str(model_dir), "PORT": str(free_port()), "HOST": "127.0.0.1", "GRACEFUL_TIMEOUT_S": "600"}
    command = [word.replace("function/gunicorn.conf.py", str(tmp_path / "slow.conf.py")) for word in COMMAND]
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ, **settings}, stderr=subprocess.DEVNULL) as process:
        try:
            while not psutil.Process(process.pid).children():
                time.sleep(0.005)
            process.terminate()
            assert process.wait(60) == 0
        finally:
            process.kill()


def test_a_pod_imports_a_protocol_with_its_first_request(model_dir: Path) -> None:
    late = [
        "cloudevents",
        "function.outbound",
        *(f"function.protocols.{name}" for name in ("v1", "v2", "cloudevents", "openapi")),
    ]
    code = f"import sys, function.wsgi; print([name for name in {late} if name in sys.modules])"
    env = {**os.environ, "MODEL_DIR": str(model_dir)}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
