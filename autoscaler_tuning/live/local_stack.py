"""Runs dispatcher and controller as processes on this machine, for the demo, live comparisons, `up` and `down`."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import psutil
import requests

from autoscaler_tuning.live.direct import direct_session
from knative.ports import free_port

ROOT = Path(__file__).resolve().parents[2]


class StackError(Exception):
    """The stack cannot start, or a process of it failed; status is the exit status of the command."""

    def __init__(self, text: str, status: int = 1) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class KnativeRoute:
    """A Knative Service and its address; host is its host name, needed if url is the address of a gateway."""

    namespace: str
    service: str
    url: str
    host: str = ""


@dataclass(frozen=True, slots=True)
class StackConfig:
    """Settings of the dispatcher and of `autoscaler_tuning control`; port 0 means any free port.

    route: the Knative Service that receives the requests; without one, pods are processes on this machine.
    shadow: the policy only observes, because Knative's own autoscaler scales.
    page: file for the controller's live page, saved before the processes stop.
    """

    policy: str = "elastic"
    order: str = "deadline"
    max_pods: int = 8
    slo_s: float = 0.5
    pad_service_s: float = 0.0
    model_dir: Path = field(default_factory=lambda: Path("model"))
    log_dir: Path = field(default_factory=lambda: Path(".run"))
    record: Path | None = None
    dispatcher_host: str = "127.0.0.1"
    dispatcher_port: int = 0
    control_port: int = 0
    controller_port: int = 0
    journal: Path | None = None
    route: KnativeRoute | None = None
    shadow: bool = False
    page: Path | None = None


@dataclass(frozen=True, slots=True)
class StackPorts:
    """Ports of the dispatcher: for clients and for its control; and of the controller."""

    dispatcher: int
    control: int
    controller: int


def commands(config: StackConfig, ports: StackPorts) -> dict[str, list[str]]:
    """Return the command lines of the two processes, by name."""
    url = f"http://127.0.0.1:{ports.control}"
    dispatcher = ["dispatcher", "--host", config.dispatcher_host, "--port", str(ports.dispatcher)]
    dispatcher += ["--control-port", str(ports.control)]
    dispatcher += ["--order", config.order, "--slo-s", str(config.slo_s)]
    if config.journal:
        dispatcher += ["--journal", str(config.journal)]
    controller = ["autoscaler_tuning", "control", "--policy", config.policy, "--dispatcher", url]
    if config.route:
        dispatcher += ["--ml-service-url", config.route.url, "--ml-service-host", config.route.host]
        controller += ["--target", "knative", "--namespace", config.route.namespace, "--service", config.route.service]
    else:
        dispatcher.append("--accept-backends")
        controller += ["--target", "local"]
    if config.shadow:
        controller.append("--shadow")
    controller += ["--host", "127.0.0.1", "--port", str(ports.controller)]
    controller += ["--max-pods", str(config.max_pods), "--slo-s", str(config.slo_s)]
    controller += ["--pad-service-s", str(config.pad_service_s), "--model-dir", str(config.model_dir)]
    controller += ["--log-dir", str(config.log_dir)]
    if config.record:
        controller += ["--record", str(config.record)]
    return {"dispatcher": [sys.executable, "-m", *dispatcher], "controller": [sys.executable, "-m", *controller]}


def free_or_other(port: int) -> int:
    """Return the port if it is free on 127.0.0.1, else another free one."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return free_port()
    return port


def loopback_addresses(port: int) -> str:
    """Return the loopback addresses of this machine, separated by commas: clients take `localhost` as either.

    ::1 is left out where IPv6 is off or the port is taken there.
    """
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("::1", port))
    except OSError:
        return "127.0.0.1"
    return "127.0.0.1,::1"


def dies_with_parent(argv: Sequence[str]) -> list[str]:
    """Return the command wrapped so that the kernel kills it when the thread that started it dies, even by SIGKILL."""
    return ["setpriv", "--pdeathsig", "KILL", "--", *argv]


def environment() -> dict[str, str]:
    """Return a minimal environment for child processes: other variables could override the defaults of their flags."""
    inherited = {
        name: text
        for name, text in os.environ.items()
        if name in ("PATH", "HOME", "LANG", "TMPDIR", "KUBECONFIG", "LOG_REQUESTS") or name.startswith("OTEL_")
    }
    return {**inherited, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)}


def start(name: str, argv: Sequence[str], log_dir: Path, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a process in its own session, so that Ctrl-C reaches only its parent; its output goes to NAME.log."""
    log_dir.mkdir(parents=True, exist_ok=True)
    with (log_dir / f"{name}.log").open("ab") as output:
        output.truncate(0)  # and appended to: a process that still writes there must not go on at its old offset
        return subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=dict(env), start_new_session=True
        )


def wait_until_answers(url: str, process: subprocess.Popen[bytes], log_file: Path, timeout_s: float = 60.0) -> None:
    """Wait until url responds and the process itself listens there, for another one may have taken its port.

    Raises StackError, with the last line of the log, if the process exits or does not respond within timeout_s.
    """
    session = direct_session()
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        if process.poll() is not None:
            text = f"{log_file.stem} exited with status {process.returncode}: {_last_line(log_file)}"
            raise StackError(text, status=2 if process.returncode == 2 else 1)
        try:
            if session.get(url, timeout=1).ok and _listens(process.pid, urlsplit(url).port):
                return
        except requests.RequestException:
            pass
        time.sleep(0.05)
    raise StackError(f"{log_file.stem} did not respond on {url} within {timeout_s:g} s: {_last_line(log_file)}")


def _listens(pid: int, port: int | None) -> bool:
    try:
        connections = psutil.Process(pid).net_connections("tcp")
    except psutil.NoSuchProcess:
        return False
    return any(one.status == psutil.CONN_LISTEN and one.laddr.port == port for one in connections)


def stop(process: subprocess.Popen[bytes], grace_s: float) -> None:
    """Send SIGTERM, then SIGKILL after grace_s; return when the process has exited."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(grace_s)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


class LocalStack:
    """Runs dispatcher and controller, with its pods, inside a with block; they are killed if this process dies.

    Their logs are in a folder of this process in log_dir, because a stack of `up` may be writing to log_dir itself.
    """

    def __init__(self, config: StackConfig) -> None:
        self._config = replace(config, log_dir=config.log_dir / f"live-{os.getpid()}")
        self._ports = StackPorts(
            config.dispatcher_port or free_port(),
            config.control_port or free_port(),
            config.controller_port or free_port(),
        )
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.url = f"http://127.0.0.1:{self._ports.dispatcher}"

    def __enter__(self) -> Self:
        try:
            for name, argv in commands(self._config, self._ports).items():
                process = start(name, dies_with_parent(argv), self._config.log_dir, environment())
                self._processes[name] = process
                log_file = self._config.log_dir / f"{name}.log"
                wait_until_answers(health_url(name, self._ports), process, log_file)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: object, *exception: object) -> None:
        try:
            if self._config.page and kind is None:
                self._save_page(self._config.page)
        finally:
            self.close()

    def _save_page(self, path: Path) -> None:
        """Save what the controller's live page shows as one file. Raises StackError."""
        url = f"http://127.0.0.1:{self._ports.controller}/page/export"
        try:
            answer = direct_session().get(url, timeout=60)
            answer.raise_for_status()
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(answer.content)
        except (requests.RequestException, OSError) as error:
            raise StackError(f"cannot save the live page to {path}: {error}") from error

    def close(self) -> None:
        """Stop the dispatcher while pods can still serve its requests, then the controller with its pods."""
        for name in ("dispatcher", "controller"):
            if name in self._processes:
                stop(self._processes.pop(name), grace_s=20)


def health_url(name: str, ports: StackPorts) -> str:
    """Return the address at which a process says that it runs."""
    return f"http://127.0.0.1:{ports.dispatcher if name == 'dispatcher' else ports.controller}/"


def up(config: StackConfig) -> str:
    """Start the stack so that it outlives this process; return the dispatcher's URL when both processes respond.

    Raises StackError if it is already running, or if a process does not start; in that case all are stopped.
    """
    state_file = config.log_dir / "stack.json"
    if any(_is_running(entry) for entry in _read_state(state_file)):
        raise StackError("already running; stop it with `make down`")
    started: list[subprocess.Popen[bytes]] = []
    ports = StackPorts(config.dispatcher_port, config.control_port, config.controller_port)
    try:
        for name, argv in commands(config, ports).items():
            process = start(name, argv, config.log_dir, environment())
            started.append(process)
            state_file.write_text(json.dumps([{"pid": p.pid, "started": _start_ticks(p.pid)} for p in started]))
            wait_until_answers(health_url(name, ports), process, config.log_dir / f"{name}.log")
    except BaseException:
        for process in started:
            stop(process, grace_s=10)
        state_file.unlink(missing_ok=True)
        raise
    return f"http://127.0.0.1:{config.dispatcher_port}"


def down(log_dir: Path, grace_s: float = 70.0) -> int:
    """Stop the processes that up() started, the dispatcher first; return the number of stopped processes."""
    state_file = log_dir / "stack.json"
    stopped = 0
    for entry in _read_state(state_file):
        stopped += _terminate(entry, grace_s)
    state_file.unlink(missing_ok=True)
    return stopped


def _terminate(entry: Mapping[str, int], grace_s: float) -> bool:
    if not _is_running(entry):
        return False
    os.kill(entry["pid"], signal.SIGTERM)
    deadline_s = time.monotonic() + grace_s
    while _is_running(entry) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    if _is_running(entry):
        os.kill(entry["pid"], signal.SIGKILL)
    return True


def _read_state(state_file: Path) -> list[dict[str, int]]:
    try:
        return list(json.loads(state_file.read_text()))
    except (FileNotFoundError, ValueError):
        return []


def _is_running(entry: Mapping[str, int]) -> bool:
    """Return whether the pid still belongs to the process that was started; the start time detects a reused pid."""
    return _start_ticks(entry["pid"]) == entry["started"]


def _start_ticks(pid: int) -> int:
    """Return the start time of a process in clock ticks since boot; 0 if it does not exist or is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return 0 if fields[0] == "Z" else int(fields[19])


def _last_line(log_file: Path) -> str:
    lines = log_file.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "its log is empty"
