"""The dispatcher's queue as a client sees it: from zero pods, with failing pods, full, and at its end."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
import requests

from tests.dispatcher.processes import PHOTO, Dispatcher, RawPod, Stub
from tests.paths import ROOT
from tests.ports import free_port

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("timing")]


def test_a_response_passes_through_with_the_dispatchers_headers_added(dispatch: Callable[..., Dispatcher]) -> None:
    stub = Stub()
    answer = dispatch("--ml-service-url", stub.url, "--ml-service-host", "a.example").post(
        headers={"X-Request-Id": "mine"}
    )
    assert answer.json() == {"prediction": "cat: 99.0%"}
    assert (answer.headers["X-Pod"], answer.headers["X-Request-Id"], answer.headers["attempts"]) == (
        "stub",
        "mine",
        "1",
    )
    assert answer.headers["Server-Timing"].startswith("infer;dur=1.0, queue;dur=")
    assert (stub.seen[0]["Host"], stub.seen[0]["X-Request-Id"]) == ("a.example", "mine")


def test_add_to_queue_reports_the_queue_size(dispatch: Callable[..., Dispatcher]) -> None:
    answer = dispatch("--ml-service-url", Stub().url).post("/add_to_queue")
    assert answer.json() == {"prediction": "cat: 99.0%", "queue_size": 0}


def test_a_burst_of_100_at_zero_pods_gets_100_responses(
    dispatch: Callable[..., Dispatcher], pool: ThreadPoolExecutor
) -> None:
    dispatcher, stub = dispatch("--accept-backends"), Stub(delay_s=0.005)
    burst = [pool.submit(dispatcher.post) for _ in range(100)]
    dispatcher.wait_until(lambda signals: signals["waiting"] == 100)
    assert dispatcher.set_capacity(ready_pods=1, concurrency=1, valid_s=60, backends=[stub.url]).ok
    assert [future.result().status_code for future in burst] == [200] * 100
    assert stub.most_at_once == 1


def test_an_expired_capacity_holds_nothing_back(dispatch: Callable[..., Dispatcher], pool: ThreadPoolExecutor) -> None:
    dispatcher = dispatch("--ml-service-url", Stub().url)
    dispatcher.set_capacity(ready_pods=0, concurrency=1, valid_s=1.5)
    burst = [pool.submit(dispatcher.post) for _ in range(5)]
    assert [future.result().status_code for future in burst] == [200] * 5


def test_a_pod_that_dies_mid_request_costs_an_attempt_but_no_response(dispatch: Callable[..., Dispatcher]) -> None:
    stub = Stub()
    stub.statuses = [0, 503]
    dispatcher = dispatch("--ml-service-url", stub.url)
    answer = dispatcher.post()
    assert (answer.status_code, answer.headers["attempts"]) == (200, "3")
    assert dispatcher.signals()["retried"] == 2


def test_exhausted_attempts_give_502_with_the_last_cause(dispatch: Callable[..., Dispatcher]) -> None:
    stub = Stub()
    stub.statuses = [0, 0]
    answer = dispatch("--ml-service-url", stub.url, "--attempts", "2").post()
    assert answer.status_code == 502
    assert "attempt 2 of 2 failed" in answer.json()["error"]
    assert stub.url in answer.json()["error"]


def test_after_the_last_attempt_a_pods_own_failure_goes_on_with_its_fields(dispatch: Callable[..., Dispatcher]) -> None:
    busy = b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nX-Why: quota\r\nContent-Length: 4\r\n\r\nfull"
    pod = RawPod(lambda head, body: busy)
    answer = dispatch("--ml-service-url", pod.url, "--attempts", "2").post()
    assert (answer.status_code, answer.reason, answer.text) == (503, "Busy", "full")
    assert (answer.headers["Retry-After"], answer.headers["X-Why"], answer.headers["attempts"]) == ("7", "quota", "2")


def test_a_request_waits_for_a_backend_that_is_not_listening_yet(
    dispatch: Callable[..., Dispatcher], pool: ThreadPoolExecutor
) -> None:
    port = free_port()
    dispatcher = dispatch("--ml-service-url", f"http://127.0.0.1:{port}", "--attempts", "1")
    early = pool.submit(dispatcher.post)
    dispatcher.wait_until(lambda signals: signals["retried"] >= 2)
    Stub(port)
    assert early.result().status_code == 200


def test_a_full_queue_gives_503_with_retry_after(dispatch: Callable[..., Dispatcher], pool: ThreadPoolExecutor) -> None:
    dispatcher = dispatch("--accept-backends", "--queue-limit", "2")
    first: list[Future[requests.Response]] = [pool.submit(dispatcher.post) for _ in range(2)]
    dispatcher.wait_until(lambda signals: signals["waiting"] == 2)
    refused = dispatcher.post()
    assert refused.status_code == 503
    assert int(refused.headers["Retry-After"]) >= 1
    assert "--queue-limit is 2" in refused.json()["error"]
    dispatcher.set_capacity(ready_pods=1, concurrency=1, valid_s=60, backends=[Stub().url])
    assert [future.result().status_code for future in first] == [200, 200]


def test_a_client_deadline_that_passes_gives_429(dispatch: Callable[..., Dispatcher]) -> None:
    answer = dispatch("--accept-backends").post(headers={"X-Request-Deadline-Ms": "50"})
    assert answer.status_code == 429
    assert "X-Request-Deadline-Ms" in answer.json()["error"]


def test_a_client_that_disconnects_leaves_the_queue(dispatch: Callable[..., Dispatcher]) -> None:
    dispatcher = dispatch("--accept-backends")
    with pytest.raises(requests.ReadTimeout):
        requests.post(f"{dispatcher.url}/predict", files=PHOTO, timeout=0.5)
    dispatcher.wait_until(lambda signals: signals["waiting"] == 0)


def test_after_sigterm_accepted_requests_are_finished_even_from_zero_pods(
    dispatch: Callable[..., Dispatcher], pool: ThreadPoolExecutor
) -> None:
    dispatcher = dispatch("--accept-backends")
    kept = requests.Session()
    assert kept.get(f"{dispatcher.url}/readyz", timeout=10).status_code == 200
    accepted = [pool.submit(dispatcher.post) for _ in range(20)]
    dispatcher.wait_until(lambda signals: signals["waiting"] == 20)
    dispatcher.process.terminate()
    wait_for_draining(dispatcher)
    late = pool.submit(lambda: kept.post(f"{dispatcher.url}/predict", files=PHOTO, timeout=60))
    dispatcher.wait_until(lambda signals: signals["waiting"] == 21)
    assert dispatcher.set_capacity(ready_pods=1, concurrency=1, valid_s=60, backends=[Stub(delay_s=0.01).url]).ok
    assert [future.result().status_code for future in accepted] == [200] * 20
    assert (late.result().status_code, late.result().headers["Connection"]) == (200, "close")
    assert dispatcher.process.wait(30) == 0
    with pytest.raises(requests.ConnectionError):
        dispatcher.post()


def test_after_sigterm_a_long_answer_that_did_not_queue_is_passed_on_to_its_end(
    dispatch: Callable[..., Dispatcher],
) -> None:
    half, resume = bytes(2 << 20), threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (2 * len(half)) + half)
            resume.wait(60)
            connection.sendall(half)

    threading.Thread(target=serve, daemon=True).start()
    dispatcher = dispatch("--ml-service-url", f"http://127.0.0.1:{listener.getsockname()[1]}")
    dispatcher.set_capacity(ready_pods=1, concurrency=1, valid_s=600)
    answer = requests.get(f"{dispatcher.url}/openapi.json", stream=True, timeout=60)
    assert answer.raw.read(len(half)) == half
    dispatcher.process.terminate()
    with pytest.raises(subprocess.TimeoutExpired):
        dispatcher.process.wait(2)
    resume.set()
    assert answer.raw.read() == half
    assert dispatcher.process.wait(30) == 0


def test_during_the_shutdown_delay_new_connections_are_served_and_readyz_says_503(
    dispatch: Callable[..., Dispatcher],
) -> None:
    dispatcher = dispatch("--ml-service-url", Stub().url, "--shutdown-delay-s", "60")
    dispatcher.process.terminate()
    wait_for_draining(dispatcher)
    answer = dispatcher.post()
    assert (answer.status_code, answer.headers["Connection"]) == (200, "close")
    assert requests.get(f"{dispatcher.url}/readyz", timeout=10).status_code == 503
    assert requests.get(f"{dispatcher.url}/healthz", timeout=10).status_code == 200
    dispatcher.process.terminate()
    assert dispatcher.process.wait(30) == 0


def wait_for_draining(dispatcher: Dispatcher) -> None:
    deadline_s = time.monotonic() + 30
    while requests.get(f"{dispatcher.control}/healthz", timeout=5).json()["status"] != "draining":
        assert time.monotonic() < deadline_s


def test_requests_left_at_the_drain_timeout_give_exit_status_1(
    dispatch: Callable[..., Dispatcher], pool: ThreadPoolExecutor
) -> None:
    dispatcher = dispatch("--accept-backends", "--drain-timeout-s", "0.5")
    lost = pool.submit(dispatcher.post)
    dispatcher.wait_until(lambda signals: signals["waiting"] == 1)
    dispatcher.process.terminate()
    assert dispatcher.process.wait(30) == 1
    assert "stopped before all requests were finished, unfinished: 1" in dispatcher.process.stderr.read()  # type: ignore[union-attr]
    assert lost.exception() is not None


@pytest.mark.parametrize(
    ("request_", "status", "words"),
    [
        pytest.param(("POST", "/predict", {"data": b""}), 400, "the body is empty", id="no body"),
        pytest.param(
            ("POST", "/predict", {"data": b"x", "headers": {"X-Request-Deadline-Ms": "soon"}}),
            400,
            "'soon'",
            id="deadline",
        ),
        pytest.param(("POST", "/predict", {"data": b"x" * 2000}), 413, "at most 1000 bytes, got 2000", id="too large"),
        pytest.param(("GET", "/predict", {}), 405, "GET /predict", id="method"),
        pytest.param(("GET", "/signals", {}), 404, "is on the control port", id="control port"),
        pytest.param(("PUT", "/capacity", {"json": {}}), 404, "is on the control port", id="capacity"),
        pytest.param(("GET", "/openapi.json", {}), 503, "POST an image to /predict starts one", id="no pod"),
        pytest.param(
            ("POST", "/predict", {"data": b"x", "headers": {"Prefer": "respond-async"}}),
            501,
            "--journal",
            id="no journal",
        ),
        pytest.param(("GET", "/jobs/1", {}), 501, "--journal", id="job"),
        pytest.param(
            ("POST", "/predict", {"data": b"x", "headers": {"Content-Encoding": "gzip"}}), 400, "like gzip", id="gzip"
        ),
        pytest.param(("POST", "/predict", {"data": b"x", "headers": {"Expect": "200-ok"}}), 417, "200-ok", id="expect"),
        pytest.param(
            ("POST", "/predict", {"data": b"x", "headers": {"X-Request-Priority": "top"}}), 400, "'top'", id="priority"
        ),
    ],
)
def test_bad_input_is_refused_with_rule_and_value(
    dispatch: Callable[..., Dispatcher], request_: tuple[str, str, dict[str, Any]], status: int, words: str
) -> None:
    method, path, arguments = request_
    dispatcher = dispatch("--max-body-bytes", "1000")
    answer = requests.request(method, dispatcher.url + path, timeout=10, **arguments)
    assert answer.status_code == status
    assert words in answer.json()["error"]
    assert answer.headers["X-Request-Id"]


def test_metrics_count_responses(dispatch: Callable[..., Dispatcher]) -> None:
    dispatcher = dispatch("--ml-service-url", Stub().url)
    dispatcher.post()
    text = requests.get(f"{dispatcher.control}/metrics", timeout=10).text
    assert 'dispatcher_answers_total{status="200"} 1.0' in text


@pytest.mark.parametrize("flag", ["--port", "--control-port"])
def test_a_taken_port_exits_with_2_and_names_the_process(dispatch: Callable[..., Dispatcher], flag: str) -> None:
    first = dispatch()
    ports = {"--port": free_port(), "--control-port": free_port(), flag: first.port}
    command = [sys.executable, "-m", "dispatcher", "--host", "127.0.0.1"]
    command += [word for name, port in ports.items() for word in (name, str(port))]
    second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 2
    assert f"cannot bind 127.0.0.1:{first.port}: process {first.process.pid} (python" in second.stderr
    assert ") is listening on it" in second.stderr
