"""The controller's own port: the page, metrics, the pods that it wants, and whether it lives and is ready."""

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from autoscaler_tuning.live.wish import API_PATH, WISH_PATH, Wish, answer

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment


MOST_THREADS = 200


class AddressError(Exception):
    """An address cannot be bound."""

    def __init__(self, host: str, port: int, cause: OSError) -> None:
        super().__init__(f"cannot bind {host}:{port}: {cause}")
        self.host, self.port, self.cause = host, port, cause


class StatusServer:
    """Serves the page, /metrics, /wish, the external metrics API, /livez, and readiness on /, /healthz and /readyz.

    A browser gets the page on / too.

    readiness: returns for each Service whether a decision was carried out. It is 503 until one was: a Service that
        fails must not keep a controller that scales others from being asked for its metrics.
    wish: returns the pods that are wanted at the moment.
    page: answers what is below /page; None without a page.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.readiness: Callable[[], Mapping[str, bool]] = dict
        self.wish: Callable[[], Wish] = lambda: Wish("", {}, 0.0)
        self.page: WSGIApplication | None = None
        self._metrics = make_wsgi_app(registry)

    def start(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> None:
        """Serve in a thread that ends with the process. Raises AddressError if the address cannot be bound."""
        server_class = _ServerIPv6 if ":" in host else _Server
        try:
            server = make_server(host, port, self.respond, server_class=server_class, handler_class=_Handler)
        except OSError as error:
            raise AddressError(host, port, error) from error
        if tls:  # each connection shakes hands in its own thread, so that a stalled one delays no other
            server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def respond(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer one request, as WSGI has it."""
        path = environ.get("PATH_INFO", "/")
        if self.page and (path == "/page" or path.startswith("/page/") or _is_browser(path, environ)):
            return self.page({**environ, "PATH_INFO": "/page" if path == "/" else path}, start_response)
        if path == "/metrics":
            metrics: Iterable[bytes] = self._metrics(environ, start_response)
            return metrics
        if path == WISH_PATH or path.startswith(API_PATH):
            code, found = answer(path, environ.get("QUERY_STRING", ""), self.wish())
            status, body = f"{code} {HTTPStatus(code).phrase}", json.dumps(found).encode() + b"\n"
        else:
            status, body = self._status(path)
        start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]

    def _status(self, path: str) -> tuple[str, bytes]:
        if path == "/livez":
            return "200 OK", b'{"status": "ok"}\n'
        if path not in ("", "/", "/healthz", "/readyz"):
            return "404 Not Found", b'{"error": "known paths: /page, /metrics, /wish, /healthz, /readyz, /livez"}\n'
        services = self.readiness()
        body: dict[str, object] = {"status": "ready" if any(services.values()) else "starting"}
        if not any(services.values()):
            body["reason"] = "no decision was carried out yet"
        if len(services) > 1:
            body["services"] = {name: "ready" if ready else "starting" for name, ready in services.items()}
        status = "200 OK" if any(services.values()) else "503 Service Unavailable"
        return status, json.dumps(body).encode() + b"\n"


def _is_browser(path: str, environ: "WSGIEnvironment") -> bool:
    return path == "/" and "text/html" in environ.get("HTTP_ACCEPT", "")


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def verify_request(self, request: object, client_address: object) -> bool:
        """Close a connection at once if too many threads run; each connection is one."""
        return threading.active_count() < MOST_THREADS


class _ServerIPv6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = 30.0  # of a client that is connected and sends nothing

    def log_message(self, format: str, *args: object) -> None:
        """Log no line for each probe."""
