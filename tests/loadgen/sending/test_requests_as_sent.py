"""What reaches a server: each request once, as typed, and awaited exactly as long as asked for."""

from typing import Any

import numpy as np
import pytest

from loadgen.records import Failure, Record
from loadgen.sending.protocols import Body
from loadgen.sending.replay import Replay, SendPlan, Target, run_replay
from loadgen.sending.transport import request_url
from tests.loadgen.servers import RawServer, http

BODIES = (Body("a.jpg", b"abc"),)


def sent(url: str, count: int = 1, **target: Any) -> Replay:
    return run_replay(Target(url, **target), SendPlan(np.linspace(0, 0.05 * count, count), BODIES))


def one(content: bytes, **target: Any) -> Record:
    (record,) = sent(
        RawServer(lambda own, _: content if own == 1 else None).url, **{"timeout_s": 20.0, **target}
    ).records
    return record


@pytest.mark.integration
@pytest.mark.parametrize("method", ["GET", "PUT", "POST"])
def test_a_request_whose_connection_is_dropped_is_a_failure_and_not_sent_again(method: str) -> None:
    """The server drops the second request of each connection, if a machine without load lets it be reused."""
    dropped: list[int] = []

    def answer(own: int, total: int) -> bytes | None:
        if own % 2:
            return http()
        dropped.append(total)
        return None

    server = RawServer(answer)
    plan = SendPlan(np.array([0, 0.25, 0.5, 0.75]), BODIES)
    records = run_replay(Target(server.url, method=method), plan).records
    assert len(server.heads) == 4
    assert [record.failure for record in records].count(Failure.CLOSED) == len(dropped)
    assert sum(record.good for record in records) == 4 - len(dropped)


@pytest.mark.integration
def test_a_time_out_above_five_seconds_is_not_rounded_up() -> None:
    """aiohttp rounds it up to a whole second of the clock; of ten responses in a second, some would then pass."""
    server = RawServer(lambda own, _: http(), delay_s=5.9)
    plan = SendPlan(np.linspace(0, 1, 10), BODIES)
    records = run_replay(Target(server.url, timeout_s=5.05), plan).records
    assert {(record.failure, record.error) for record in records} == {(Failure.TIMEOUT, "no response within 5.05 s")}


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        pytest.param("http://h/%7Eb?sig=ab%2Fc%2B%3D%3D&who=me%40x.org", "/%7Eb?sig=ab%2Fc%2B%3D%3D&who=me%40x.org", id="escapes"),
        pytest.param("http://h/a/../b//c", "/a/../b//c", id="dots and slashes"),
        pytest.param("http://h?x=1+2;y", "/?x=1+2;y", id="no path"),
        pytest.param("http://h/é b?q=ü", "/%C3%A9%20b?q=%C3%BC", id="what HTTP cannot carry"),
        pytest.param("http://h/%zz%2", "/%zz%2", id="no escapes at all"),
        pytest.param("http://h/p#part", "/p", id="a fragment stays here"),
        pytest.param("http://h/'(a)[b]{c}|\"<>", "/'(a)[b]{c}|\"<>", id="unusual characters"),
    ],
)  # fmt: skip
def test_the_request_line_is_as_typed(typed: str, line: str) -> None:
    assert request_url(typed).raw_path_qs == line


def test_users_and_foreign_hosts_are_kept() -> None:
    url = request_url("http://ada:s%40c@bücher.example:81/")
    assert (url.user, url.password, url.raw_host, url.port) == ("ada", "s@c", "xn--bcher-kva.example", 81)


@pytest.mark.integration
def test_a_signed_url_arrives_as_typed() -> None:
    server = RawServer(lambda own, _: http())
    sent(f"{server.url}/%7Eb?sig=ab%2Fc%2B")
    assert server.heads[0].startswith("POST /predict/%7Eb?sig=ab%2Fc%2B HTTP/1.1\r\n")


@pytest.mark.integration
@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(b"X-Trace: " + b"a" * 9000 + b"\r\n", id="one of 9000 bytes"),
        pytest.param(b"X-Trace: " + b"a" * 900_000 + b"\r\n", id="one of 900,000 bytes"),
        pytest.param(b"".join(b"X-H%d: v\r\n" % number for number in range(2000)), id="2000 of them"),
        pytest.param(b"X-Pod: \xff\xfe\x1b[2J\r\nSet-Cookie: \xff=;;=\r\n", id="bytes that are no text"),
    ],
)
def test_long_many_and_strange_headers_are_read(headers: bytes) -> None:
    record = one(http(headers=headers))
    assert (record.good, record.label) == (True, "cat")
    record.pod.encode()


@pytest.mark.integration
@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nX: a\x00b\r\n\r\n", "the response cannot be parsed: Invalid", id="a NUL in a header"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", "cannot be parsed", id="two lengths"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n", "cannot be parsed", id="no chunk"),
        pytest.param(http(headers=b"Content-Encoding: gzip\r\n"), "status 200, but the body is not gzip", id="no gzip"),
    ],
)  # fmt: skip
def test_what_cannot_be_parsed_violates_the_protocol_and_has_a_reason(content: bytes, words: str) -> None:
    record = one(content)
    assert record.failure is Failure.PROTOCOL
    assert words in record.error
    assert "127.0.0.1" not in record.error


@pytest.mark.integration
def test_a_location_that_is_no_url_fails_one_request() -> None:
    record = one(http(status="202 Accepted", headers=b"Location: http://[bad\r\n"), protocol="async")
    assert (record.failure, record.error) == (Failure.PROTOCOL, "status 202, then ValueError: Invalid IPv6 URL")


@pytest.mark.integration
@pytest.mark.parametrize("processes", [1, 2])
def test_large_answers_have_their_labels_after_a_run(processes: int) -> None:
    content = http(b'{"label": "cat", "confidence": 0.5, "mask": "%s"}' % (b"x" * 100_000))
    plan = SendPlan(np.linspace(0, 0.1, 6), BODIES, processes=processes)
    records = run_replay(Target(RawServer(lambda own, _: content).url), plan).records
    assert [record.label for record in records] == ["cat"] * 6
