"""The worker at SIGTERM: a connection whose request is still on its way is kept, and then served."""

import selectors
import socket
from collections import deque
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.workers.gthread import _DEFER

from function.worker import DrainingWorker


class Connection:
    """A connection that a thread has returned because it had no data yet."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock, self.timeout, self.parser = sock, 0.0, None
        self.closed = False

    def close(self, graceful: bool = False) -> None:
        self.closed = True


@pytest.mark.integration
@pytest.mark.parametrize("alive", [True, False], ids=["serving", "after SIGTERM"])
def test_a_connection_without_data_goes_back_to_the_poller(alive: bool) -> None:
    worker: Any = DrainingWorker.__new__(DrainingWorker)
    worker.alive, worker.nr_conns, worker.pending_conns = alive, 1, deque()
    worker.poller, worker.cfg = selectors.DefaultSelector(), SimpleNamespace(keepalive=2)
    served: list[Connection] = []
    worker.enqueue_req = served.append
    ours, theirs = socket.socketpair()
    with ours, theirs, worker.poller:
        connection, future = Connection(ours), Future[object]()
        future.set_result(_DEFER)
        worker.finish_request(connection, future)
        assert (connection.closed, worker.nr_conns) == (False, 1)
        theirs.sendall(b"POST /predict HTTP/1.1\r\n")
        ((key, _),) = worker.poller.select(timeout=5)
        key.data(key.fileobj)
        assert served == [connection]
