"""The local stack: scaling from zero and back, and no process left behind however it ends."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import psutil
import pytest
import requests

from tests.paths import ROOT
from tests.ports import free_port

TUNING = [sys.executable, "-m", "autoscaler_tuning"]

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]


def wait_until(holds: Callable[[], bool], what: str, timeout_s: float = 60) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline_s, f"not reached within {timeout_s} s: {what}"
        time.sleep(0.1)


def descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        return list(process.children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def pods_of(processes: list[psutil.Process]) -> list[psutil.Process]:
    found = []
    for process in processes:
        try:
            if any("gunicorn" in word for word in process.cmdline()):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return found


def is_gone(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def demo(model_dir: Path, folder: Path) -> subprocess.Popen[str]:
    command = [*TUNING, "demo", "--model-dir", str(model_dir), "--out", str(folder / "report")]
    command += ["--log-dir", str(folder / "run"), "--seconds", "60", "--policies", "elastic"]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "kill -9"])
def test_an_interrupted_demo_leaves_no_process(model_dir: Path, tmp_path: Path, number: signal.Signals) -> None:
    process = demo(model_dir, tmp_path)
    root = psutil.Process(process.pid)
    try:
        wait_until(lambda: len(pods_of(descendants(root))) >= 2, "a pod runs, as gunicorn's master and worker")
        everything = [root, *descendants(root)]
        process.send_signal(number)
        # an idle machine needs ten seconds, a busy one may need longer
        wait_until(lambda: all(is_gone(one) for one in everything), "all processes are gone", timeout_s=30)
    finally:
        process.kill()
    out, _ = process.communicate(timeout=30)
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert "Traceback" not in out


def test_up_answers_from_zero_scales_back_to_zero_and_answers_again(
    model_dir: Path, tmp_path: Path, samples_dir: Path
) -> None:
    port = free_port()
    flags = ["--log-dir", str(tmp_path / "run")]
    ports = ["--port", str(port), "--control-port", str(free_port()), "--controller-port", str(free_port())]
    up = [*TUNING, "up", "--model-dir", str(model_dir), *ports, *flags]
    done = subprocess.run(up, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    try:
        assert done.returncode == 0, done.stderr
        assert f"curl -F file=@samples/cat.jpg 127.0.0.1:{port}/add_to_queue" in done.stdout
        state = json.loads((tmp_path / "run/stack.json").read_text())
        processes = [psutil.Process(entry["pid"]) for entry in state]

        def pods() -> list[psutil.Process]:
            return pods_of([child for process in processes for child in descendants(process)])

        def ask() -> requests.Response:
            with (samples_dir / "cat.jpg").open("rb") as image:
                return requests.post(f"http://127.0.0.1:{port}/add_to_queue", files={"file": image}, timeout=60)

        assert pods() == []
        assert ask().json()["queue_size"] == 0
        assert pods()
        again = subprocess.run(up, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
        assert again.returncode == 1
        assert "already running; stop it with `make down`" in again.stderr
        os.kill(pods()[0].pid, signal.SIGKILL)  # another pod replaces it
        assert ask().status_code == 200
        wait_until(lambda: pods() == [], "no pods after a minute without requests", timeout_s=120)
        with ThreadPoolExecutor(100) as clients:  # a burst at zero pods
            assert [answer.status_code for answer in clients.map(lambda _: ask(), range(100))] == [200] * 100
    finally:
        subprocess.run([*TUNING, "down", *flags], cwd=ROOT, timeout=120, check=True)
    assert all(is_gone(process) for process in processes)


@contextmanager
def silent_server() -> Iterator[int]:
    """Yield the port of a server that accepts connections and sends nothing."""
    with socket.socket() as holder:
        holder.bind(("0.0.0.0", 0))
        holder.listen()
        yield holder.getsockname()[1]


@contextmanager
def web_server() -> Iterator[int]:
    """Yield the port of a server that responds to every GET with 200."""

    class Always(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("0.0.0.0", 0), Always) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.mark.parametrize("taken", ["--port", "--control-port", "--controller-port"])
@pytest.mark.parametrize("server", [silent_server, web_server])
def test_up_on_a_taken_port_exits_with_2_names_the_process_and_leaves_nothing(
    tmp_path: Path, taken: str, server: Callable[[], AbstractContextManager[int]]
) -> None:
    with server() as port:
        ports = {flag: str(free_port()) for flag in ("--port", "--control-port", "--controller-port")} | {
            taken: str(port)
        }
        flags = [word for pair in ports.items() for word in pair]
        up = [*TUNING, "up", "--log-dir", str(tmp_path), *flags]
        done = subprocess.run(up, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert f":{port}: process {os.getpid()} (" in done.stderr
    assert ") is listening on it" in done.stderr
    assert not (tmp_path / "stack.json").exists()
