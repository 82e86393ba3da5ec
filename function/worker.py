"""gunicorn's threaded worker, extended to drain queued connections at SIGTERM and to time out stalled clients."""

import selectors
import socket
import struct
import time
from concurrent.futures import Future
from functools import partial

from gunicorn.workers.gthread import _DEFER, STOP_KEEPALIVE_LINGER, TConn, ThreadWorker

# Longest pause within a request. A client that pauses longer loses its thread, and gets 408 if its body is incomplete.
MAX_PAUSE_S = 10
TIMEVAL = struct.Struct("ll")  # seconds and microseconds of SO_RCVTIMEO, socket(7)


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
        conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, TIMEVAL.pack(MAX_PAUSE_S, 0))
        return super().handle(conn)

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
