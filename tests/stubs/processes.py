"""Starts stub pods and what stands in front of them, each in a process of its own, and ends them by their ids."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

import psutil
import pytest

from tests.paths import ROOT
from tests.ports import free_port, wait_for_port


@dataclass(frozen=True, slots=True)
class Running:
    """A process that listens on a port."""

    port: int
    popen: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        return self.popen.pid

    def cpu_s(self) -> float:
        """Return the CPU time of its threads so far."""
        return float(sum(psutil.Process(self.pid).cpu_times()[:2]))

    def resident_bytes(self) -> int:
        return int(psutil.Process(self.pid).memory_info().rss)

    def ask(self, method: str, path: str, body: object = None, port: int | None = None) -> dict[str, object]:
        """Send one request and return the JSON object of the answer; raise AssertionError unless it is a 200."""
        connection = HTTPConnection("127.0.0.1", port or self.port, timeout=30)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            response = connection.getresponse()
            text = response.read()
        finally:
            connection.close()
        assert response.status == 200, text
        found = json.loads(text)
        assert isinstance(found, dict)
        return found


def pinned(command: Sequence[str], cpu: int | None) -> list[str]:
    """Return the command, kept on one CPU if one is named."""
    return [*command] if cpu is None else ["taskset", "-c", str(cpu), *command]


@contextmanager
def running(command: Sequence[str], port: int, cpu: int | None = None, log: Path | None = None) -> Iterator[Running]:
    """Run a command until the end of the block; raise AssertionError if it does not listen on the port within a minute.

    It gets SIGTERM at the end, and SIGKILL if it has not ended 10 s later. log: gets what it prints, appended.
    """
    inherited = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryDirectory() as folder:
        out = log or Path(folder) / "printed.txt"
        with out.open("ab") as printed:
            process = subprocess.Popen(pinned(command, cpu), cwd=ROOT, env=inherited, stdout=printed, stderr=printed)
        try:
            assert listens(process, port), f"{command} does not listen on {port}: {out.read_text()[-2000:]}"
            yield Running(port, process)
        finally:
            end(process)


def listens(process: subprocess.Popen[bytes], port: int, timeout_s: float = 60) -> bool:
    """Wait until a process accepts connections; return False if it ends, or after the timeout."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.02)
    return False


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to end, and kill it 10 s later."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def stub_pods(
    count: int, service_s: float, cpu: int | None = None, log: Path | None = None, concurrency: int = 1
) -> Iterator[list[int]]:
    """Run several stub pods in one process; yield their ports."""
    ports = [free_port() for _ in range(count)]
    words = [",".join(map(str, ports)), "--service-s", str(service_s), "--concurrency", str(concurrency)]
    words += [] if log is None else ["--log", str(log)]
    with running([sys.executable, "-m", "tests.stubs.pod", *words], ports[-1], cpu):
        yield ports


def urls(ports: Sequence[int]) -> str:
    """Return the base URLs as --ml-service-url has them."""
    return ",".join(f"http://127.0.0.1:{port}" for port in ports)


@dataclass(frozen=True, slots=True)
class RunningDispatcher(Running):
    """`python -m dispatcher` with its port for the controller."""

    control_port: int

    def set_capacity(self, ready_pods: int, valid_s: float = 30.0, concurrency: int = 1) -> None:
        """Announce pods, as the controller does."""
        body = {"ready_pods": ready_pods, "concurrency": concurrency, "valid_s": valid_s}
        self.ask("PUT", "/capacity", body, self.control_port)

    def signals(self) -> dict[str, object]:
        """Return what the controller reads."""
        return self.ask("GET", "/signals", port=self.control_port)

    def wait_until_waiting(self, count: int, timeout_s: float = 60) -> None:
        """Wait until so many requests wait, no fewer."""
        deadline_s = time.monotonic() + timeout_s
        while (waiting := self.signals()["waiting"]) < count:  # type: ignore[operator]
            assert time.monotonic() < deadline_s, f"{waiting} of {count} requests wait after {timeout_s} s"
            time.sleep(0.05)


@contextmanager
def dispatcher(
    pods: Sequence[int], *flags: str, port: int | None = None, cpu: int | None = None, log: Path | None = None
) -> Iterator[RunningDispatcher]:
    """Run a dispatcher in front of pods until the end of the block."""
    port, control_port = port or free_port(), free_port()
    command = [sys.executable, "-m", "dispatcher", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--control-port", str(control_port), "--ml-service-url", urls(pods), *flags]
    with running(command, port, cpu, log) as found:
        wait_for_port(control_port)
        yield RunningDispatcher(port, found.popen, control_port)


@contextmanager
def announced(found: RunningDispatcher, ready_pods: int) -> Iterator[None]:
    """Announce pods each second, as the controller does, until the end of the block."""
    stop = threading.Event()

    def announce() -> None:
        while not stop.wait(1):
            found.set_capacity(ready_pods, 5)

    found.set_capacity(ready_pods, 5)
    thread = threading.Thread(target=announce, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


HAPROXY = """
global
  maxconn 8000
  nbthread 1
defaults
  mode http
  timeout connect 5s
  timeout client 120s
  timeout server 120s
  timeout queue {queue_ms}ms
  option abortonclose
  http-reuse always
frontend clients
  bind 127.0.0.1:{port}
  default_backend pods
backend pods
  balance leastconn
{servers}
"""


@contextmanager
def haproxy(
    pods: Sequence[int], folder: Path, maxconn: int = 1, queue_s: float = 120, cpu: int | None = None
) -> Iterator[Running]:
    """Run HAProxy with a queue in front of pods, each of which gets `maxconn` requests at once; skip without HAProxy."""
    program = shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        pytest.skip("needs HAProxy: apt-get install haproxy")
    port = free_port()
    servers = "\n".join(f"  server pod{pod} 127.0.0.1:{pod} maxconn {maxconn}" for pod in pods)
    config = folder / f"haproxy-{port}.cfg"
    config.write_text(HAPROXY.format(port=port, queue_ms=round(1000 * queue_s), servers=servers))
    with running([program, "-db", "-f", str(config)], port, cpu) as found:
        yield found


@contextmanager
def token_bucket(pods: Sequence[int], rate_rps: float, burst: int, cpu: int | None = None) -> Iterator[Running]:
    """Run a plain token bucket in front of pods."""
    port = free_port()
    words = [str(port), str(rate_rps), str(burst), ",".join(map(str, pods))]
    with running([sys.executable, "-m", "tests.stubs.bucket", *words], port, cpu) as found:
        yield found
