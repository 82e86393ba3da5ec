"""Mixed load with faults on the stack of one machine: memory, descriptors and threads of each process stay flat.

Half a minute here, five minutes in continuous integration; `make soak` takes an hour (SOAK_S) and writes soak.json.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from threading import Event

import psutil
import pytest
import requests

from tests.effort import effort
from tests.function.test_server import Pod
from tests.paths import ROOT
from tests.ports import free_port
from tests.soak.trend import HOUR_S, Verdict, trend

SOAK_S = int(os.environ.get("SOAK_S", "0")) or effort(30, ci=300)
LONG_S = 3000  # from this length on, "unsure" is not good enough
CLIENTS, FAULT_EVERY_S = 6, 10.0
TUNING = [sys.executable, "-m", "autoscaler_tuning"]
# The most that a process may grow in an hour, and in a run that is shorter: there, warming up looks like growth.
LIMITS = {"resident MB": 20.0, "open files": 10.0, "threads": 2.0}
LEAST = {"resident MB": 8.0, "open files": 8.0, "threads": 4.0}

pytestmark = [pytest.mark.integration, pytest.mark.timeout(SOAK_S + 300), pytest.mark.xdist_group("soak")]


@dataclass(slots=True)
class Series:
    """What was measured of one process over time."""

    pid: int
    times_s: list[float] = field(default_factory=list)
    values: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in LIMITS})

    def measure(self, now_s: float) -> None:
        """Add a sample. Raises psutil.NoSuchProcess if the process has ended."""
        process = psutil.Process(self.pid)
        found = (process.memory_info().rss / 1e6, process.num_fds(), process.num_threads())
        self.times_s.append(now_s)
        for values, value in zip(self.values.values(), found, strict=True):
            values.append(float(value))


@dataclass(frozen=True, slots=True)
class Stack:
    """The dispatcher's address, a pod that no fault meets, and the processes to measure."""

    url: str
    pod_url: str
    controller_pid: int
    series: Mapping[str, Series]


@pytest.fixture
def stack(model_dir: Path, tmp_path: Path) -> Iterator[Stack]:
    port, folder = free_port(), tmp_path / "run"
    ports = ["--port", str(port), "--control-port", str(free_port()), "--controller-port", str(free_port())]
    flags = ["--log-dir", str(folder)]
    up = [*TUNING, "up", "--model-dir", str(model_dir), "--max-pods", "2", *ports, *flags]
    pod = Pod(model_dir).ready()
    try:
        subprocess.run(up, cwd=ROOT, check=True, capture_output=True, timeout=120)
        state = json.loads((folder / "stack.json").read_text())
        dispatcher, controller = (entry["pid"] for entry in state)
        (worker,) = psutil.Process(pod.process.pid).children()
        pids = {"dispatcher": dispatcher, "controller": controller, "pod": worker.pid}
        series = {name: Series(pid) for name, pid in pids.items()}
        yield Stack(f"http://127.0.0.1:{port}", pod.url, controller, series)
    finally:
        subprocess.run([*TUNING, "down", *flags], cwd=ROOT, timeout=120, check=True)
        pod.kill()
    for log in folder.glob("*.log"):
        assert "Traceback" not in log.read_text(), log.read_text()[-3000:]


class Client:
    """One client that asks in many ways, one after the other."""

    def __init__(self, stack: Stack, seed: int, image: bytes) -> None:
        self._stack, self._random, self._image = stack, Random(seed), image
        self._session = requests.Session()
        self.statuses: Counter[str] = Counter()

    def run(self, stopped: Event) -> None:
        """Ask until the end; an answer that must not come raises AssertionError."""
        ways = (self.image, self.form, self.job, self.bad, self.slow, self.hang_up, self.pod)
        while not stopped.is_set():
            way = self._random.choices(ways, (6, 3, 2, 2, 1, 1, 4))[0]
            self.statuses[f"{way.__name__} {way()}"] += 1
            stopped.wait(self._random.uniform(0, 0.5))

    def _post(self, url: str, **arguments: object) -> int:
        answer = self._session.post(url, timeout=120, **arguments)  # type: ignore[arg-type]
        assert answer.status_code < 500 or "Retry-After" in answer.headers, (answer.status_code, answer.text)
        return answer.status_code

    def image(self) -> int:
        return self._post(f"{self._stack.url}/predict", data=self._image)

    def form(self) -> int:
        return self._post(f"{self._stack.url}/add_to_queue", files={"file": self._image})

    def pod(self) -> int:
        return self._post(f"{self._stack.pod_url}/predict", data=self._image)

    def bad(self) -> int:
        return self._post(f"{self._stack.url}/predict", data=self._random.randbytes(2000))

    def job(self) -> int:
        accepted = self._session.post(
            f"{self._stack.url}/predict", data=self._image, headers={"Prefer": "respond-async"}, timeout=120
        )
        if accepted.status_code != 202:
            return accepted.status_code
        url = self._stack.url + accepted.headers["Location"]
        while (state := self._session.get(url, timeout=120)).headers.get("Retry-After"):
            time.sleep(0.2)
        return state.status_code

    def slow(self) -> int:
        head = b"POST /predict HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(
            self._image
        )
        with self._connection() as connection:
            connection.sendall(head)
            step = len(self._image) // 8 + 1
            for start in range(0, len(self._image), step):
                connection.sendall(self._image[start : start + step])
                time.sleep(0.1)
            return int(connection.recv(65536)[9:12])

    def hang_up(self) -> int:
        with self._connection() as connection:
            connection.sendall(b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + bytes(500))
        return 0

    def _connection(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", int(self._stack.url.rpartition(":")[2])), timeout=120)


def kill_a_pod(controller_pid: int) -> int:
    """Kill one of the controller's pods with SIGKILL; return how many were killed."""
    for process in psutil.Process(controller_pid).children():
        with suppress(psutil.NoSuchProcess):
            if any("gunicorn" in word for word in process.cmdline()):
                process.kill()
                return 1
    return 0


def each(seconds: float, call: Callable[[], None], until_s: float) -> None:
    """Call again and again until a moment."""
    while (now_s := time.monotonic()) < until_s:
        call()
        time.sleep(max(0.0, seconds - (time.monotonic() - now_s)))


def rows(series: Mapping[str, Series]) -> list[dict[str, object]]:
    """Return the growth of each measure of each process."""
    found: list[dict[str, object]] = []
    for name, one in series.items():
        for measure, values in one.values.items():
            grown = trend(one.times_s, values)
            limit = max(LIMITS[measure], LEAST[measure] * HOUR_S / (one.times_s[-1] - one.times_s[0]))
            found.append(
                {
                    "process": name,
                    "measure": measure,
                    "mean": round(sum(values) / len(values), 1),
                    "per hour": round(grown.per_hour, 2),
                    "95 % interval": f"{grown.low:.2f} to {grown.high:.2f}",
                    "limit": round(limit, 1),
                    "verdict": grown.verdict(limit).value,
                }
            )
    return found


def test_nothing_grows_under_mixed_load_with_faults(stack: Stack, samples_dir: Path) -> None:
    image = (samples_dir / "cat.jpg").read_bytes()
    stopped, killed, began_s = Event(), Counter[str](), time.monotonic()
    clients = [Client(stack, seed, image) for seed in range(CLIENTS)]
    next_fault_s = began_s + FAULT_EVERY_S

    def step() -> None:
        nonlocal next_fault_s
        now_s = time.monotonic()
        for one in stack.series.values():
            one.measure(now_s - began_s)
        if now_s >= next_fault_s:
            killed["pods"] += kill_a_pod(stack.controller_pid)
            next_fault_s = now_s + FAULT_EVERY_S

    with ThreadPoolExecutor(CLIENTS) as threads:
        running = [threads.submit(client.run, stopped) for client in clients]
        try:
            each(max(0.5, SOAK_S / 600), step, began_s + SOAK_S)
        finally:
            stopped.set()
        for client in running:
            client.result(180)
    statuses = sum((client.statuses for client in clients), Counter[str]())
    found = rows(stack.series)
    print(
        f"\nsoak: {SOAK_S} s, {statuses.total()} requests, {killed['pods']} pods killed: {dict(sorted(statuses.items()))}"
    )
    for row in found:
        print("  ".join(f"{value}" for value in row.values()))
    if "SOAK_S" in os.environ:
        (ROOT / "soak.json").write_text(json.dumps({"seconds": SOAK_S, "statuses": statuses, "rows": found}, indent=1))
    assert statuses["image 200"]
    assert statuses["job 200"]
    assert killed["pods"]
    wrong = (Verdict.GROWS, Verdict.UNSURE) if SOAK_S >= LONG_S else (Verdict.GROWS,)
    assert [row for row in found if row["verdict"] in wrong] == []
