"""What goes through the dispatcher arrives byte for byte, in both directions."""

import gzip
import resource
import socket
import time
from collections.abc import Callable, Iterator

import pytest
import requests

from tests.dispatcher.processes import PLAIN, Dispatcher, RawPod, exchange, post

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("timing")]

Dispatch = Callable[..., Dispatcher]
Through = Callable[..., Dispatcher]
ADDED = (b"host:", b"forwarded:", b"x-forwarded-", b"traceparent:", b"x-request-id:")


@pytest.fixture(scope="module")
def shared() -> Iterator[Dispatcher]:
    """One dispatcher for the tests of this file: starting one each would take most of their time."""
    dispatcher = Dispatcher("--accept-backends", "--max-body-bytes", "1000")
    yield dispatcher
    dispatcher.process.kill()
    dispatcher.process.communicate()


@pytest.fixture
def through(shared: Dispatcher) -> Through:
    """Return a function that puts a pod behind the shared dispatcher."""

    def put(pod: RawPod, path: str = "", host: str = "127.0.0.1") -> Dispatcher:
        url = pod.url.replace("127.0.0.1", host) + path
        told = {"ready_pods": 50, "concurrency": 1, "valid_s": 3600, "backends": [url]}
        assert shared.set_capacity(**told).ok
        return shared

    return put


def by_client(lines: list[bytes]) -> list[bytes]:
    """Return the lines that the dispatcher does not add."""
    return [line for line in lines if not line.lower().startswith(ADDED)]


def test_a_request_goes_on_as_it_was_with_the_documented_fields_added_and_nothing_else(through: Through) -> None:
    pod = RawPod()
    dispatcher = through(pod, "/base")
    own = [
        b"x-B: \xff\xe9 raw",
        b"Cookie: a=1",
        b"X-Forwarded-For: 10.0.0.1",
        b"X-Forwarded-For: 10.0.0.2",
        b"cookie: b=2",
    ]
    sent = post(*own, b"X-Hop: 1", b"Connection: X-Hop", path=b"/v2/%7Ea/in%2Ffer?q=%2f&&x=@+", body=b"\x00\xff")
    assert exchange(dispatcher.port, sent).startswith(b"HTTP/1.1 200 OK\r\n")
    head, body = pod.seen[0]
    assert (head.split(b"\r\n")[0], body) == (b"POST /base/v2/%7Ea/in%2Ffer?q=%2f&&x=@+ HTTP/1.1", b"\x00\xff")
    assert [line for line in pod.lines() if line in own] == own
    assert [line for line in by_client(pod.lines()) if line not in own] == [b"Content-Length: 2"]
    added = [line for line in pod.lines() if line not in own and line.lower().startswith(ADDED)]
    assert [line.partition(b":")[0] for line in added] == [
        b"Host", b"X-Request-Id", b"traceparent", b"Forwarded", b"X-Forwarded-For", b"X-Forwarded-Proto", b"X-Forwarded-Host",
    ]  # fmt: skip
    assert b"Host: " + pod.url.removeprefix("http://").encode() in added
    assert b'Forwarded: for=127.0.0.1;host="a.example";proto=http' in added


def test_identifiers_of_the_client_go_on_unchanged(dispatch: Dispatch) -> None:
    pod = RawPod()
    dispatcher = dispatch("--ml-service-url", pod.url, "--ml-service-host", "cats.example.com")
    trace = b"traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    received = exchange(dispatcher.port, post(trace, b"X-Request-Id: mine", b"X-Forwarded-Proto: https"))
    assert {trace, b"X-Request-Id: mine", b"Host: cats.example.com", b"X-Forwarded-Proto: https"} <= set(pod.lines())
    assert sum(line.lower().startswith(b"x-forwarded-proto") for line in pod.lines()) == 1
    assert received.count(b"X-Request-Id: mine\r\n") == 1


def test_an_answer_comes_back_as_it_was_with_the_documented_fields_added_and_nothing_else(through: Through) -> None:
    fields = b"Set-Cookie: a=1\r\nset-cookie: b=2\r\nX-B: \xff\xe9\r\n"
    pod = RawPod(
        lambda head, body: (
            b"HTTP/1.1 299 Strange \xff\r\n" + fields + b"Connection: X-Hop\r\nX-Hop: 1\r\nContent-Length: 2\r\n\r\nok"
        )
    )
    head, _, body = exchange(through(pod).port, post()).partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert (lines[0], body) == (b"HTTP/1.1 299 Strange \xff", b"ok")
    assert b"\r\n".join(lines[1:4]) + b"\r\n" == fields
    assert [line.partition(b":")[0] for line in lines[4:]] == [
        b"Server-Timing", b"attempts", b"X-Request-Id", b"Content-Length", b"Connection",
    ]  # fmt: skip


def test_no_client_gets_the_cookie_of_another(through: Through) -> None:
    pod = RawPod(lambda head, body: b"HTTP/1.1 200 OK\r\nSet-Cookie: session=1\r\nContent-Length: 0\r\n\r\n")
    dispatcher = through(pod, host="localhost")  # an address gets no cookies from a jar
    for _ in range(2):
        exchange(dispatcher.port, post())
    assert not [line for line in pod.lines() if line.lower().startswith(b"cookie")]


def test_a_compressed_body_and_its_encoding_stay_together(through: Through) -> None:
    packed = gzip.compress(b"picture", mtime=0)
    pod = RawPod(
        lambda head, body: b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    )
    received = exchange(through(pod).port, post(b"Content-Encoding: gzip", body=packed))
    assert (pod.seen[0][1], received.partition(b"\r\n\r\n")[2]) == (packed, packed)
    assert b"Content-Encoding: gzip" in pod.lines()
    assert b"\r\nContent-Encoding: gzip\r\n" in received


def test_a_chunked_body_goes_on_with_its_length(through: Through) -> None:
    pod = RawPod()
    dispatcher = through(pod)
    head = b"PUT /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert b" 200 " in exchange(dispatcher.port, head + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    assert (pod.seen[0][1], b"Content-Length: 5" in pod.lines()) == (b"abcde", True)
    refused = exchange(dispatcher.port, head + b"7d0\r\n" + bytes(2000) + b"\r\n0\r\n\r\n")
    assert b" 413 " in refused
    assert b"at most 1000 bytes" in refused


def test_a_pods_chunked_answer_comes_with_its_length(through: Through) -> None:
    pod = RawPod(
        lambda head, body: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
    )
    head, _, body = exchange(through(pod).port, post()).partition(b"\r\n\r\n")
    assert (body, b"Content-Length: 3" in head, b"chunked" in head) == (b"abc", True, False)


def test_the_answer_to_head_and_304_keep_their_length_and_have_no_body(through: Through) -> None:
    def answer(head: bytes, body: bytes) -> bytes:
        if head.startswith(b"HEAD"):
            return b"HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n"
        return b"HTTP/1.1 304 Not Modified\r\nContent-Length: 55\r\n\r\n" if head.startswith(b"GET") else PLAIN

    dispatcher = through(RawPod(answer))
    exchange(dispatcher.port, post())
    for method, length in ((b"HEAD", b"77"), (b"GET", b"55")):
        received = exchange(dispatcher.port, method + b" /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert b"\r\nContent-Length: " + length + b"\r\n" in received
        assert received.endswith(b"\r\n\r\n")


def test_a_redirect_is_not_followed(through: Through) -> None:
    pod = RawPod(lambda head, body: b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")
    assert exchange(through(pod).port, post()).startswith(b"HTTP/1.1 302 Found")


def test_expect_100_continue_is_answered_before_the_body_and_refused_before_it(through: Through) -> None:
    dispatcher = through(RawPod())
    with socket.create_connection(("127.0.0.1", dispatcher.port), timeout=30) as client:
        client.sendall(
            b"POST /p HTTP/1.1\r\nHost: a\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
        )
        assert client.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"hi")
        assert client.recv(1000).startswith(b"HTTP/1.1 200 OK")
    with socket.create_connection(("127.0.0.1", dispatcher.port), timeout=30) as client:
        client.sendall(b"POST /p HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1001\r\n\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.1 413 ")


def test_a_cut_answer_is_tried_again(through: Through) -> None:
    answers = [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nabc", PLAIN]
    pod = RawPod(lambda head, body: answers.pop(0))
    received = exchange(through(pod).port, post())
    assert received.startswith(b"HTTP/1.1 200 OK")
    assert received.endswith(b"\r\n\r\nok")
    assert b"attempts: 2" in received


def test_garbage_from_a_pod_is_tried_again(through: Through) -> None:
    answers = [b"\x00\x01 no HTTP\r\n\r\n", PLAIN]
    pod = RawPod(lambda head, body: answers.pop(0))
    assert b"attempts: 2" in exchange(through(pod).port, post())


LONG = bytes(range(256)) * 16384  # 4 MiB


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_long_answer_is_streamed_whole(through: Through, framing: str) -> None:
    whole = {
        "length": b"Content-Length: %d\r\n\r\n" % len(LONG) + LONG,
        "chunked": b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(LONG) + LONG + b"\r\n0\r\n\r\n",
    }[framing]
    dispatcher = through(RawPod(lambda head, body: b"HTTP/1.1 200 OK\r\n" + whole))
    for _ in range(2):
        assert dispatcher.post().content == LONG
    dispatcher.wait_until(lambda signals: signals["in_flight"] == 0)


def test_a_long_answer_that_is_cut_cuts_the_clients_connection(through: Through) -> None:
    cut = (
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(LONG) + LONG + b"\r\n"
    )
    dispatcher = through(RawPod(lambda head, body: cut))
    with pytest.raises((requests.exceptions.ChunkedEncodingError, requests.ConnectionError)):
        dispatcher.post()
    dispatcher.wait_until(lambda signals: signals["in_flight"] == 0)


def test_to_a_client_of_http_1_0_a_cut_answer_does_not_look_complete(through: Through) -> None:
    """Its answer ends with the connection, so only a reset tells it from a whole one."""
    cut = (
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(LONG) + LONG + b"\r\n"
    )
    dispatcher = through(RawPod(lambda head, body: cut))
    with pytest.raises(ConnectionResetError):
        exchange(dispatcher.port, b"POST /p HTTP/1.0\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")


def test_a_client_that_leaves_within_a_long_answer_frees_its_slot(through: Through) -> None:
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (4 * len(LONG)) + 4 * LONG
    dispatcher = through(RawPod(lambda head, body: whole))
    with socket.create_connection(("127.0.0.1", dispatcher.port), timeout=30) as client:
        client.sendall(post())
        client.recv(1000)
        dispatcher.wait_until(lambda signals: signals["in_flight"] == 1)
    dispatcher.wait_until(lambda signals: signals["in_flight"] == 0)


def test_a_client_that_reads_a_long_answer_for_too_long_is_cut_and_frees_its_slot(dispatch: Dispatch) -> None:
    answers = [b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (4 * len(LONG)) + 4 * LONG, PLAIN]
    pod = RawPod(lambda head, body: answers.pop(0))
    flags = ("--backend-concurrency", "1", "--request-timeout-s", "1")
    dispatcher = dispatch("--ml-service-url", pod.url, *flags)
    with socket.create_connection(("127.0.0.1", dispatcher.port), timeout=30) as client:
        client.sendall(post())
        client.recv(1000)
        dispatcher.wait_until(lambda signals: signals["in_flight"] == 0)
        assert dispatcher.post().content == b"ok"
        with pytest.raises(ConnectionError):
            list(iter(lambda: client.recv(1 << 20), b""))
    dispatcher.process.terminate()
    log = dispatcher.process.communicate(timeout=30)[1]
    assert "failed" not in log, "it is the client that is slow"
    assert "Error" not in log


def test_a_client_that_closes_its_sending_half_gets_its_answer_however_long_it_takes(through: Through) -> None:
    def slow(head: bytes, body: bytes) -> bytes:
        time.sleep(1.2)
        return PLAIN

    dispatcher = through(RawPod(slow))
    assert exchange(dispatcher.port, post(), half_close=True).count(b"HTTP/1.1 200 OK") == 1
    both = b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n" * 2
    assert exchange(dispatcher.port, both, half_close=True).count(b"HTTP/1.1 200 OK") == 2


def test_requests_on_one_connection_are_answered_in_order(through: Through) -> None:
    pod = RawPod(lambda head, body: b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    pipeline = b"".join(
        b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n%02d" % number for number in range(20)
    )
    received = exchange(through(pod).port, pipeline + post(body=b"20"))
    bodies = [part.partition(b"\r\n\r\n")[2] for part in received.split(b"HTTP/1.1 200 OK")[1:]]
    assert bodies == [b"%02d" % number for number in range(21)]


@pytest.mark.parametrize(
    ("sent", "status", "words"),
    [
        (b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, b"Content-Length"),
        (b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc", 400, b"Content-Length"),
        (b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc", 400, b"Content-Length"),
        (b"POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501, b"must be chunked"),
        (b"POST /p HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, b"HTTP/1.1"),
        (b"POST /p HTTP/1.1\r\nHost: a\r\nA : b\r\n\r\n", 400, b"token"),
        (b"POST /p HTTP/1.1\r\nHost: a\r\nA: b\x00\r\n\r\n", 400, b"header value"),
        (b"POST /p HTTP/1.1\r\nHost: a\r\nA: b\r\n c\r\n\r\n", 400, b"malformed"),
        (b"POST /p HTTP/1.1\r\n\r\n", 400, b"Host"),
        (b"\x16\x03\x01 hello\r\n\r\n", 400, b"malformed"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"x" * 70000 + b"\r\n\r\n", 431, b"65536"),
        (b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 405, b"no tunnel"),
    ],
    ids=["both", "two", "signed", "coding", "old", "space", "nul", "folded", "host", "tls", "long", "connect"],
)  # fmt: skip
def test_a_malformed_request_is_refused_in_json_and_reaches_no_pod(
    through: Through, sent: bytes, status: int, words: bytes
) -> None:
    pod = RawPod()
    received = exchange(through(pod).port, sent)
    assert received.startswith(b"HTTP/1.1 %d " % status)
    assert b'{"error": "' in received
    assert words in received.partition(b"\r\n\r\n")[2]
    assert b"X-Request-Id: " in received
    assert not pod.seen


def test_a_header_of_60_kb_goes_on(through: Through) -> None:
    pod = RawPod()
    assert b" 200 " in exchange(through(pod).port, post(b"A: " + b"x" * 60000))
    assert b"A: " + b"x" * 60000 in pod.lines()


def test_a_target_in_absolute_form_goes_on_as_path(through: Through) -> None:
    pod = RawPod()
    exchange(through(pod).port, post(path=b"http://other:80/p?q=1"))
    assert pod.seen[0][0].startswith(b"POST /p?q=1 HTTP/1.1\r\n")


def test_a_client_that_stops_within_its_body_gets_408(dispatch: Dispatch) -> None:
    dispatcher = dispatch("--body-timeout-s", "0.3")
    received = exchange(dispatcher.port, b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc")
    assert received.startswith(b"HTTP/1.1 408 ")
    assert b"--body-timeout-s 0.3, got 3 bytes" in received


def test_metadata_goes_to_a_ready_pod_and_is_answered_without_waking_one(through: Through) -> None:
    pod = RawPod(lambda head, body: b"HTTP/1.1 200 OK\r\nContent-Type: text/x\r\nContent-Length: 4\r\n\r\nfrom")
    dispatcher = through(pod)

    def get(path: str) -> requests.Response:
        return requests.get(dispatcher.url + path, timeout=10)

    dispatcher.set_capacity(ready_pods=0, concurrency=1, valid_s=60)
    before = dispatcher.signals()["arrivals"]["count"]
    assert get("/v2/health/ready").json() == {"ready": True}
    assert get("/v1/models/cats").json() == {"name": "cats", "ready": True}
    unknown = get("/v2/models/cats")
    assert (unknown.status_code, unknown.headers["Retry-After"]) == (503, "5")
    assert not pod.seen
    dispatcher.set_capacity(ready_pods=1, concurrency=1, valid_s=60)
    answer = get("/v2/models/cats?a=1")
    assert (answer.text, answer.headers["Content-Type"]) == ("from", "text/x")
    assert pod.seen[0][0].startswith(b"GET /v2/models/cats?a=1 HTTP/1.1")
    dispatcher.set_capacity(ready_pods=0, concurrency=1, valid_s=60)
    assert get("/v2/models/cats?a=1").text == "from"
    assert len(pod.seen) == 1
    assert dispatcher.signals()["arrivals"]["count"] == before


def test_more_idle_connections_than_the_usual_limit_of_open_files_hold_no_request_up(
    shared: Dispatcher, through: Through
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 3000)), hard))
    dispatcher = through(RawPod())
    idle = [socket.create_connection(("127.0.0.1", dispatcher.port), timeout=30) for _ in range(1100)]
    assert dispatcher.post().status_code == 200
    for connection in idle:
        connection.close()
    assert resource.prlimit(shared.process.pid, resource.RLIMIT_NOFILE) == (hard, hard)
