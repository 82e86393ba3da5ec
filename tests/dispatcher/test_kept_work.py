"""Asynchronous work with real processes: accepted once, it survives kill -9, SIGTERM and a Redis that is away."""

import hashlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.dispatcher.journal.redis_server import RedisServer
from tests.dispatcher.processes import Dispatcher, Stub
from tests.paths import ROOT
from tests.ports import free_port

pytestmark = pytest.mark.integration

ASYNC = {"Prefer": "respond-async"}
NO_PODS = {"ready_pods": 0, "concurrency": 1, "valid_s": 600}


def accept(dispatcher: Dispatcher, **arguments: Any) -> str:
    """Return the location of an accepted request."""
    answer = dispatcher.post(**({"headers": ASYNC} | arguments))
    assert answer.status_code == 202, answer.text
    return answer.headers["Location"]


def result(dispatcher: Dispatcher, location: str, **arguments: Any) -> requests.Response:
    """Poll until the job has ended."""
    deadline_s = time.monotonic() + 60
    while time.monotonic() < deadline_s:
        answer = requests.get(dispatcher.url + location, timeout=10, **arguments)
        if answer.status_code != 202:
            return answer
        time.sleep(0.02)
    raise AssertionError(f"{location} did not end")


def accept_many(dispatcher: Dispatcher, count: int) -> list[str]:
    with ThreadPoolExecutor(16) as threads:
        return list(threads.map(lambda _: accept(dispatcher), range(count)))


def test_accept_poll_cancel(dispatch: Callable[..., Dispatcher], tmp_path: Path) -> None:
    stub = Stub()
    dispatcher = dispatch("--ml-service-url", stub.url, "--journal", str(tmp_path / "jobs.sqlite3"))
    location = accept(dispatcher)
    answer = result(dispatcher, location)
    assert (answer.status_code, answer.json(), answer.headers["X-Job-State"]) == (
        200,
        {"prediction": "cat: 99.0%"},
        "done",
    )
    head = requests.head(dispatcher.url + location, timeout=10)
    assert (head.status_code, head.headers["Content-Length"], head.content) == (200, str(len(answer.content)), b"")
    assert requests.delete(dispatcher.url + location, timeout=10).status_code == 409
    dispatcher.set_capacity(**NO_PODS)
    waiting = accept(dispatcher)
    assert requests.get(dispatcher.url + waiting, timeout=10).headers["Retry-After"] == "1"
    assert requests.delete(dispatcher.url + waiting, timeout=10).status_code == 204
    assert requests.get(dispatcher.url + waiting, timeout=10).status_code == 410
    dispatcher.wait_until(lambda signals: signals["waiting"] == 0)
    assert len(stub.seen) == 1
    metrics = requests.get(f"{dispatcher.control}/metrics", timeout=10).text
    assert 'dispatcher_jobs{state="running"}' in metrics
    assert "dispatcher_journal_bytes" in metrics


def test_the_preference_wait_is_ignored_and_not_called_applied(
    dispatch: Callable[..., Dispatcher], tmp_path: Path
) -> None:
    dispatcher = dispatch("--ml-service-url", Stub().url, "--journal", str(tmp_path / "jobs.sqlite3"))
    for prefer in ("respond-async, wait=30", "wait=30, respond-async", "Respond-Async; x=1, wait=0"):
        answer = dispatcher.post(headers={"Prefer": prefer})
        assert (answer.status_code, answer.headers["Preference-Applied"]) == (202, "respond-async"), prefer
    for prefer in ("wait=0", "respond-asynchronously, wait=5", 'x="wait"'):
        answer = dispatcher.post(headers={"Prefer": prefer})
        assert answer.status_code == 200, prefer
        assert "Preference-Applied" not in answer.headers, prefer


def test_kill_9_loses_nothing_that_was_accepted(dispatch: Callable[..., Dispatcher], tmp_path: Path) -> None:
    stub = Stub()
    flags = ("--ml-service-url", stub.url, "--backend-concurrency", "4", "--journal", str(tmp_path / "jobs.sqlite3"))
    first = dispatch(*flags)
    first.set_capacity(**NO_PODS)
    locations = accept_many(first, 150)
    first.wait_until(lambda signals: signals["waiting"] == 150)
    first.process.kill()
    first.process.wait()
    second = dispatch(*flags)
    assert {result(second, location).status_code for location in locations} == {200}
    assert len(stub.seen) == 150
    second.process.send_signal(signal.SIGTERM)
    assert second.process.wait(30) == 0


def test_sigterm_leaves_what_waits_for_pods_to_the_next_start(
    dispatch: Callable[..., Dispatcher], tmp_path: Path
) -> None:
    flags = ("--ml-service-url", Stub().url, "--journal", str(tmp_path / "jobs.sqlite3"), "--drain-timeout-s", "1")
    first = dispatch(*flags)
    first.set_capacity(**NO_PODS)
    locations = accept_many(first, 20)
    first.process.send_signal(signal.SIGTERM)
    assert first.process.wait(30) == 0
    second = dispatch(*flags)
    assert {result(second, location).status_code for location in locations} == {200}


def test_a_second_dispatcher_on_the_same_file_exits_with_2(dispatch: Callable[..., Dispatcher], tmp_path: Path) -> None:
    file = tmp_path / "jobs.sqlite3"
    dispatch("--journal", str(file))
    ports = ["--port", str(free_port()), "--control-port", str(free_port())]
    command = [sys.executable, "-m", "dispatcher", "--host", "127.0.0.1", *ports, "--journal", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"dispatcher: --journal must be a file of one dispatcher, got {file}, which another process uses"
    ]


def test_without_a_journal_respond_async_is_501_and_says_why(dispatch: Callable[..., Dispatcher]) -> None:
    dispatcher = dispatch("--ml-service-url", Stub().url)
    for answer in (dispatcher.post(headers=ASYNC), requests.get(f"{dispatcher.url}/jobs/x", timeout=10)):
        assert answer.status_code == 501
        assert "--journal" in answer.json()["error"]


def test_jobs_and_idempotency_keys_belong_to_the_api_key(dispatch: Callable[..., Dispatcher], tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("".join(f"{name} {hashlib.sha256(name.encode()).hexdigest()}\n" for name in ("ada", "bob")))
    flags = ("--journal", str(tmp_path / "jobs.sqlite3"), "--api-keys-file", str(keys))
    dispatcher = dispatch("--ml-service-url", Stub().url, *flags)
    ada, bob = ({"X-API-Key": name} for name in ("ada", "bob"))
    keyed = ASYNC | {"Idempotency-Key": "k"}
    location = accept(dispatcher, headers=keyed | ada)
    assert accept(dispatcher, headers=keyed | ada) == location
    assert accept(dispatcher, headers=keyed | bob) != location
    assert result(dispatcher, location, headers=ada).status_code == 200
    assert requests.get(dispatcher.url + location, headers=bob, timeout=10).status_code == 404
    assert requests.delete(dispatcher.url + location, headers=bob, timeout=10).status_code == 404
    assert requests.get(dispatcher.url + location, timeout=10).status_code == 401


def test_synchronous_requests_with_the_same_key_are_sent_once(dispatch: Callable[..., Dispatcher]) -> None:
    stub = Stub(delay_s=0.3)
    dispatcher = dispatch("--ml-service-url", stub.url)
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: dispatcher.post(headers={"Idempotency-Key": "k"}), range(8)))
    assert {(answer.status_code, answer.text) for answer in answers} == {(200, '{"prediction": "cat: 99.0%"}')}
    assert len({answer.headers["X-Request-Id"] for answer in answers}) == 8
    assert dispatcher.post(headers={"Idempotency-Key": "k"}).status_code == 200
    assert len(stub.seen) == 1
    other = {"file": ("b.jpg", b"another image", "image/jpeg")}
    assert dispatcher.post(headers={"Idempotency-Key": "k"}, files=other).status_code == 422
    assert dispatcher.post(headers={"Idempotency-Key": "k" * 256}).status_code == 400


def test_a_redis_that_is_away_stops_nothing_but_asynchronous_work(
    dispatch: Callable[..., Dispatcher], tmp_path: Path
) -> None:
    server = RedisServer(tmp_path)
    server.kill()
    dispatcher = dispatch("--ml-service-url", Stub().url, "--journal", server.url)
    try:
        answer = dispatcher.post(headers=ASYNC)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        assert server.url in answer.json()["error"]
        assert dispatcher.post().status_code == 200
        server.start()
        location = accepted_at_last(dispatcher)
        server.kill()
        assert dispatcher.post(headers=ASYNC).status_code == 503
        assert dispatcher.post().status_code == 200
        server.start()
        assert result_at_last(dispatcher, location).status_code == 200
    finally:
        server.kill()


def accepted_at_last(dispatcher: Dispatcher) -> str:
    deadline_s = time.monotonic() + 30
    while (answer := dispatcher.post(headers=ASYNC)).status_code == 503:
        assert time.monotonic() < deadline_s, answer.text
        time.sleep(0.1)
    return answer.headers["Location"]


def result_at_last(dispatcher: Dispatcher, location: str) -> requests.Response:
    deadline_s = time.monotonic() + 30
    while (answer := result(dispatcher, location)).status_code == 503:
        assert time.monotonic() < deadline_s, answer.text
        time.sleep(0.1)
    return answer
