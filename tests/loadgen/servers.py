"""Test servers that behave well or badly, each on a free port of this machine."""

import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import takewhile
from typing import Any, BinaryIO

from tests.stubs.certificates import Pair


class Server(ThreadingHTTPServer):
    """Responds to POST and GET as `respond` does, counts connections and keeps the headers and bodies received."""

    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, respond: Callable[[BaseHTTPRequestHandler], None], pair: Pair | None = None) -> None:
        self.connections = 0
        self.got: list[tuple[dict[str, str], bytes]] = []
        got = self.got

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                got.append((dict(self.headers), body))
                respond(self)

            def do_PUT(self) -> None:
                self.do_POST()

            def do_GET(self) -> None:
                respond(self)

            def log_message(self, *args: Any) -> None:
                """Log nothing."""

        super().__init__(("127.0.0.1", 0), Handler)
        self.scheme = "http"
        if pair:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(pair.cert, pair.key)
            self.socket = context.wrap_socket(self.socket, server_side=True)
            self.scheme = "https"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def get_request(self) -> tuple[socket.socket, Any]:
        """Count the connection."""
        request = super().get_request()
        self.connections += 1
        return request

    def handle_error(self, *_: Any) -> None:
        """Ignore clients that disconnect."""

    @property
    def url(self) -> str:
        """Return the endpoint."""
        return f"{self.scheme}://127.0.0.1:{self.server_address[1]}/predict"


class RawServer:
    """Sends prepared bytes; `answer` gets the number of a request on its connection and in all, from 1.

    None closes the connection without an answer. delay_s: time that each answer takes.
    """

    def __init__(self, answer: Callable[[int, int], bytes | None], delay_s: float = 0.0) -> None:
        self.heads: list[str] = []
        self._answer, self._delay_s = answer, delay_s
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """Return the endpoint."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}/predict"

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        own = 0
        with connection, connection.makefile("rb") as stream:
            while head := _head(stream):
                length = [line for line in head.splitlines() if line.lower().startswith("content-length:")]
                stream.read(int(length[0].split(":")[1]) if length else 0)
                self.heads.append(head)
                own += 1
                time.sleep(self._delay_s)
                content = self._answer(own, len(self.heads))
                if content is None:
                    return
                connection.sendall(content)


def _head(stream: BinaryIO) -> str:
    """Return the lines of a request up to the empty one; nothing at the end of the connection."""
    lines = iter(stream.readline, b"\r\n")
    return b"".join(line for line in takewhile(bool, lines)).decode("latin-1")


def http(body: bytes = b'{"label": "cat", "confidence": 0.5}', status: str = "200 OK", headers: bytes = b"") -> bytes:
    """Return a response; headers: lines that each end with CRLF."""
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n%s\r\n%s" % (status.encode(), len(body), headers, body)


def say(
    handler: BaseHTTPRequestHandler,
    status: int = 200,
    body: bytes = b'{"prediction": "cat: 99.0%"}',
    headers: dict[str, str] | None = None,
) -> None:
    """Send a complete response."""
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def fail(handler: BaseHTTPRequestHandler) -> None:
    """Respond with status 500 and a reason."""
    say(handler, 500, b'{"error": "no\\nway"}')


def lead_elsewhere(handler: BaseHTTPRequestHandler) -> None:
    """Respond with a redirect."""
    say(handler, 302, b"", {"Location": "/other"})


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    """Close the connection without a response."""
    handler.close_connection = True


def hang_up_in_the_middle(handler: BaseHTTPRequestHandler) -> None:
    """Announce 100 bytes, send one and close the connection."""
    say(handler, 200, b"{", {"Content-Length": "100"})
    handler.close_connection = True


def reset(handler: BaseHTTPRequestHandler) -> None:
    """Send half a response and reset the connection."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True


def talk_nonsense(handler: BaseHTTPRequestHandler) -> None:
    """Send something that is not HTTP."""
    handler.wfile.write(b"\x15\x03\x01 hello\r\n\r\n")
    handler.close_connection = True
