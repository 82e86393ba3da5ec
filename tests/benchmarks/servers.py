"""Servers to be measured, each in its own processes: their CPU time and memory."""

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.paths import ROOT
from tests.ports import free_port

BOUNDARY = "an-image-follows"


def form(image: bytes) -> bytes:
    """Return the multipart body that browsers and curl send for a file."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n'
    return head.encode() + b"Content-Type: image/jpeg\r\n\r\n" + image + f"\r\n--{BOUNDARY}--\r\n".encode()


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    port: int
    process: psutil.Process
    began_s: float

    def family(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]

    def cpu_s(self) -> float:
        """Return the CPU time of all its processes and threads so far."""
        return float(sum(sum(one.cpu_times()[:2]) for one in self.family()))

    def resident_mib(self) -> float:
        """Return the sum over its processes; shared memory counts once per process."""
        return float(sum(one.memory_info().rss for one in self.family())) / 2**20

    def ask(self, images: Sequence[bytes], at_once: int = 1) -> None:
        """Send the images from at_once clients, each of which sends its share sequentially on one connection.

        Raise AssertionError unless every response is a 200.
        """
        with ThreadPoolExecutor(at_once) as clients:
            list(clients.map(self._ask, (images[first::at_once] for first in range(at_once))))

    def _ask(self, images: Sequence[bytes]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        for image in images:
            connection.request("POST", "/predict", form(image), headers)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200
        connection.close()

    def wait(self) -> None:
        """Wait until the server listens."""
        deadline_s = time.perf_counter() + 120
        while time.perf_counter() < deadline_s:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except ConnectionRefusedError:
                time.sleep(0.001)
        raise AssertionError(f"no process listens on port {self.port}")


@contextmanager
def running(command: Sequence[str], settings: Mapping[str, str], cpu: int | None = None) -> Iterator[Server]:
    """Run a server, with byte code as in the container images.

    command: {port} in it is replaced by a free port.
    cpu: the only CPU that the server may use; None for all.
    """
    port = free_port()
    inherited = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    env = {**inherited, **settings, "PORT": str(port), "HOST": "127.0.0.1"}
    pinned = [] if cpu is None else ["taskset", "-c", str(cpu)]
    line = [*pinned, *(word.format(port=port) for word in command)]
    began_s = time.perf_counter()
    with subprocess.Popen(line, cwd=ROOT, env=env, stderr=subprocess.DEVNULL) as process:
        try:
            yield Server(port, psutil.Process(process.pid), began_s)
        finally:
            process.terminate()


OURS = (sys.executable, "-m", "gunicorn", "-c", "function/gunicorn.conf.py", "function.wsgi:app")
USUAL = (
    sys.executable, "-m", "uvicorn", "tests.benchmarks.usual_stack:app",
    "--host", "127.0.0.1", "--port", "{port}", "--no-access-log", "--log-level", "error",
)  # fmt: skip


def ours(model_dir: Path, engine: str = "auto", precision: str = "float32") -> dict[str, str]:
    """Return the settings of the function."""
    return {"MODEL_DIR": str(model_dir), "ENGINE": engine, "PRECISION": precision}


def usual(model_dir: Path) -> dict[str, str]:
    """Return the settings of the usual stack."""
    return {"MODEL_FILE": str(model_dir / "resnet18.pth"), "LABELS_FILE": str(model_dir / "labels.json")}
