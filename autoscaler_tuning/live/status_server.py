"""The controller's own port: metrics, and whether it lives and is ready."""

import socket
import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment


class StatusServer:
    """Serves GET /metrics, GET /livez, and the readiness on GET /, /healthz and /readyz.

    is_ready: returns whether a decision was carried out; until then readiness is 503.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.is_ready: Callable[[], bool] = lambda: False
        self._metrics = make_wsgi_app(registry)

    def start(self, host: str, port: int) -> None:
        """Serve in a thread that ends with the process. Raises OSError if the address cannot be bound."""
        server_class = _ServerIPv6 if ":" in host else _Server
        server = make_server(host, port, self.respond, server_class=server_class, handler_class=_Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def respond(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer one request, as WSGI has it."""
        path = environ.get("PATH_INFO", "/")
        if path == "/metrics":
            metrics: Iterable[bytes] = self._metrics(environ, start_response)
            return metrics
        status, body = self._status(path)
        start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]

    def _status(self, path: str) -> tuple[str, bytes]:
        if path == "/livez":
            return "200 OK", b'{"status": "ok"}\n'
        if path not in ("", "/", "/healthz", "/readyz"):
            return "404 Not Found", b'{"error": "known paths: /metrics, /healthz, /readyz, /livez"}\n'
        if self.is_ready():
            return "200 OK", b'{"status": "ready"}\n'
        return "503 Service Unavailable", b'{"status": "starting", "reason": "no decision was carried out yet"}\n'


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _ServerIPv6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Log no line for each probe."""
