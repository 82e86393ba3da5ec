"""Serves the page: its files, the history, a stream of events, the export, and the operator's buttons."""

import gzip
import hmac
import json
import logging
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from autoscaler_tuning.live.operator import Operator
from autoscaler_tuning.live.page.history import PageHistory

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

PREFIX = "/page"
STATIC = Path(__file__).parent / "static"
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
ASSETS = {
    "page.html": "page.html",
    "page.css": "page.css",
    "page.js": "page.js",
    "uPlot.min.css": "uplot/uPlot.min.css",
    "uPlot.iife.min.js": "uplot/uPlot.iife.min.js",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
MOST_VIEWERS = 100
KEEP_ALIVE_S = 15.0
LONGEST_BODY = 1000
MOST_ACTIONS_PER_MINUTE = 20

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PageReply:
    """An answer to a browser."""

    status: HTTPStatus
    kind: str
    body: bytes
    file_name: str = ""  # of a file to save: its scripts are inline, which the page's policy would not run


def json_reply(status: HTTPStatus, body: Mapping[str, object]) -> PageReply:
    """Return an answer in JSON."""
    return PageReply(status, "application/json", json.dumps(body).encode() + b"\n")


class Page:
    """Answers requests below /page. histories: of each Service. key: of the buttons; None means no buttons."""

    def __init__(self, histories: Mapping[str, PageHistory], key: str | None) -> None:
        self._histories = histories
        self._key = None if key is None else key.encode()
        self._viewers = threading.BoundedSemaphore(MOST_VIEWERS)
        self._acted_s: list[float] = []

    def respond(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer one request, as WSGI has it."""
        path = environ.get("PATH_INFO", "").removeprefix(PREFIX).strip("/")
        asked = parse_qs(environ.get("QUERY_STRING", "")).get("service", [next(iter(self._histories), "")])[0]
        history = self._histories.get(asked)
        if path in ("events", "history", "export", "action") and history is None:
            known = ", ".join(self._histories) or "none yet"
            return _send(environ, start_response, _error(404, f"service must be one of: {known}; got {asked!r}"))
        if path == "events" and history:
            return self._events(history, environ, start_response)
        return _send(environ, start_response, self._reply(path, environ, history))

    def _reply(self, path: str, environ: "WSGIEnvironment", history: PageHistory | None) -> PageReply:
        if path in ("", *ASSETS):
            return asset(path or "page.html")
        if path == "history" and history:
            return json_reply(HTTPStatus.OK, self._document(history))
        if path == "export" and history:
            return PageReply(HTTPStatus.OK, "text/html", export(history.document()).encode(), f"{history.service}.html")
        if path == "action" and history:
            return self._act(environ, history)
        return _error(404, "known paths: /page, /page/history, /page/events, /page/export, /page/action")

    def _document(self, history: PageHistory) -> dict[str, Any]:
        return {**history.document(), "services": list(self._histories), "buttons": self._key is not None}

    def _events(
        self, history: PageHistory, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        if not self._viewers.acquire(blocking=False):
            return _send(environ, start_response, _error(503, f"at most {MOST_VIEWERS} viewers at once"))
        headers = [("Content-Type", "text/event-stream"), ("Cache-Control", "no-store")]
        start_response("200 OK", headers)
        after = parse_qs(environ.get("QUERY_STRING", "")).get("after", [""])[0]
        count = int(after) if after.isdecimal() and len(after) < 16 else history.count
        return _Stream(history, min(count, history.count), self._viewers)

    def _act(self, environ: "WSGIEnvironment", history: PageHistory) -> PageReply:
        """Carry out a button, with the key in the Authorization field: a form of another site cannot set that."""
        if self._key is None:
            return _error(404, "there are no buttons without --page-key-file")
        if environ["REQUEST_METHOD"] != "POST":
            return _error(405, f"the method must be POST, got {environ['REQUEST_METHOD']}")
        now_s = time.monotonic()
        self._acted_s = [at_s for at_s in self._acted_s if now_s - at_s < 60]
        if len(self._acted_s) >= MOST_ACTIONS_PER_MINUTE:
            return _error(429, f"at most {MOST_ACTIONS_PER_MINUTE} actions a minute, wrong keys included")
        self._acted_s.append(now_s)
        given = environ.get("HTTP_AUTHORIZATION", "").removeprefix("Bearer ").strip()
        if not hmac.compare_digest(given.encode("utf-8", "surrogateescape"), self._key):
            return _error(401, "the key of --page-key-file is needed, in Authorization: Bearer KEY")
        try:
            length = int(environ.get("CONTENT_LENGTH") or 0)
            if not 0 < length <= LONGEST_BODY:
                raise ValueError(f"the body must have 1 to {LONGEST_BODY} bytes, got {length}")
            done = carry_out(json.loads(environ["wsgi.input"].read(length)), history.operator)
        except ValueError as error:
            return _error(400, str(error))
        log.warning("%s: by hand, from %s: %s", history.service, environ.get("REMOTE_ADDR"), done)
        return json_reply(HTTPStatus.OK, {"done": done})


def carry_out(body: object, operator: Operator) -> str:
    """Carry out an action, {"do": "pause"}, "resume", or "bounds" with min and max; return what was done.

    Raises ValueError, which states the rule.
    """
    wanted = body.get("do") if isinstance(body, dict) else None
    if wanted in ("pause", "resume"):
        operator.paused = wanted == "pause"
        return f"{wanted}d"
    if wanted == "bounds" and isinstance(body, dict):
        least, most = _integer(body, "min"), _integer(body, "max")
        operator.set_bounds(least, most)
        return f"bounds {least} to {most}"
    raise ValueError(f"do must be pause, resume or bounds, got {wanted!r}")


def _integer(body: Mapping[str, object], name: str) -> int:
    value = body.get(name)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{name} must be an integer, got {value!r}")
    return value


class _Stream:
    """The events of one viewer, who knows the first `count` seconds; closing it gives the seat back."""

    def __init__(self, history: PageHistory, count: int, seats: threading.BoundedSemaphore) -> None:
        self._history, self._count, self._seats, self._open = history, count, seats, True

    def __iter__(self) -> Iterator[bytes]:
        yield b"retry: 2000\n\n"
        count = self._count
        while True:
            count, message = self._history.after(count, KEEP_ALIVE_S)
            yield message or b": no news\n\n"

    def close(self) -> None:
        if self._open:
            self._open = False
            self._seats.release()


@cache
def asset(name: str) -> PageReply:
    """Return a file of the page."""
    path = STATIC / ASSETS[name]
    return PageReply(HTTPStatus.OK, TYPES[path.suffix], path.read_bytes())


@cache
def _zipped(body: bytes) -> bytes:
    return gzip.compress(body, mtime=0)


def export(document: Mapping[str, Any]) -> str:
    """Return the page with everything in it, for one file that needs no network."""
    html = asset("page.html").body.decode()
    for name in ("page.css", "uPlot.min.css"):
        text = asset(name).body.decode()
        html = html.replace(f'<link rel="stylesheet" href="/page/{name}">', f"<style>{text}</style>")
    data = json.dumps({**document, "buttons": False, "made_s": time.time()}, separators=(",", ":")).replace(
        "<", "\\u003c"
    )
    html = html.replace("<script ", f'<script type="application/json" id="data">{data}</script>\n<script ', 1)
    for name in ("uPlot.iife.min.js", "page.js"):
        text = asset(name).body.decode()
        html = html.replace(f'<script src="/page/{name}"></script>', f"<script>{text}</script>")
    allowed = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"
    return html.replace("<title>", f'<meta http-equiv="Content-Security-Policy" content="{allowed}">\n<title>', 1)


def _error(status: int, text: str) -> PageReply:
    return json_reply(HTTPStatus(status), {"error": text})


def _send(environ: "WSGIEnvironment", start_response: "StartResponse", reply: PageReply) -> Sequence[bytes]:
    headers = [
        ("Content-Type", f"{reply.kind}; charset=utf-8"),
        ("Content-Security-Policy", POLICY),
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "no-referrer"),
        ("Cache-Control", "no-store"),
        ("Vary", "Accept-Encoding"),
    ]
    if reply.file_name:
        headers.append(("Content-Disposition", f'attachment; filename="{reply.file_name}"'))
    body = reply.body
    if len(body) > LONGEST_BODY and "gzip" in environ.get("HTTP_ACCEPT_ENCODING", ""):
        body = _zipped(body) if reply.kind in TYPES.values() and len(body) < 100_000 else gzip.compress(body, 6)
        headers.append(("Content-Encoding", "gzip"))
    headers.append(("Content-Length", str(len(body))))
    start_response(f"{reply.status.value} {reply.status.phrase}", headers)
    return [] if environ.get("REQUEST_METHOD") == "HEAD" else [body]
