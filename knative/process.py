"""A pod's process: it cannot outlive this process, and is stopped together with its children."""

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
# setpriv makes the kernel kill the pod when its parent dies. If the parent has died before that, the shell has another
# parent by now and exits instead of executing the pod's program.
TIED_TO_PARENT = ("setpriv", "--pdeathsig", "KILL", "--", "sh", "-c", 'test "$PPID" = "$0" && exec "$@"')


def check_platform() -> None:
    """Raise LocalPodsError unless pods can be tied to the lifetime of this process."""
    if shutil.which("setpriv") is None:
        raise LocalPodsError("local pods need the command setpriv (Debian: apt-get install util-linux)")


class PodProcess:
    """A process in its own session, so that it can be killed together with its children.

    Only the session leader is tied to the parent. After `kill -9` of the parent, children of the pod must notice
    themselves that their leader is gone, as gunicorn's workers do within a second.
    """

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], log_file: Path | None) -> None:
        """Start the process; raise OSError if processes or memory run out, or the log file cannot be opened."""
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
        """Return the exit status (negative: the signal) if the process has ended, else None; kill children it left."""
        if self._process.returncode is None:
            # Peek before waiting: while the leader is a zombie, no other process group can get its number.
            with suppress(ChildProcessError):  # already waited for elsewhere
                if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                    return None
            self.kill()
        return self._process.wait()

    def terminate(self) -> None:
        """Send SIGTERM to the leader only, which stops its children itself."""
        self._send(os.kill, signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL to the process and its children."""
        self._send(os.killpg, signal.SIGKILL)

    def log_tail(self) -> str:
        """Return the last lines of the process's output."""
        with suppress(OSError):
            size = os.fstat(self._log.fileno()).st_size
            tail = os.pread(self._log.fileno(), LOG_TAIL_BYTES, max(0, size - LOG_TAIL_BYTES))
            lines = tail.decode(errors="replace").strip().splitlines()
            return "\n".join(lines[-LOG_TAIL_LINES:])
        return ""

    def close(self) -> None:
        """Close the log file."""
        self._log.close()

    def _send(self, send: Callable[[int, int], None], number: signal.Signals) -> None:
        """Send the signal without Popen's methods: they reap an ended process, whose children would then survive."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                send(self.pid, number)


def _open_log(log_file: Path | None) -> IO[bytes]:
    """Open the file for a pod's output; without a path, an unnamed one that cannot be left behind."""
    if log_file is None:
        return tempfile.TemporaryFile()
    log_file.parent.mkdir(parents=True, exist_ok=True)
    log = log_file.open("a+b")
    log.truncate(0)  # and appended to: a process that still writes there must not go on at its old offset
    return log
