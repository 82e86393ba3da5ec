"""Clients that send too slowly, too much, or only connect: the pod still answers the others, and gets everything back."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
import requests

from function.worker import MAX_PAUSE_S, MIN_BYTES_PER_S, left_s
from tests.function.test_server import Pod
from tests.open_files import allow_open_files

CONNECTIONS = 5000


@pytest.mark.parametrize(
    ("received_bytes", "passed_s", "wait_s"),
    [
        pytest.param(0, 0, MAX_PAUSE_S, id="at first the longest pause"),
        pytest.param(0, 4, MAX_PAUSE_S - 4, id="the rest of it while nothing has come"),
        pytest.param(2, 9 * 2, MAX_PAUSE_S - 18, id="a byte every 9 s is over after the second"),
        pytest.param(60 * MIN_BYTES_PER_S, 60, MAX_PAUSE_S, id="the lowest rate may go on"),
        pytest.param(600 * MIN_BYTES_PER_S, 60, MAX_PAUSE_S, id="a fast client may not pause for longer"),
        pytest.param(30 * MIN_BYTES_PER_S, 45, -5, id="half of the lowest rate is over"),
    ],
)
def test_a_request_may_wait_for_its_next_byte(received_bytes: int, passed_s: float, wait_s: float) -> None:
    assert left_s(received_bytes, passed_s) == pytest.approx(wait_s, abs=0.01)


@pytest.fixture(scope="module")
def pod(model_dir: Path) -> Iterator[Pod]:
    started = Pod(model_dir, THREADS="2").ready()
    yield started
    started.kill()


def dribble(connection: socket.socket, start: bytes, stop: threading.Event) -> None:
    """Send a byte each half second, far more often than the longest pause."""
    try:
        connection.sendall(start)
        while not stop.wait(0.5):
            connection.sendall(b"x")
    except OSError:  # the pod has ended the connection
        return


@pytest.mark.integration
def test_a_client_for_each_thread_that_dribbles_holds_up_nothing_for_long(pod: Pod) -> None:
    stop = threading.Event()
    heads = (b"POST /predict HTTP/1.1\r\nHost: ", b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 9999\r\n\r\n")
    with ExitStack() as clients:
        clients.callback(stop.set)
        slow = []
        for head in heads:
            slow.append(clients.enter_context(socket.create_connection(("127.0.0.1", pod.port), timeout=60)))
            threading.Thread(target=dribble, args=(slow[-1], head, stop), daemon=True).start()
        time.sleep(1)
        assert requests.get(f"{pod.url}/health/liveness", timeout=60).status_code == 200
        assert [b" 408 " in client.recv(100) for client in slow] == [True, True]


@pytest.mark.integration
def test_refused_clients_that_dribble_on_hold_no_thread(pod: Pod) -> None:
    """A probe is answered long before their connections are closed."""
    stop = threading.Event()
    with ExitStack() as stack:
        stack.callback(stop.set)
        refused = [stack.enter_context(connect(pod)) for _ in range(2)]
        for client in refused:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
            assert b" 400 " in client.recv(100)
            threading.Thread(target=dribble, args=(client, b"", stop), daemon=True).start()
        began_s = time.monotonic()
        assert requests.get(f"{pod.url}/health/liveness", timeout=60).status_code == 200
        probe_s = time.monotonic() - began_s
        wait_until_closed(pod, refused)
        assert probe_s < (time.monotonic() - began_s) / 2


@pytest.mark.integration
@pytest.mark.parametrize(
    "request_",
    [b"GET / HTTP/1.0\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"],
    ids=["HTTP/1.0", "Connection: close"],
)
def test_clients_that_do_not_close_after_their_last_response_hold_up_nothing(pod: Pod, request_: bytes) -> None:
    """A probe is answered before the pod has closed any of their connections."""
    assert any(open_after_a_probe(pod, request_, count=10) == 10 for _ in range(5))


def open_after_a_probe(pod: Pod, request_: bytes, count: int) -> int:
    """Let so many clients stay open after their response, then send a probe; return how many are open after it."""
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(pod)) for _ in range(count)]
        for client in clients:
            client.sendall(request_)
        while clients[0].recv(65536):  # until the pod has begun to close it
            pass
        assert requests.get(f"{pod.url}/health/liveness", timeout=120).status_code == 200
        return open_connections(pod, clients)


@pytest.mark.integration
def test_a_client_for_each_thread_that_does_not_read_loses_its_connection(pod: Pod) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.socket()) for _ in range(2)]
        for client in clients:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", pod.port))
            client.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n" * 400)  # 19 MB of responses
        wait_until_closed(pod, clients)
        assert requests.get(f"{pod.url}/health/liveness", timeout=60).status_code == 200


@pytest.mark.integration
def test_a_head_that_never_ends_is_refused(pod: Pod) -> None:
    memory = resident_bytes(pod)
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", pod.port), timeout=60) as client:
            try:
                client.sendall(
                    b"GET / HTTP/1.1\r\n" + b"".join(b"x-%d: %s\r\n" % (i, b"a" * 8000) for i in range(2000))
                )
            except OSError:  # refused before all was sent
                continue
            assert client.recv(100).startswith(b"HTTP/1.1 431 ")
    assert resident_bytes(pod) < memory + 50e6
    assert requests.get(f"{pod.url}/health/liveness", timeout=60).status_code == 200


@pytest.mark.integration
def test_five_thousand_connections_keep_no_client_out_and_are_given_back(pod: Pod) -> None:
    allow_open_files(CONNECTIONS + 500)
    before = open_files(pod)
    with ExitStack() as clients:
        for _ in range(CONNECTIONS):
            clients.enter_context(socket.create_connection(("127.0.0.1", pod.port), timeout=60))
        for _ in range(5):
            assert requests.get(f"{pod.url}/health/liveness", timeout=60).status_code == 200
        assert open_files(pod) > before + CONNECTIONS - 100
    deadline_s = time.monotonic() + 120
    while open_files(pod) > before + 10:
        assert time.monotonic() < deadline_s, open_files(pod)
        time.sleep(0.2)


def connect(pod: Pod) -> socket.socket:
    return socket.create_connection(("127.0.0.1", pod.port), timeout=60)


def open_connections(pod: Pod, clients: list[socket.socket]) -> int:
    """Return how many connections of these clients the pod has not closed yet."""
    (worker,) = psutil.Process(pod.process.pid).children()
    ports = {client.getsockname()[1] for client in clients}
    return sum(bool(found.raddr) and found.raddr.port in ports for found in worker.net_connections("tcp"))


def wait_until_closed(pod: Pod, clients: list[socket.socket]) -> None:
    deadline_s = time.monotonic() + 120
    while open_connections(pod, clients):
        assert time.monotonic() < deadline_s
        time.sleep(0.2)


def open_files(pod: Pod) -> int:
    return sum(worker.num_fds() for worker in psutil.Process(pod.process.pid).children())


def resident_bytes(pod: Pod) -> int:
    return sum(int(worker.memory_info().rss) for worker in psutil.Process(pod.process.pid).children())
