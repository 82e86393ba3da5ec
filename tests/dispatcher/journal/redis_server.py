"""A Redis server of the test's own, on a free port and with a folder of its own."""

import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import redis

from tests.ports import free_port

MISSING = "needs redis-server: apt-get install redis-server"


class RedisServer:
    """`redis-server` with an append-only file, which survives restarts."""

    def __init__(self, folder: Path, *flags: str, password: str | None = None) -> None:
        if shutil.which("redis-server") is None:
            pytest.skip(MISSING)
        self.port, self._folder = free_port(), folder
        self._flags = [*flags, "--requirepass", password] if password else list(flags)
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.client = redis.Redis(port=self.port, password=password)
        self.start()

    def start(self) -> None:
        """Start the server and wait until it answers."""
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder)]
        settings = ["--appendonly", "yes", "--appendfsync", "always", "--save", "", *self._flags]
        self._process = subprocess.Popen([*command, *settings], stdout=subprocess.DEVNULL, cwd=self._folder)
        deadline_s = time.monotonic() + 30
        while True:
            try:
                self.client.ping()
                return
            except redis.ConnectionError:
                assert time.monotonic() < deadline_s, "redis-server did not start"
                time.sleep(0.02)

    def freeze(self) -> None:
        """Stop it: connections stay open, and nothing is answered."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it with SIGKILL."""
        self._process.kill()
        self._process.wait()
