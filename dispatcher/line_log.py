"""Writes JSON lines from a thread of its own, so that a slow reader, a full disk or a closed pipe stops no request.

The same file stands in dispatcher and function, neither of which can import the other one.
"""

import json
import os
import threading
from collections import deque
from collections.abc import Callable, Mapping

# About 2 MB of lines.
MOST_LINES = 5000
# Lines of this time are written at once: a switch to the thread for each line would cost more than the line.
GATHER_S = 0.1


class LineLog:
    """A bounded queue of lines, and the thread that writes them to standard output.

    dropped: is told how many lines found the queue full, or could not be written.
    """

    def __init__(self, dropped: Callable[[int], None], descriptor: int = 1) -> None:
        self._dropped, self._descriptor = dropped, descriptor
        self._lines: deque[str] = deque()
        self._filled, self._closing = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def put(self, row: Mapping[str, object]) -> None:
        """Add a line; return at once in any case. The thread begins with the first line, after gunicorn's fork."""
        if len(self._lines) >= MOST_LINES:
            self._dropped(1)
            return
        self._lines.append(json.dumps(row, separators=(",", ":"), default=str))
        if not self._filled.is_set():
            self._filled.set()
        if self._thread is None:
            self._start()

    def close(self, timeout_s: float = 1.0) -> None:
        """Write what is left, for at most this time."""
        self._closing.set()
        self._filled.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="request log", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        while self._lines or not self._closing.is_set():
            self._filled.wait()
            self._closing.wait(GATHER_S)
            self._filled.clear()
            count = len(self._lines)
            text = "".join(f"{self._lines.popleft()}\n" for _ in range(count)).encode()
            if not self._written(text):
                self._dropped(count)

    def _written(self, text: bytes) -> bool:
        """Write all of it; return False if the descriptor is closed, its reader is gone or its disk is full."""
        try:
            while text:
                text = text[os.write(self._descriptor, text) :]
        except OSError:
            return False
        return True
