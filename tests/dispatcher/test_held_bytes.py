"""The bound on all bodies together: a body counts until nothing holds it, wherever its request waits."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.dispatcher.journal.redis_server import RedisServer
from tests.dispatcher.processes import PLAIN, Dispatcher, RawPod, Stub, post

pytestmark = pytest.mark.integration

Dispatch = Callable[..., Dispatcher]
BODY = bytes(1_000_000)
TWO_FIT = ("--queue-bytes", "2500000")


def held_bytes(dispatcher: Dispatcher) -> int:
    return int(requests.get(f"{dispatcher.control}/queue", timeout=10).json()["held_bytes"])


def wait_for_held(dispatcher: Dispatcher, wanted_bytes: int) -> None:
    deadline_s = time.monotonic() + 60
    while (held := held_bytes(dispatcher)) != wanted_bytes:
        assert time.monotonic() < deadline_s, held
        time.sleep(0.02)


def wait_for_a_client_to_be_gone(dispatcher: Dispatcher) -> None:
    deadline_s = time.monotonic() + 60
    while 'status="499"' not in requests.get(f"{dispatcher.control}/metrics", timeout=10).text:
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def is_refused(answer: requests.Response) -> bool:
    return answer.status_code == 503 and "--queue-bytes" in answer.json()["error"]


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    yield server
    server.kill()


def test_bodies_that_wait_for_a_redis_that_hangs_count_also_if_their_clients_have_left(
    dispatch: Dispatch, pool: ThreadPoolExecutor, redis: RedisServer
) -> None:
    dispatcher = dispatch("--ml-service-url", Stub().url, "--journal", redis.url, *TWO_FIT)
    kept: dict[str, Any] = {"files": None, "data": BODY, "headers": {"Prefer": "respond-async"}}
    redis.freeze()
    stays = pool.submit(dispatcher.post, **kept)
    with socket.create_connection(("127.0.0.1", dispatcher.port), timeout=30) as client:
        client.sendall(post(b"Prefer: respond-async", body=BODY))
        wait_for_held(dispatcher, 2 * len(BODY))
    wait_for_a_client_to_be_gone(dispatcher)
    assert held_bytes(dispatcher) == 2 * len(BODY)
    assert is_refused(dispatcher.post(**kept))
    redis.thaw()
    assert stays.result().status_code == 202
    wait_for_held(dispatcher, 0)


def test_bodies_of_requests_that_wait_for_the_answer_to_another_one_count(
    dispatch: Dispatch, pool: ThreadPoolExecutor
) -> None:
    dispatcher = dispatch("--accept-backends", *TWO_FIT)
    keyed: dict[str, Any] = {"files": None, "data": BODY, "headers": {"Idempotency-Key": "k"}}
    equal = [pool.submit(dispatcher.post, **keyed) for _ in range(2)]
    wait_for_held(dispatcher, 2 * len(BODY))
    assert is_refused(dispatcher.post(**keyed))
    dispatcher.set_capacity(ready_pods=1, concurrency=1, valid_s=60, backends=[Stub().url])
    assert [one.result().status_code for one in equal] == [200, 200]
    wait_for_held(dispatcher, 0)
    assert dispatcher.post(**keyed).status_code == 200


def test_the_body_of_a_request_that_does_not_queue_counts_until_the_pod_has_answered(
    dispatch: Dispatch, pool: ThreadPoolExecutor
) -> None:
    may_answer = threading.Event()
    pod = RawPod(lambda head, body: PLAIN if may_answer.wait(60) else b"")
    dispatcher = dispatch("--ml-service-url", pod.url, *TWO_FIT)
    dispatcher.set_capacity(ready_pods=1, concurrency=1, valid_s=600)
    got = pool.submit(requests.get, f"{dispatcher.url}/v2/models/cats", data=BODY, timeout=60)
    wait_for_held(dispatcher, len(BODY))
    may_answer.set()
    assert got.result().text == "ok"
    wait_for_held(dispatcher, 0)
