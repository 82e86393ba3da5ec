"""The controller's own port: metrics, and whether it lives and is ready."""

import json
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment


class StatusServer:
    """Serves GET /metrics, GET /livez, and the readiness on GET /, /healthz and /readyz.

    readiness: returns for each Service whether a decision was carried out. It is 503 until one was: a Service that
        fails must not keep a controller that scales others from being asked for its metrics.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.readiness: Callable[[], Mapping[str, bool]] = dict
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
        services = self.readiness()
        body: dict[str, object] = {"status": "ready" if any(services.values()) else "starting"}
        if not any(services.values()):
            body["reason"] = "no decision was carried out yet"
        if len(services) > 1:
            body["services"] = {name: "ready" if ready else "starting" for name, ready in services.items()}
        status = "200 OK" if any(services.values()) else "503 Service Unavailable"
        return status, json.dumps(body).encode() + b"\n"


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _ServerIPv6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Log no line for each probe."""
