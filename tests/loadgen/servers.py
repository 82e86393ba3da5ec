"""Test servers that behave well or badly, each on a free port of this machine."""

import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class Server(ThreadingHTTPServer):
    """Responds to POST and GET as `respond` does, counts connections and keeps the headers and bodies received."""

    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, respond: Callable[[BaseHTTPRequestHandler], None], certificate: Path | None = None) -> None:
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
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
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


def self_signed(folder: Path) -> Path:
    """Write a self-signed certificate for 127.0.0.1 with its key; needs openssl."""
    path = folder / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(path), "-out", str(folder / "only.pem")]
    subprocess.run(command, check=True, capture_output=True)
    path.write_text(path.read_text() + (folder / "only.pem").read_text())
    return path
