"""The dispatcher as a process, stub pods on real sockets, and a client that sends bytes as they are."""

import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests

from tests.paths import ROOT
from tests.ports import free_port, wait_for

PHOTO = {"file": ("a.jpg", b"\xff\xd8 not decoded here", "image/jpeg")}


class Stub(ThreadingHTTPServer):
    """A stub pod: responds after `delay_s` with the next of `statuses`, else 200, and keeps the request headers.

    Status 0 closes the connection without a response.
    """

    daemon_threads = True

    def __init__(self, port: int = 0, delay_s: float = 0.0) -> None:
        self.delay_s, self.seen, self.statuses = delay_s, list[dict[str, str]](), list[int]()
        self.most_at_once = self.at_once = 0
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", port), StubHandler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class StubHandler(BaseHTTPRequestHandler):
    server: Stub
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        stub = self.server
        self.rfile.read(int(self.headers["Content-Length"]))
        with stub.lock:
            stub.seen.append(dict(self.headers))
            status = stub.statuses.pop(0) if stub.statuses else 200
            stub.at_once += 1
            stub.most_at_once = max(stub.most_at_once, stub.at_once)
        time.sleep(stub.delay_s)
        with stub.lock:
            stub.at_once -= 1
        if status == 0:
            self.close_connection = True
            return
        body = b'{"prediction": "cat: 99.0%"}'
        self.send_response(status)
        for name, value in (("X-Pod", "stub"), ("Server-Timing", "infer;dur=1.0"), ("Content-Length", str(len(body)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Log nothing."""


class Dispatcher:
    """`python -m dispatcher` on a free port."""

    def __init__(self, *flags: str) -> None:
        self.port, self.control_port = free_port(), free_port()
        self.url, self.control = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{self.control_port}"
        command = [sys.executable, "-m", "dispatcher", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--control-port", str(self.control_port), *flags]
        self.process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        wait_for(f"{self.url}/")

    def post(self, path: str = "/predict", **arguments: Any) -> requests.Response:
        return requests.post(self.url + path, timeout=60, **({"files": PHOTO} | arguments))

    def set_capacity(self, **capacity: object) -> requests.Response:
        return requests.put(f"{self.control}/capacity", json=capacity, timeout=10)

    def signals(self) -> dict[str, Any]:
        answer: dict[str, Any] = requests.get(f"{self.control}/signals", timeout=10).json()
        return answer

    def wait_until(self, holds: Callable[[dict[str, Any]], bool]) -> None:
        deadline_s = time.monotonic() + 30
        while not holds(self.signals()):
            assert time.monotonic() < deadline_s, self.signals()
            time.sleep(0.02)


Answer = Callable[[bytes, bytes], bytes]
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class RawPod:
    """A pod that keeps each request as bytes (head, body) and answers with the bytes that `answer` returns."""

    def __init__(self, answer: Answer = lambda head, body: PLAIN) -> None:
        self.seen: list[tuple[bytes, bytes]] = []
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        data = b""
        with connection:
            while True:
                while b"\r\n\r\n" not in data:
                    if not (more := connection.recv(65536)):
                        return
                    data += more
                head, _, data = data.partition(b"\r\n\r\n")
                length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
                while len(data) < (int(length[1]) if length else 0):
                    data += connection.recv(65536)
                body, data = data[: int(length[1])] if length else b"", data[int(length[1]) :] if length else data
                self.seen.append((head, body))
                answer = self._answer(head, body)
                if answer:
                    connection.sendall(answer)
                if not answer or b"\r\nConnection: close" in answer:
                    return

    def lines(self) -> list[bytes]:
        """Return the header lines of the last request."""
        return self.seen[-1][0].split(b"\r\n")[1:]


def exchange(port: int, sent: bytes, half_close: bool = False, timeout_s: float = 30) -> bytes:
    """Send bytes and return all that comes back until the connection ends."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as connection:
        connection.sendall(sent)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        while more := connection.recv(65536):
            received += more
    return received


def post(*headers: bytes, path: bytes = b"/predict", body: bytes = b"x") -> bytes:
    """Return a request that closes its connection."""
    lines = [b"POST %s HTTP/1.1" % path, b"Host: a.example", b"Connection: close", *headers]
    return b"\r\n".join(lines) + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body
