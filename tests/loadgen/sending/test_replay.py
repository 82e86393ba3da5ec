"""The replay against real servers: an open loop, on time, with every kind of failure recorded."""

import contextlib
import multiprocessing
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loadgen.analysis.summary import summarise
from loadgen.records import Failure, Record
from loadgen.sending.protocols import Body
from loadgen.sending.replay import Replay, SendPlan, SilentWatcher, Target, run_replay
from tests.loadgen import servers
from tests.loadgen.servers import Server, say
from tests.ports import free_port
from tests.stubs.certificates import make_pair

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("timing")]

BODIES = (Body("a.jpg", b"a" * 100, {"Content-Type": "image/jpeg"}), Body("b.jpg", b"b" * 200))
Handler = Callable[[BaseHTTPRequestHandler], None]


def sent(url: str, times_s: list[float], **target: Any) -> Replay:
    return run_replay(Target(url, **target), SendPlan(np.array(times_s), BODIES))


def one(handler: Handler, **target: Any) -> Record:
    """Send one request to a server with this handler and return its record."""
    (record,) = sent(Server(handler).url, [0.0], **{"timeout_s": 20.0, **target}).records
    return record


def test_requests_are_sent_at_their_times_and_never_early() -> None:
    server = Server(say)
    times_s = [0.0, 0.1, 0.1003, 0.1007, 0.35]
    replayed = sent(server.url, times_s)
    assert [record.intended_s for record in replayed.records] == times_s
    for record in replayed.records:
        assert record.intended_s <= (record.sent_s or -1) <= (record.first_byte_s or -1) <= (record.done_s or -1)
        assert record.good
    assert abs(replayed.started_unix_s - time.time()) < 60


def test_bodies_take_turns_and_bytes_are_counted() -> None:
    server = Server(say)
    replayed = sent(server.url, [0.0, 1.0, 2.0])
    assert [record.image for record in replayed.records] == ["a.jpg", "b.jpg", "a.jpg"]
    assert [record.bytes_out for record in replayed.records] == [100, 200, 100]
    assert [record.bytes_in for record in replayed.records] == [28, 28, 28]
    received = {headers["X-Request-Id"]: body for headers, body in server.got}
    bodies = [received[record.request_id] for record in replayed.records]
    assert bodies == [b"a" * 100, b"b" * 200, b"a" * 100]


def test_a_request_does_not_wait_for_earlier_responses() -> None:
    """The server responds only after all requests have arrived, which never happens in a closed loop."""
    all_arrived = threading.Barrier(40)

    def wait(handler: BaseHTTPRequestHandler) -> None:
        all_arrived.wait(30)
        say(handler)

    replayed = sent(Server(wait).url, [0.005 * number for number in range(40)])
    assert sum(record.good for record in replayed.records) == 40
    assert max(record.worker for record in replayed.records) == 40


def test_connections_and_slots_are_reused() -> None:
    server = Server(say)
    replayed = sent(server.url, [0.0, 1.0, 2.0])
    assert server.connections == 1
    assert [record.worker for record in replayed.records] == [1, 1, 1]


def test_headers_keys_and_ids_are_sent() -> None:
    def respond(handler: BaseHTTPRequestHandler) -> None:
        say(handler, 200, b'{"label": "cat", "confidence": 0.5}', {"X-Pod": "pod-7"})

    server = Server(respond)
    headers = {"Host": "resnet18.default.example.com", "Authorization": "Bearer k"}
    replayed = sent(server.url, [0.0, 1.0], headers=headers, protocol="raw")
    (first, _), (second, _) = server.got
    assert (first["Host"], first["Authorization"]) == ("resnet18.default.example.com", "Bearer k")
    assert first["Content-Type"] == "image/jpeg"
    assert {first["X-Request-Id"], second["X-Request-Id"]} == {record.request_id for record in replayed.records}
    assert first["X-Request-Id"] != second["X-Request-Id"]
    assert "Accept-Encoding" not in first
    assert [(record.pod, record.label, record.confidence) for record in replayed.records] == [("pod-7", "cat", 0.5)] * 2


@pytest.mark.parametrize(
    ("handler", "status", "failure", "words"),
    [
        pytest.param(servers.fail, 500, Failure.STATUS, "status 500: no way", id="a bad status"),
        pytest.param(servers.lead_elsewhere, 302, Failure.STATUS, "status 302", id="a redirect"),
        pytest.param(servers.hang_up, 0, Failure.CLOSED, "ServerDisconnectedError", id="closed without a response"),
        pytest.param(servers.hang_up_in_the_middle, 0, Failure.CLOSED, "ClientPayloadError", id="closed in mid-body"),
        pytest.param(servers.reset, 0, Failure.CLOSED, "", id="reset"),
        pytest.param(servers.talk_nonsense, 0, Failure.PROTOCOL, "", id="not HTTP"),
    ],
)
def test_every_failure_is_recorded_with_its_kind(handler: Handler, status: int, failure: Failure, words: str) -> None:
    record = one(handler)
    assert (record.status, record.failure, record.good) == (status, failure, False)
    assert words in record.error
    assert record.error.count("\n") == 0
    assert record.sent_s is not None
    assert (record.done_s is None) == (status == 0)


def test_a_response_that_does_not_arrive_in_time_is_a_timeout() -> None:
    silent = threading.Event()

    def wait(handler: BaseHTTPRequestHandler) -> None:
        silent.wait(30)

    record = one(wait, timeout_s=0.3)
    silent.set()
    assert (record.failure, record.error, record.done_s) == (Failure.TIMEOUT, "no response within 0.3 s", None)


def test_a_response_that_stalls_in_its_body_is_a_timeout() -> None:
    silent = threading.Event()

    def begin(handler: BaseHTTPRequestHandler) -> None:
        say(handler, 200, b"{", {"Content-Length": "100"})
        silent.wait(30)

    record = one(begin, timeout_s=0.5)
    silent.set()
    assert (record.failure, record.status) == (Failure.TIMEOUT, 0)
    assert record.first_byte_s is not None


def test_a_refused_connection_differs_from_a_broken_one() -> None:
    (record,) = sent(f"http://127.0.0.1:{free_port()}/", [0.0]).records
    assert (record.failure, record.sent_s is None) == (Failure.CONNECT, False)


def test_an_untrusted_certificate_is_a_tls_failure(tmp_path: Path) -> None:
    pair = make_pair(tmp_path)
    url = Server(say, pair).url
    (refused,) = sent(url, [0.0]).records
    assert refused.failure is Failure.TLS
    assert sent(url, [0.0], cacert=pair.cert).records[0].good
    assert sent(url, [0.0], insecure=True).records[0].good


def test_a_body_can_be_sent_slowly() -> None:
    record = one(say, slow_send_s=0.5)
    assert record.good
    assert (record.done_s or 0) - (record.sent_s or 0) >= 0.4
    assert record.bytes_out == 100


class AsyncServer:
    """A server that accepts a request with 202 and has the result after some polls."""

    def __init__(self, location: str, pending: int, result: Handler = say) -> None:
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self._location, self._pending, self._result = location, pending, result

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        """Respond as a dispatcher does."""
        if handler.command == "POST":
            assert handler.headers["Prefer"] == "respond-async"
            say(handler, 202, b"", {"Location": self._location} if self._location else {})
            return
        self.paths.append(handler.path)
        self.headers.append(dict(handler.headers))
        if len(self.paths) <= self._pending:
            say(handler, 202, b"")
        elif handler.path == "/moved":
            say(handler, 303, b"", {"Location": "/there"})
        else:
            self._result(handler)


ASYNC = {"protocol": "async", "poll_s": 0.05, "headers": {"Authorization": "Bearer k"}}


def test_async_polls_until_the_result_is_there() -> None:
    server = AsyncServer("/results/7?full=1", pending=3)
    record = one(server, **ASYNC)
    assert (record.good, record.status, record.label) == (True, 200, "cat")
    assert server.paths == ["/results/7?full=1"] * 4
    assert (record.done_s or 0) - (record.sent_s or 0) >= 4 * 0.05
    assert {headers["Authorization"] for headers in server.headers} == {"Bearer k"}


def test_a_result_is_polled_at_the_host_of_the_request_whatever_the_location() -> None:
    server = AsyncServer("http://resnet18.default.example.com/results/7", pending=0)
    assert one(server, **ASYNC).good
    assert server.paths == ["/results/7"]


def test_a_relative_location_and_see_other_are_followed() -> None:
    server = AsyncServer("moved", pending=0)
    assert one(server, **ASYNC).good
    assert server.paths == ["/moved", "/there"]


def test_a_result_that_failed_is_a_failure() -> None:
    assert one(AsyncServer("/r", 1, servers.fail), **ASYNC).error == "status 500: no way"


def test_a_result_that_never_comes_is_a_timeout() -> None:
    record = one(AsyncServer("/r", pending=10**6), **{**ASYNC, "timeout_s": 0.6})
    assert (record.failure, record.status, record.done_s) == (Failure.TIMEOUT, 0, None)


def test_a_202_without_a_location_violates_the_protocol() -> None:
    record = one(AsyncServer("", 0), **ASYNC)
    assert (record.failure, record.error) == (Failure.PROTOCOL, "status 202 without a Location")
    assert not record.good


def test_async_accepts_an_immediate_response() -> None:
    assert one(say, protocol="async").label == "cat"


def test_a_stall_of_one_second_shows_in_the_p99() -> None:
    """As in wrk2, latency is measured from the intended send; a closed loop would see one slow response."""
    lock, began_s = threading.Lock(), time.monotonic()
    pause = [(1.0, 1.0)]

    def stall(handler: BaseHTTPRequestHandler) -> None:
        with lock:
            if pause and time.monotonic() - began_s > pause[0][0]:
                time.sleep(pause.pop()[1])
        say(handler)

    replayed = sent(Server(stall).url, [0.02 * number for number in range(200)])
    summary = summarise(replayed.records, slo_s=0.5, max_lag_ms=5000)
    assert summary.good == 200
    assert summary.latency.p99_s >= 0.9
    assert summary.late >= 20


class CountingWatcher(SilentWatcher):
    """Keeps records and counts the ends."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.ended = 0

    def done(self, record: Record) -> None:
        """Keep the record."""
        self.records.append(record)

    def end(self) -> None:
        """Count the end."""
        self.ended += 1


def test_several_processes_share_a_plan_and_keep_its_times() -> None:
    server, watcher = Server(say), CountingWatcher()
    times_s = [0.01 * number for number in range(100)]
    plan = SendPlan(np.array(times_s), BODIES, processes=3)
    replayed = run_replay(Target(server.url), plan, watcher)
    assert [record.intended_s for record in replayed.records] == times_s
    assert [record.image for record in replayed.records] == ["a.jpg", "b.jpg"] * 50
    assert all(record.good and record.intended_s <= (record.sent_s or -1) for record in replayed.records)
    assert len({headers["X-Request-Id"] for headers, _ in server.got}) == 100
    assert (len(watcher.records), watcher.ended) == (100, 1)


def test_unsent_requests_of_a_dead_process_make_the_run_invalid() -> None:
    class KillSender(SilentWatcher):
        """Kills one sender at the first response."""

        def done(self, record: Record) -> None:
            """Kill a child process of this one."""
            with contextlib.suppress(IndexError):
                multiprocessing.active_children()[1].kill()

    plan = SendPlan(np.arange(0, 4, 0.02), BODIES, processes=2)
    replayed = run_replay(Target(Server(say).url), plan, KillSender())
    summary = summarise(replayed.records, slo_s=0.5, max_lag_ms=5000)
    assert 100 <= summary.sent < 199
    assert "at least 99.5 % of the planned requests must be sent" in summary.invalid[0]


def test_an_exception_in_a_watcher_ends_the_run_and_is_raised() -> None:
    class Broken(SilentWatcher):
        """Raises."""

        def done(self, record: Record) -> None:
            """Raise at the first response."""
            raise ZeroDivisionError("a bug")

    began_s = time.monotonic()
    with pytest.raises(ZeroDivisionError, match="a bug"):
        run_replay(Target(Server(say).url), SendPlan(np.array([0.0, 600.0]), BODIES), Broken())
    assert time.monotonic() - began_s < 60
