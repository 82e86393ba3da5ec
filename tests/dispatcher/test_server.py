"""The dispatcher as a process, with stub pods on real sockets."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import requests

from tests.paths import ROOT
from tests.ports import free_port, wait_for

PHOTO = {"file": ("a.jpg", b"\xff\xd8 not decoded here", "image/jpeg")}

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("timing")]


class Stub(ThreadingHTTPServer):
    """A stub pod: responds after `delay_s` with the next of `statuses`, else 200, and keeps the request headers.

    Status 0 closes the connection without a response.
    """

    daemon_threads = True

    def __init__(self, port: int = 0, delay_s: float = 0.0) -> None:
        self.delay_s, self.seen, self.statuses = delay_s, list[dict[str, str]](), list[int]()
        self.most_at_once = self.at_once = 0
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", port), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    server: Stub
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        stub = self.server
        self.rfile.read(int(self.headers["Content-Length"]))
        with stub.lock:
            stub.seen.append(dict(self.headers))
            status = stub.statuses.pop(0) if stub.statuses else 200
            stub.at_once += 1
            stub.most_at_once = max(stub.most_at_once, stub.at_once)
        time.sleep(stub.delay_s)
        with stub.lock:
            stub.at_once -= 1
        if status == 0:
            self.close_connection = True
            return
        body = b'{"prediction": "cat: 99.0%"}'
        self.send_response(status)
        for name, value in (("X-Pod", "stub"), ("Server-Timing", "infer;dur=1.0"), ("Content-Length", str(len(body)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Log nothing."""


class Dispatcher:
    """`python -m dispatcher` on a free port."""

    def __init__(self, *flags: str) -> None:
        self.port, self.control_port = free_port(), free_port()
        self.url, self.control = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{self.control_port}"
        command = [sys.executable, "-m", "dispatcher", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--control-port", str(self.control_port), *flags]
        self.process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        wait_for(f"{self.url}/")

    def post(self, path: str = "/predict", **arguments: Any) -> requests.Response:
        return requests.post(self.url + path, timeout=60, **({"files": PHOTO} | arguments))

    def set_capacity(self, **capacity: object) -> requests.Response:
        return requests.put(f"{self.control}/capacity", json=capacity, timeout=10)

    def signals(self) -> dict[str, Any]:
        answer: dict[str, Any] = requests.get(f"{self.control}/signals", timeout=10).json()
        return answer

    def wait_until(self, holds: Callable[[dict[str, Any]], bool]) -> None:
        deadline_s = time.monotonic() + 30
        while not holds(self.signals()):
            assert time.monotonic() < deadline_s, self.signals()
            time.sleep(0.02)


@pytest.fixture
def dispatch() -> Iterator[Callable[..., Dispatcher]]:
    started: list[Dispatcher] = []

    def start(*flags: str) -> Dispatcher:
        started.append(Dispatcher(*flags))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.communicate()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(120) as threads:
        yield threads


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
    stub.statuses = [503, 503]
    answer = dispatch("--ml-service-url", stub.url, "--attempts", "2").post()
    assert answer.status_code == 502
    assert "attempt 2 of 2 failed" in answer.json()["error"]
    assert "returned 503" in answer.json()["error"]


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
    accepted = [pool.submit(dispatcher.post) for _ in range(20)]
    dispatcher.wait_until(lambda signals: signals["waiting"] == 20)
    dispatcher.process.terminate()
    deadline_s = time.monotonic() + 30
    while requests.get(dispatcher.url, timeout=5).json()["status"] != "draining":
        assert time.monotonic() < deadline_s
    assert dispatcher.post().status_code == 503
    assert dispatcher.set_capacity(ready_pods=1, concurrency=1, valid_s=60, backends=[Stub(delay_s=0.01).url]).ok
    assert [future.result().status_code for future in accepted] == [200] * 20
    assert dispatcher.process.wait(30) == 0


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
        pytest.param(("POST", "/nowhere", {}), 404, "/nowhere", id="path"),
        pytest.param(("PUT", "/capacity", {"data": b"{"}), 400, "", id="not JSON"),
        pytest.param(("PUT", "/capacity", {"json": [1]}), 400, "JSON object", id="a list"),
        pytest.param(
            ("PUT", "/capacity", {"json": {"ready_pods": -1, "concurrency": 1, "valid_s": 1}}), 400, "-1", id="negative"
        ),
        pytest.param(
            ("PUT", "/capacity", {"json": {"ready_pods": True, "concurrency": 1, "valid_s": 1}}), 400, "True", id="bool"
        ),
        pytest.param(
            ("PUT", "/capacity", {"data": b'{"ready_pods": 1, "concurrency": 1, "valid_s": NaN}'}), 400, "nan", id="nan"
        ),
        pytest.param(
            ("PUT", "/capacity", {"json": {"ready_pods": 1, "concurrency": 1, "valid_s": 1, "backends": []}}),
            403,
            "--accept-backends",
            id="backends not accepted",
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


def test_metrics_count_responses(dispatch: Callable[..., Dispatcher]) -> None:
    dispatcher = dispatch("--ml-service-url", Stub().url)
    dispatcher.post()
    text = requests.get(f"{dispatcher.control}/metrics", timeout=10).text
    assert 'dispatcher_answers_total{status="200"} 1.0' in text


def test_a_taken_port_exits_with_2_and_names_the_process(dispatch: Callable[..., Dispatcher]) -> None:
    first = dispatch()
    port = first.url.rpartition(":")[2]
    command = [sys.executable, "-m", "dispatcher", "--host", "127.0.0.1", "--port", port]
    second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 2
    assert f"cannot bind 127.0.0.1:{port}: process {first.process.pid} (python" in second.stderr
    assert ") is listening on it" in second.stderr
