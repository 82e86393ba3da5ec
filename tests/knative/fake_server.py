"""A cluster in memory behind HTTP, for tests that start real processes or use the real client library."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from knative.errors import ClusterError
from tests.knative.fake_api import FakeApi


class FakeServer:
    """Serves a FakeApi.

    token: the bearer token that requests must carry; any without one.
    page: if set, every answer is this HTML page with status 200.
    """

    def __init__(self, api: FakeApi) -> None:
        self.api = api
        self.token: str | None = None
        self.page: str | None = None
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"  # connections stay open, as those to an API server do
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                self._respond("GET", None)

            def do_POST(self) -> None:
                self._respond("POST", self._body())

            def do_PATCH(self) -> None:
                self._respond("PATCH", self._body())

            def _body(self) -> Any:
                return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

            def _respond(self, verb: str, sent: Any) -> None:
                authorized = outer.token in (None, (self.headers.get("Authorization") or "").partition(" ")[2])
                status, body = outer.answer(verb, self.path, sent) if authorized else (401, {"message": "Unauthorized"})
                text = outer.page or json.dumps(body)
                self.send_response(200 if outer.page else status)
                self.send_header("Content-Type", "text/html" if outer.page else "application/json")
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, format: str, *args: object) -> None:
                """Log nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        """Return the address."""
        return f"http://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def running(self) -> Iterator["FakeServer"]:
        """Serve during the with block."""
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()

    def answer(self, verb: str, path: str, sent: Any) -> tuple[int, Any]:
        """Return status and body of one call."""
        parts = urlsplit(path)
        plural, _, name = parts.path.partition("/namespaces/default/")[2].partition("/")
        calls: dict[str, Callable[[], Any]] = {
            "POST": lambda: self.api.create(plural, sent),
            "PATCH": lambda: self._patch(plural, name, sent),
            "GET": lambda: self.api.get(plural, name) if name else {"metadata": {}, "items": self.api.all_of(plural)},
        }
        try:
            if plural == "pods":
                return 200, {"items": self.api.pods(parse_qs(parts.query)["labelSelector"][0])}
            return (201 if verb == "POST" else 200), calls[verb]()
        except ClusterError as error:
            return int(str(error).rpartition("HTTP ")[2].rstrip(")") or 500), {"message": str(error)}

    def _patch(self, plural: str, name: str, sent: Any) -> Any:
        patch = self.api.patch_scale if name.endswith("/scale") else self.api.merge_patch
        return patch(plural, name.removesuffix("/scale"), sent)


def write_kubeconfig(folder: Path, server: str, **user: str) -> Path:
    """Write a kubeconfig file for this server; a keyword such as tokenFile is a field of the user."""
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(
        json.dumps(
            {
                "clusters": [{"name": "c", "cluster": {"server": server}}],
                "users": [{"name": "u", "user": user}],
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "c",
            }
        )
    )
    return kubeconfig
