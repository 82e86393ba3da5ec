"""How the worker keeps and closes connections: no client holds up the thread that accepts and dispatches."""

import selectors
import socket
import struct
import time
from collections import deque
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.workers.gthread import _DEFER

from function.worker import DrainingWorker


class Connection:
    """A connection that a thread has returned."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock, self.timeout, self.parser = sock, 0.0, None
        self.closed = False

    def close(self, graceful: bool = False) -> None:
        self.closed = True


def made_worker(poller: selectors.BaseSelector, alive: bool = True) -> Any:
    """Return a worker with one connection, which runs in no process."""
    worker: Any = DrainingWorker.__new__(DrainingWorker)
    worker.alive, worker.nr_conns, worker.pending_conns, worker.half_closed = alive, 1, deque(), {}
    worker.poller, worker.cfg = poller, SimpleNamespace(keepalive=2)
    return worker


def returned(result: object) -> Future[object]:
    future = Future[object]()
    future.set_result(result)
    return future


def run_callback(poller: selectors.BaseSelector) -> None:
    ((key, _),) = poller.select(timeout=5)
    key.data(key.fileobj)


@pytest.mark.integration
@pytest.mark.parametrize("alive", [True, False], ids=["serving", "after SIGTERM"])
def test_a_connection_without_data_goes_back_to_the_poller(alive: bool) -> None:
    served: list[Connection] = []
    ours, theirs = socket.socketpair()
    with ours, theirs, selectors.DefaultSelector() as poller:
        worker, connection = made_worker(poller, alive), Connection(ours)
        worker.enqueue_req = served.append
        worker.finish_request(connection, returned(_DEFER))
        assert (connection.closed, worker.nr_conns) == (False, 1)
        theirs.sendall(b"POST /predict HTTP/1.1\r\n")
        run_callback(poller)
        assert served == [connection]


@pytest.mark.integration
def test_a_connection_after_its_last_response_stays_open_until_its_client_has_sent_all() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, selectors.DefaultSelector() as poller:
        worker, connection = made_worker(poller), Connection(ours)
        worker.finish_request(connection, returned(False))
        assert theirs.recv(1) == b""
        for _ in range(2):
            theirs.sendall(b"the rest of a body")
            run_callback(poller)
            worker.murder_pending()
            assert (connection.closed, worker.nr_conns) == (False, 1)
        theirs.shutdown(socket.SHUT_WR)
        run_callback(poller)
        assert (connection.closed, worker.nr_conns, dict(poller.get_map())) == (True, 0, {})


@pytest.mark.integration
@pytest.mark.parametrize("sends", [False, True], ids=["is silent", "sends for ever"])
def test_a_client_that_does_not_close_loses_its_connection(sends: bool) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, selectors.DefaultSelector() as poller:
        worker, connection = made_worker(poller), Connection(ours)
        worker.finish_request(connection, returned(False))
        if sends:
            worker.half_closed[connection] = time.monotonic()
            theirs.sendall(b"x")
            run_callback(poller)
        else:
            connection.timeout = time.monotonic()
            worker.murder_pending()
        assert (connection.closed, worker.nr_conns, dict(poller.get_map())) == (True, 0, {})


@pytest.mark.integration
def test_a_connection_that_its_client_has_reset_is_closed_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, selectors.DefaultSelector() as poller:
        theirs = socket.create_connection(server.getsockname())
        ours, _ = server.accept()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        theirs.close()
        with ours:
            worker, connection = made_worker(poller), Connection(ours)
            worker.finish_request(connection, returned(False))
            assert (connection.closed, worker.nr_conns, dict(poller.get_map())) == (True, 0, {})
