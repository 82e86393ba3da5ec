"""One pod as a process: started so that it cannot outlive this process, watched, stopped as a group."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from knative.errors import LocalPodsError

LOG_TAIL_BYTES = 4096
LOG_TAIL_LINES = 5
# setpriv has the kernel kill the pod when its parent dies. Should the parent have died before setpriv asked for that,
# the pod's parent is another by now, and the shell ends instead of becoming the pod.
TIED_TO_PARENT = ("setpriv", "--pdeathsig", "KILL", "--", "sh", "-c", 'test "$PPID" = "$0" && exec "$@"')


def check_platform() -> None:
    """Raises LocalPodsError unless pods can be tied to this process's life."""
    if shutil.which("setpriv") is None:
        raise LocalPodsError("pods as processes need the command setpriv (Debian: apt-get install util-linux)")


class PodProcess:
    """A process in a session of its own, so that it and its children can be killed as a group.

    Only its leader is tied to the parent: on `kill -9` of the parent, children of the pod must notice that their
    leader is gone, as gunicorn's workers do within a second.
    """

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], log_file: Path | None) -> None:
        """Start it. Raises OSError if there is no process, memory or file to be had."""
        self._log = _open_log(log_file)
        try:
            self._process = subprocess.Popen(
                [*TIED_TO_PARENT, str(os.getpid()), *argv],
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                start_new_session=True,
            )
        except BaseException:
            self._log.close()
            raise
        self.pid = self._process.pid

    def reap(self) -> int | None:
        """The exit status (negative: the signal) once it has ended, else None; kills children that it left."""
        if self._process.returncode is None:
            # Look before waiting: while the leader is a zombie, no other process group can get its number.
            with suppress(ChildProcessError):  # somebody else waited for it
                if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                    return None
            self.kill()
        return self._process.wait()

    def terminate(self) -> None:
        """SIGTERM to the leader alone: it tells its children itself."""
        self._send(os.kill, signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to all of it."""
        self._send(os.killpg, signal.SIGKILL)

    def log_tail(self) -> str:
        """Its last lines of output."""
        with suppress(OSError):
            size = os.fstat(self._log.fileno()).st_size
            tail = os.pread(self._log.fileno(), LOG_TAIL_BYTES, max(0, size - LOG_TAIL_BYTES))
            lines = tail.decode(errors="replace").strip().splitlines()
            return "\n".join(lines[-LOG_TAIL_LINES:])
        return ""

    def close(self) -> None:
        """Let go of the log."""
        self._log.close()

    def _send(self, send: Callable[[int, int], None], number: signal.Signals) -> None:
        """Not by Popen's methods: they wait for a process that has ended, and then its children would be forgotten."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                send(self.pid, number)


def _open_log(log_file: Path | None) -> IO[bytes]:
    """Where a pod's output goes; without a file, to one that has no name and so cannot be left behind."""
    if log_file is None:
        return tempfile.TemporaryFile()
    log_file.parent.mkdir(parents=True, exist_ok=True)
    return log_file.open("w+b")
