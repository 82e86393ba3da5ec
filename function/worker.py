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
# Longest wait for a client that does not read. A response of which a part still fits is waited for twice.
MAX_SEND_PAUSE_S = MAX_PAUSE_S // 2
# After the last response of a connection, what the client still sends is read and dropped, until it pauses or the time
# is over. Closing the connection earlier would reset it, and clients that read only after they have sent would lose the
# response.
MAX_LINGER_S = 10
MAX_LINGER_PAUSE_S = 2
STATUSES: Mapping[type[BaseException], int] = {
    errors.LimitRequestLine: 414,
    errors.LimitRequestHeaders: 431,
    errors.ExpectationFailed: 417,
}
MAX_TEXT_CHARS = 200
TLS_HANDSHAKE = b"\x16"  # the first byte of a TLS connection. Source: RFC 8446, section 5.1
TIMEVAL = struct.Struct("ll")  # seconds and microseconds of SO_RCVTIMEO and SO_SNDTIMEO, socket(7)


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


def _client_name(addr: Any) -> str:
    return str(addr[0]) if addr else "a local client"


class DrainingWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """A worker that at SIGTERM accepts all queued connections, then closes its listeners; no connection is reset.

    Plain gthread only stops accepting at SIGTERM. Connections in the kernel's queue, and those that arrive while the
    last requests are in progress, are reset when the worker exits. Plain gthread also lets an idle client hold a thread
    for five seconds, and a client that stalls within its request, or does not read, hold one forever; four such clients
    block every probe. One that does not close after its last response stops the whole worker for two seconds.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Connections whose last response was sent, with the time until which they may send; the longest silent first.
        self.half_closed: dict[TConn, float] = {}

    def handle(self, conn: TConn) -> object:
        """Serve a connection in a thread; return a connection without data to the poller instead."""
        if self.alive and not conn.initialized and not conn.wait_for_data(0):
            return _DEFER
        if conn.parser is None:
            conn.parser = TimedParser(conn.cfg, conn.sock, conn.client)
        conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, TIMEVAL.pack(MAX_PAUSE_S, 0))
        conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, TIMEVAL.pack(MAX_SEND_PAUSE_S, 0))
        return super().handle(conn)

    def handle_request(self, req: Any, conn: TConn) -> bool:
        """Close the connection of a client that does not read its response."""
        try:
            return bool(super().handle_request(req, conn))
        except BlockingIOError:  # SO_SNDTIMEO
            self.log.warning("closed a connection of %s, which did not read its response", _client_name(conn.client))
            return False

    def _keepalive_after(self, conn: TConn, keepalive: bool) -> bool:
        """Also close the connection if the unread rest of the body is malformed or late: the response has been sent."""
        try:
            return bool(super()._keepalive_after(conn, keepalive))
        except (errors.ParseException, BlockingIOError):
            return False

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: BaseException) -> None:
        """Respond to a request that cannot be parsed as the app does to errors: in JSON, with X-Pod, and counted."""
        status, text = refusal(exc, self.cfg) if req is None or isinstance(exc, errors.ParseException) else (500, "")
        if status >= 500:
            self.log.error("failed to serve %s %s", req.method, req.uri, exc_info=exc)
        else:
            self.log.warning("refused a request of %s: %s", _client_name(addr), text)
        with suppress(OSError):
            client.sendall(self._rendered(status, text or "the pod failed to serve the request"))

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
        """Close a connection without waiting, and return one without data to the poller also after SIGTERM.

        Plain gthread closes the latter then, as one that has served a request, although its request may be on its way.
        """
        result = False if future.cancelled() or future.exception() else future.result()
        if not result:
            self._half_close(conn)
        elif self.alive or result is not _DEFER:
            super().finish_request(conn, future)
        else:
            conn.sock.setblocking(False)
            conn.timeout = time.monotonic() + STOP_KEEPALIVE_LINGER
            self.pending_conns.append(conn)
            self.poller.register(conn.sock, selectors.EVENT_READ, partial(self.on_pending_socket_readable, conn))

    def _half_close(self, conn: TConn) -> None:
        """End the responses of a connection, and let the poller wait until its client closes it too.

        Plain gthread waits in the thread that also accepts connections and dispatches requests.
        """
        now_s = time.monotonic()
        conn.timeout = now_s + MAX_LINGER_PAUSE_S
        self.half_closed[conn] = now_s + MAX_LINGER_S
        try:
            conn.sock.setblocking(False)
            conn.sock.shutdown(socket.SHUT_WR)
            self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._drop, conn))
        except OSError:  # reset, or closed after an error
            self._close(conn)

    def _drop(self, conn: TConn, sock: socket.socket) -> None:
        """Read and drop what a client sends after its last response; close the connection if it has closed it."""
        now_s, ends_s = time.monotonic(), self.half_closed[conn]
        with suppress(OSError):  # a reset
            if sock.recv(65536) and now_s < ends_s:
                conn.timeout = now_s + MAX_LINGER_PAUSE_S
                self.half_closed[conn] = self.half_closed.pop(conn)
                return
        self._close(conn)

    def _close(self, conn: TConn) -> None:
        """Close a half-closed connection."""
        del self.half_closed[conn]
        with suppress(KeyError, ValueError):  # it was never registered
            self.poller.unregister(conn.sock)
        self.nr_conns -= 1
        conn.close()

    def murder_pending(self) -> None:
        """Also close the half-closed connections whose clients have neither sent nor closed in time."""
        super().murder_pending()
        while self.half_closed and (conn := next(iter(self.half_closed))).timeout <= time.monotonic():
            self._close(conn)

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
