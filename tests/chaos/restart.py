"""Processes that are killed and started again: pods, dispatchers, Redis."""

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Generic, TypeVar

import pytest

from tests.ports import free_port
from tests.stubs.processes import Running, running

Process = TypeVar("Process", bound=Running)


class Restartable(Generic[Process]):
    """A process that is started again by the same call, so with its old port and files."""

    def __init__(self, start: Callable[[], AbstractContextManager[Process]]) -> None:
        self._start, self._stack, self.kills = start, ExitStack(), 0
        self.start()

    def start(self) -> None:
        """Start it and wait until it listens."""
        self.running = self._stack.enter_context(self._start())

    def kill(self) -> None:
        """Kill it as the kernel does."""
        self.kills += 1
        self.running.popen.kill()
        self.running.popen.wait()
        self._stack.close()

    def stop(self) -> None:
        """End it with SIGTERM."""
        self._stack.close()

    def freeze(self, seconds: float) -> None:
        """Stop it for a while, its connections stay open."""
        os.kill(self.running.pid, signal.SIGSTOP)
        time.sleep(seconds)
        os.kill(self.running.pid, signal.SIGCONT)


@contextmanager
def restartable(start: Callable[[], AbstractContextManager[Process]]) -> Iterator[Restartable[Process]]:
    """Run such a process until the end of the block."""
    found = Restartable(start)
    try:
        yield found
    finally:
        found.stop()


class PodProcess(Restartable[Running]):
    """A stub pod in a process of its own."""

    def __init__(self, service_s: float) -> None:
        self.port = port = free_port()
        command = [sys.executable, "-m", "tests.stubs.pod", str(port), "--service-s", str(service_s)]
        super().__init__(lambda: running(command, port))

    def meet(self, kind: str, share: float) -> None:
        """Let a share of the requests meet a fault from now on."""
        self.running.ask("PUT", "/fault", {"kind": kind, "share": share, "seed": self.port})

    def broken(self) -> int:
        """Return how many requests have met a fault since it was started."""
        found = self.running.ask("GET", "/stats")["broken"]
        assert isinstance(found, int)
        return found


@contextmanager
def pod_processes(count: int, service_s: float) -> Iterator[list[PodProcess]]:
    """Run pods, each in a process of its own."""
    pods: list[PodProcess] = []
    try:
        for _ in range(count):
            pods.append(PodProcess(service_s))
        yield pods
    finally:
        for pod in pods:
            pod.stop()


def redis_server(folder: Path) -> Callable[[], AbstractContextManager[Running]]:
    """Return what starts a Redis that syncs each write to its file before it answers; skip without redis-server."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("needs Redis: apt-get install redis-server")
    port = free_port()
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
    command += ["--appendonly", "yes", "--appendfsync", "always"]
    return lambda: running(command, port, log=folder / "redis.log")
