"""SIGTERM: whatever a client has sent by then is answered, and the pod ends with 0."""

import http.client
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.function.test_server import Pod

ROUNDS, CONCURRENT = 20, 12

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]


@pytest.fixture
def start(model_dir: Path) -> Iterator[Callable[[], Pod]]:
    """Pods in which a request takes 30 ms at least, so that twelve at once queue."""
    started: list[Pod] = []

    def run() -> Pod:
        started.append(Pod(model_dir, PAD_SERVICE_S="0.03"))
        return started[-1].ready()

    yield run
    for pod in started:
        pod.process.kill()
        pod.process.communicate()


def sent(pod: Pod, photograph: bytes) -> socket.socket:
    """A connection on which a whole request is on its way; nothing of the answer is read yet."""
    head = (
        "POST /predict HTTP/1.1\r\nHost: pod\r\nContent-Type: image/jpeg\r\n"
        f"Content-Length: {len(photograph)}\r\nConnection: close\r\n\r\n"
    )
    connection = socket.create_connection(("127.0.0.1", pod.port), timeout=60)
    connection.sendall(head.encode() + photograph)
    return connection


def status(connection: socket.socket) -> int:
    """Of the answer, read to its last byte; 0 for a connection that was reset or closed without one."""
    try:
        answer = http.client.HTTPResponse(connection, method="POST")
        answer.begin()
        answer.read()
        return answer.status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def test_twelve_requests_at_sigterm_are_all_answered_twenty_times_in_turn(
    start: Callable[[], Pod], samples_dir: Path
) -> None:
    photograph = (samples_dir / "cat.jpg").read_bytes()
    answered, ended = 0, []
    for _ in range(ROUNDS):
        pod = start()
        connections = [sent(pod, photograph) for _ in range(CONCURRENT)]
        pod.process.terminate()
        answered += [status(connection) for connection in connections].count(200)
        ended.append(pod.process.wait(60))
    assert (answered, ended) == (ROUNDS * CONCURRENT, [0] * ROUNDS)


def test_who_comes_after_sigterm_is_refused_not_reset(start: Callable[[], Pod], samples_dir: Path) -> None:
    """A refused connection can be tried elsewhere without a doubt: nothing of it was read."""
    photograph = (samples_dir / "cat.jpg").read_bytes()
    pod = start()
    running = [sent(pod, photograph) for _ in range(CONCURRENT)]
    pod.process.terminate()
    assert status(running[0]) == 200
    deadline_s, refused = time.monotonic() + 60, False
    while not refused:
        assert time.monotonic() < deadline_s, "it never stopped listening"
        try:
            late = sent(pod, photograph)
        except ConnectionRefusedError:
            refused = True
        else:
            assert status(late) == 200
    assert [status(connection) for connection in running[1:]] == [200] * (CONCURRENT - 1)
