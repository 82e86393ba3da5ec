"""Readiness probes that never block."""

import socket
from contextlib import suppress

PROBE_TIMEOUT_S = 1.0
MAX_HEAD_BYTES = 16_384


class ReadinessProbe:
    """Sends GET requests to 127.0.0.1, one at a time; step() advances them and never waits, even for a silent pod.

    A pod is ready if it responds with 200. A response with another pod's name in X-Pod does not count, because
    another process may have bound the port.
    """

    def __init__(self, port: int, path: str, pod: str) -> None:
        self._port = port
        self._pod = pod
        self._request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode()
        self._socket: socket.socket | None = None
        self._sent = False
        self._received = b""
        self._deadline_s = 0.0

    def step(self, now_s: float) -> bool:
        """Advance the request as far as possible without blocking; return whether the pod has responded as ready."""
        try:
            return self._advance(now_s)
        except BlockingIOError:
            if now_s >= self._deadline_s:
                self.close()
        except OSError:  # refused or reset: the pod is not listening yet
            self.close()
        return False

    def close(self) -> None:
        """Abort the current request, if any."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.close()
        self._socket, self._sent, self._received = None, False, b""

    def _advance(self, now_s: float) -> bool:
        connection = self._socket or self._connect(now_s)
        if not self._sent:
            connection.send(self._request)  # a few hundred bytes fit into an empty socket buffer
            self._sent = True
        while b"\r\n\r\n" not in self._received:
            received = connection.recv(4096)
            self._received += received
            if not received or len(self._received) > MAX_HEAD_BYTES:
                self.close()
                return False
        ready = says_ready(self._received, self._pod)
        self.close()
        return ready

    def _connect(self, now_s: float) -> socket.socket:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        self._deadline_s = now_s + PROBE_TIMEOUT_S
        with suppress(BlockingIOError):
            self._socket.connect(("127.0.0.1", self._port))
        return self._socket


def says_ready(head: bytes, pod: str) -> bool:
    """Return whether the head of an HTTP response is a 200, and not from another pod."""
    status_line, *fields = head.split(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    words = status_line.split(" ")
    if len(words) < 2 or not words[0].startswith("HTTP/1.") or words[1] != "200":
        return False
    headers = {name.strip().lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
    return headers.get("x-pod", pod) == pod
