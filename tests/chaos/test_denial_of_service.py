"""Clients that mean harm to the dispatcher: normal clients are answered meanwhile, and everything is given back."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress

import psutil
import pytest
import requests
import uvloop

from tests.chaos.traffic import Traffic
from tests.open_files import allow_open_files
from tests.paths import ROOT
from tests.ports import free_port, wait_for
from tests.stubs.processes import RunningDispatcher, dispatcher, stub_pods

CONNECTIONS = 5000
REQUESTS = 100

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("denial-of-service")]


@pytest.fixture(scope="module")
def found() -> Iterator[RunningDispatcher]:
    """Return a dispatcher whose times are short: a body may pause for 2 s and must be there within 4 s."""
    allow_open_files(CONNECTIONS + 1000)
    with ExitStack() as stack:
        ports = stack.enter_context(stub_pods(2, 0.003))
        yield stack.enter_context(dispatcher(ports, "--body-timeout-s", "2", "--request-timeout-s", "4"))


def answered(port: int) -> int:
    """Send normal requests; return how many got their own answer."""
    traffic = Traffic(port, f"normal-{time.monotonic_ns()}")
    uvloop.run(traffic.run(REQUESTS))
    return traffic.ledger.counts()["answered"]


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def last_words(client: socket.socket) -> bytes:
    """Return what a connection gets until it ends."""
    received = b""
    with suppress(ConnectionResetError):
        while more := client.recv(65536):
            received += more
    return received


def body_a_byte_at_a_time(port: int, stop: threading.Event) -> bytes:
    with connect(port) as client:
        client.sendall(b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 999\r\n\r\n")
        with suppress(OSError):
            while not stop.wait(0.2):
                client.sendall(b"x")
                client.settimeout(0.01)
                with suppress(TimeoutError):
                    return client.recv(65536)
    return b""


def test_bodies_that_come_a_byte_at_a_time_end_with_408(found: RunningDispatcher) -> None:
    """Each byte comes before --body-timeout-s is over, as one every 9 s would with its default."""
    stop = threading.Event()
    with ThreadPoolExecutor(50) as threads:
        slow = [threads.submit(body_a_byte_at_a_time, found.port, stop) for _ in range(50)]
        assert answered(found.port) == REQUESTS
        stop_timer = threading.Timer(60, stop.set)
        stop_timer.start()
        answers = [one.result() for one in slow]
        stop_timer.cancel()
    assert all(answer.startswith(b"HTTP/1.1 408 ") for answer in answers), answers[:3]
    assert all(b"--request-timeout-s 4, got " in answer for answer in answers), answers[:3]


def head_without_end(port: int) -> bytes:
    """Send up to 8 MB of a head, in fields that are each small enough."""
    with connect(port) as client:
        with suppress(ConnectionError):
            client.sendall(b"POST /predict HTTP/1.1\r\nHost: a\r\n")
            for number in range(130):
                client.sendall(b"x-%d: %s\r\n" % (number, b"a" * 60_000))
        return last_words(client)


def test_heads_without_end_are_cut_and_cost_no_memory(found: RunningDispatcher) -> None:
    before = found.resident_bytes()
    with ThreadPoolExecutor(20) as threads:
        hostile = [threads.submit(head_without_end, found.port) for _ in range(60)]
        assert answered(found.port) == REQUESTS
        assert {one.result()[:12] for one in hostile} <= {b"", b"HTTP/1.1 431"}
    assert found.resident_bytes() < before + 100e6


def test_many_heads_of_allowed_size_cost_no_more_than_their_bound_together(found: RunningDispatcher) -> None:
    """Without that bound, 1,500 heads would take 300 MB, if long fields are sent, or half of that with short ones."""
    before = found.resident_bytes()
    for fields in (b"".join(b"x-%d: %s\r\n" % (n, b"a" * 50_000) for n in range(4)), b"a: b\r\n" * 900):
        with ExitStack() as clients:
            for _ in range(1500):
                client = clients.enter_context(connect(found.port))
                with suppress(ConnectionError):
                    client.sendall(b"POST /predict HTTP/1.1\r\nHost: a\r\n" + fields)
            assert answered(found.port) == REQUESTS
            assert found.resident_bytes() < before + 150e6


def test_five_thousand_connections_keep_no_client_out_and_are_given_back(found: RunningDispatcher) -> None:
    process = psutil.Process(found.pid)
    before, memory = process.num_fds(), found.resident_bytes()
    with ExitStack() as clients:
        for number in range(CONNECTIONS):
            client = clients.enter_context(connect(found.port))
            client.sendall(b"" if number % 2 else b"POST /predict HTTP/1.1\r\nHost: a\r\nx: ")
        assert answered(found.port) == REQUESTS
        assert process.num_fds() >= CONNECTIONS
        assert found.resident_bytes() < memory + 300e6
    deadline_s = time.monotonic() + 60
    while process.num_fds() > before + 50:
        assert time.monotonic() < deadline_s, process.num_fds()
        time.sleep(0.1)
    assert answered(found.port) == REQUESTS


@contextmanager
def with_few_files(pod: int, open_files: int) -> Iterator[tuple[int, int]]:
    """Run a dispatcher that may open so many files; yield its port and its process id."""
    port = free_port()
    ports = f"--port {port} --control-port {free_port(taken={port})} --ml-service-url http://127.0.0.1:{pod}"
    command = f"ulimit -n {open_files}; exec {sys.executable} -m dispatcher --host 127.0.0.1 {ports}"
    process = subprocess.Popen(["bash", "-c", command], cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        wait_for(f"http://127.0.0.1:{port}/")
        yield port, process.pid
    finally:
        process.kill()
        process.wait()


def test_connections_above_three_quarters_of_the_files_are_closed_and_pods_stay_reachable() -> None:
    with stub_pods(1, 0.003) as (pod,), with_few_files(pod, 200) as (port, pid), ExitStack() as clients:
        normal = requests.Session()
        clients.callback(normal.close)
        assert normal.get(f"http://127.0.0.1:{port}/", timeout=60).status_code == 200
        opened = [clients.enter_context(connect(port)) for _ in range(300)]
        assert all(client.recv(1) == b"" for client in opened[-150:]), "closed at once"
        assert psutil.Process(pid).num_fds() < 190
        assert normal.post(f"http://127.0.0.1:{port}/predict", data=b"x", timeout=60).status_code == 200
        for client in opened:
            client.close()
        deadline_s = time.monotonic() + 60
        while psutil.Process(pid).num_fds() > 50:
            assert time.monotonic() < deadline_s
            time.sleep(0.1)
        assert requests.post(f"http://127.0.0.1:{port}/predict", data=b"x", timeout=60).status_code == 200
