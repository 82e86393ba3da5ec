"""SIGTERM: requests sent before it get a response, and the pod exits with 0."""

import http.client
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.effort import effort
from tests.function.test_server import Pod

ROUNDS, CONCURRENT = effort(6, ci=20), 12

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]


@pytest.fixture
def start(model_dir: Path) -> Iterator[Callable[[], Pod]]:
    """Start pods in which a request takes at least 30 ms, so that twelve concurrent requests queue."""
    started: list[Pod] = []

    def run() -> Pod:
        started.append(Pod(model_dir, PAD_SERVICE_S="0.03"))
        return started[-1].ready()

    yield run
    for pod in started:
        pod.kill()


def sent(pod: Pod, photograph: bytes) -> socket.socket:
    """Send a whole request and return its connection without reading the response."""
    head = (
        "POST /predict HTTP/1.1\r\nHost: pod\r\nContent-Type: image/jpeg\r\n"
        f"Content-Length: {len(photograph)}\r\nConnection: close\r\n\r\n"
    )
    connection = socket.create_connection(("127.0.0.1", pod.port), timeout=60)
    connection.sendall(head.encode() + photograph)
    return connection


def status(connection: socket.socket) -> int:
    """Read the whole response and return its status; 0 if the connection was reset or closed without one."""
    try:
        response = http.client.HTTPResponse(connection, method="POST")
        response.begin()
        response.read()
        return response.status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def test_all_twelve_requests_in_flight_at_sigterm_are_answered_in_every_round(
    start: Callable[[], Pod], samples_dir: Path
) -> None:
    photograph = (samples_dir / "cat.jpg").read_bytes()
    answered, exit_codes = 0, []
    for _ in range(ROUNDS):
        pod = start()
        connections = [sent(pod, photograph) for _ in range(CONCURRENT)]
        pod.process.terminate()
        answered += [status(connection) for connection in connections].count(200)
        exit_codes.append(pod.process.wait(60))
    assert (answered, exit_codes) == (ROUNDS * CONCURRENT, [0] * ROUNDS)


def test_a_connection_after_sigterm_is_refused_and_not_reset(start: Callable[[], Pod], samples_dir: Path) -> None:
    """A client can safely retry a refused connection elsewhere, because none of its request was read."""
    photograph = (samples_dir / "cat.jpg").read_bytes()
    pod = start()
    running = [sent(pod, photograph) for _ in range(CONCURRENT)]
    pod.process.terminate()
    assert status(running[0]) == 200
    deadline_s, refused = time.monotonic() + 60, False
    while not refused:
        assert time.monotonic() < deadline_s, "the pod did not stop listening"
        try:
            late = sent(pod, photograph)
        except ConnectionRefusedError:
            refused = True
        else:
            assert status(late) == 200
    assert [status(connection) for connection in running[1:]] == [200] * (CONCURRENT - 1)
