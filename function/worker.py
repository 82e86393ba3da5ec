"""gunicorn's threaded worker, which at SIGTERM also answers what the kernel had accepted for it."""

import socket
import struct
import time

from gunicorn.workers.gthread import _DEFER, STOP_KEEPALIVE_LINGER, TConn, ThreadWorker

# Between two pieces of a request: who is silent for so long has gone, or holds a thread for nothing.
MOST_SILENT_S = 10
TIMEVAL = struct.Struct("ll")  # seconds and microseconds, of socket(7)'s SO_RCVTIMEO


class DrainingWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """Takes in every connection that waits at SIGTERM, then stops listening: later ones are refused, none is reset.

    gthread alone only stops accepting: a connection that waits in the kernel's queue, or that comes while the last
    requests are answered, is reset when the worker ends. And gthread alone lets a client that sends nothing have a
    thread for five seconds, and one that stops within its request for ever: four of them, and no probe is answered.
    """

    def handle(self, conn: TConn) -> object:
        """In a thread; who has sent nothing yet waits with the poller instead."""
        if self.alive and not conn.initialized and not conn.wait_for_data(0):
            return _DEFER
        conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, TIMEVAL.pack(MOST_SILENT_S, 0))
        return super().handle(conn)

    def set_accept_enabled(self, enabled: bool) -> None:
        super().set_accept_enabled(enabled)
        if enabled or self.alive:
            return
        for conn in self.pending_conns:  # has sent nothing: waited for as long as for one that is kept alive
            conn.timeout = min(conn.timeout, time.monotonic() + STOP_KEEPALIVE_LINGER)
        for listener in self.sockets:
            self._accept_all(listener)
            listener.close()

    def _accept_all(self, listener: object) -> None:
        accepted = -1
        while accepted < self.nr_conns:  # a connection that was accepted is counted
            accepted = self.nr_conns
            self.accept(listener)
