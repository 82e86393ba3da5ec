"""gunicorn's threaded worker, extended to drain queued connections at SIGTERM and to time out stalled clients.

Requests that gunicorn itself refuses get the app's own form of a refusal.
"""

import io
import selectors
import socket
import struct
import sys
import time
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any

from gunicorn.http import errors
from gunicorn.http.parser import RequestParser
from gunicorn.http.unreader import SocketUnreader
from gunicorn.workers.gthread import _DEFER, STOP_KEEPALIVE_LINGER, TConn, ThreadWorker

# Longest pause within a request. A client that pauses longer loses its thread, and gets 408 if its body is incomplete.
MAX_PAUSE_S = 10
# Slowest rate at which a request may come after that time: a byte every 9 s would hold a thread for ever.
MIN_BYTES_PER_S = 16 * 1024
# After a refusal the rest of the request is read and dropped, until the client pauses or the time is over. Closing the
# connection earlier would reset it, and clients that read only after they have sent would lose the response.
MAX_LINGER_S = 10
MAX_LINGER_PAUSE_S = 2
STATUSES: Mapping[type[BaseException], int] = {
    errors.LimitRequestLine: 414,
    errors.LimitRequestHeaders: 431,
    errors.ExpectationFailed: 417,
}
MAX_TEXT_CHARS = 200
TLS_HANDSHAKE = b"\x16"  # the first byte of a TLS connection. Source: RFC 8446, section 5.1
TIMEVAL = struct.Struct("ll")  # seconds and microseconds of SO_RCVTIMEO, socket(7)


REFUSAL = "function.refusal"  # key under which the app finds the status and text of a refusal (function/app.py)


class RefusedConnectionError(errors.ParseException):  # type: ignore[misc]  # gunicorn has no types
    """A client does not send a request in time, or does not speak HTTP; the text states the rule and the value."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


def left_s(received_bytes: int, passed_s: float) -> float:
    """Return how long a request may take until its next byte, 0 or less if it is too slow."""
    return min(MAX_PAUSE_S, MAX_PAUSE_S + received_bytes / MIN_BYTES_PER_S - passed_s)


class TimedUnreader(SocketUnreader):  # type: ignore[misc]  # as above
    """Reads a connection; a client that stalls or sends a request too slowly gets BlockingIOError."""

    def begin(self) -> None:
        """Begin to measure a request."""
        self._received_bytes, self._begin_s = 0, time.monotonic()

    def chunk(self, size_hint: int | None = None) -> bytes:
        """Return the next bytes."""
        waits_s = left_s(self._received_bytes, time.monotonic() - self._begin_s)
        if waits_s < 0.001:  # to the kernel, 0 is no timeout
            raise BlockingIOError
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, TIMEVAL.pack(int(waits_s), int(waits_s % 1 * 1e6)))
        data: bytes = super().chunk(size_hint)
        self._received_bytes += len(data)
        return data


class TimedParser(RequestParser):  # type: ignore[misc]  # as above
    """gunicorn's parser of requests, which also refuses clients that stall or dribble, and those that speak TLS."""

    def __init__(self, cfg: Any, source: socket.socket, source_addr: object) -> None:
        super().__init__(cfg, source, source_addr)
        self.unreader = TimedUnreader(source)

    def __next__(self) -> object:
        if self.mesg is None and self.unreader.sock.recv(1, socket.MSG_PEEK) == TLS_HANDSHAKE:
            raise RefusedConnectionError("this port serves HTTP, got the start of TLS: use http://, not https://", 400)
        self.unreader.begin()
        try:
            return super().__next__()
        except BlockingIOError as error:  # SO_RCVTIMEO
            raise RefusedConnectionError(f"timed out after {MAX_PAUSE_S} s in the request's head", 408) from error


def refusal(error: BaseException, cfg: Any) -> tuple[int, str]:
    """Return the status and the text for what gunicorn raised while it parsed a request. cfg: gunicorn's settings."""
    status = STATUSES.get(type(error), 400)
    if status == 431:
        text = f"at most {cfg.limit_request_fields} header fields of at most {cfg.limit_request_field_size} bytes each"
        return status, f"a request may have {text}, got more"
    if isinstance(error, RefusedConnectionError):
        return error.status, str(error)
    return status, f"malformed request: {str(error)[:MAX_TEXT_CHARS]}"


def linger(sock: socket.socket) -> None:
    """Read and drop what the client still sends, until it has read the response and closes, pauses, or time is over."""
    ends_s = time.monotonic() + MAX_LINGER_S
    with suppress(OSError):  # a reset, or the timeout
        sock.shutdown(socket.SHUT_WR)
        while (left_s := ends_s - time.monotonic()) > 0:
            sock.settimeout(min(left_s, MAX_LINGER_PAUSE_S))
            if not sock.recv(65536):
                return


def _has_unread(message: Any) -> bool:
    """Return whether a part of the body was not read, or could not be."""
    if message is None or message.body is None:
        return False
    reader = message.body.reader
    return bool(message.body.failed or getattr(reader, "length", 0) or getattr(reader, "parser", None))


class DrainingWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """A worker that at SIGTERM accepts all queued connections, then closes its listeners; no connection is reset.

    Plain gthread only stops accepting at SIGTERM. Connections in the kernel's queue, and those that arrive while the
    last requests are in progress, are reset when the worker exits. Plain gthread also lets an idle client hold a thread
    for five seconds, and a client that stalls within its request hold one forever; four such clients block every probe.
    """

    def handle(self, conn: TConn) -> object:
        """Serve a connection in a thread; return a connection without data to the poller instead."""
        if self.alive and not conn.initialized and not conn.wait_for_data(0):
            return _DEFER
        if conn.parser is None:
            conn.parser = TimedParser(conn.cfg, conn.sock, conn.client)
        conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, TIMEVAL.pack(MAX_PAUSE_S, 0))
        result = super().handle(conn)
        if result is False and conn.parser is not None and _has_unread(conn.parser.mesg):
            linger(conn.sock)
        return result

    def _keepalive_after(self, conn: TConn, keepalive: bool) -> bool:
        """Also close the connection if the unread rest of the body is malformed: the response has been sent."""
        try:
            return bool(super()._keepalive_after(conn, keepalive))
        except errors.ParseException:
            return False

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: BaseException) -> None:
        """Respond to a request that cannot be parsed as the app does to errors: in JSON, with X-Pod, and counted."""
        status, text = refusal(exc, self.cfg) if req is None or isinstance(exc, errors.ParseException) else (500, "")
        if status >= 500:
            self.log.error("failed to serve %s %s", req.method, req.uri, exc_info=exc)
        else:
            self.log.warning("refused a request of %s: %s", addr[0] if addr else "a local client", text)
        with suppress(OSError):
            client.sendall(self._rendered(status, text or "the pod failed to serve the request"))
        linger(client)

    def _rendered(self, status: int, text: str) -> bytes:
        """Return the app's response to a request that the worker refuses."""
        lines: list[str] = []

        def start_response(status_line: str, headers: list[tuple[str, str]], *_: object) -> None:
            lines.extend([f"HTTP/1.1 {status_line}", *(f"{name}: {value}" for name, value in headers)])

        environ = {
            **{"REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": "/", "QUERY_STRING": ""},
            **{"SERVER_NAME": "pod", "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1"},
            **{"wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(), "wsgi.errors": sys.stderr},
            REFUSAL: (status, text),
        }
        body = b"".join(self.wsgi(environ, start_response))
        return "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1") + body

    def finish_request(self, conn: TConn, future: Future[object]) -> None:
        """Return a connection without data to the poller also if SIGTERM came meanwhile: its request may be on its way.

        Plain gthread closes it then, because it treats the connection as one that has served a request.
        """
        if self.alive or future.cancelled() or future.exception() or future.result() is not _DEFER:
            super().finish_request(conn, future)
            return
        conn.sock.setblocking(False)
        conn.timeout = time.monotonic() + STOP_KEEPALIVE_LINGER
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self.on_pending_socket_readable, conn))

    def set_accept_enabled(self, enabled: bool) -> None:
        super().set_accept_enabled(enabled)
        if enabled or self.alive:
            return
        for conn in self.pending_conns:  # no data yet: closed after the same time as an idle keep-alive connection
            conn.timeout = min(conn.timeout, time.monotonic() + STOP_KEEPALIVE_LINGER)
        for listener in self.sockets:
            self._accept_all(listener)
            listener.close()

    def _accept_all(self, listener: object) -> None:
        accepted = -1
        while accepted < self.nr_conns:  # nr_conns grows with each accepted connection
            accepted = self.nr_conns
            self.accept(listener)
