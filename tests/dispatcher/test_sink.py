"""Results pushed to a sink: signed CloudEvents, tried again until the sink takes them."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from dispatcher.journal.base import JobResult, JobState, JournalLimits, NewJob, Push
from dispatcher.journal.sqlite_journal import SqliteJournal
from dispatcher.packing import pack_answer
from dispatcher.relay import BackendAnswer, ClientRequest
from dispatcher.sink import (
    GIVEN_UP_AFTER_S,
    LONGEST_DELAY_S,
    ResultSink,
    SinkError,
    delay_s,
    event,
    parse_secret,
    signature,
)
from tests.dispatcher.journal.conftest import run

KEY = bytes(range(24))


def result(content_type: bytes, body: bytes) -> JobResult:
    answer = BackendAnswer(200, ((b"Content-Type", content_type),), body)
    return pack_answer(answer, ClientRequest("POST", "/predict", (), b""))


def push_of(outcome: JobResult, state: JobState = JobState.DONE) -> Push:
    return Push("job1", state, outcome, attempts=1, finished_s=1_700_000_000.25)


def test_the_signature_is_that_of_the_published_example() -> None:
    """Source: the example of the Standard Webhooks reference libraries."""
    key = parse_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n")
    signed = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    "text",
    ["", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_c2hvcnQ=", "whsec_no base64!", f"whsec_{'A' * 88}"],
)
def test_another_secret_is_refused(text: str) -> None:
    with pytest.raises(SinkError, match="whsec_ and 24 to 64 bytes in base64"):
        parse_secret(text)


def test_an_event_has_the_result_as_json() -> None:
    got = json.loads(event(push_of(result(b"application/json; charset=utf-8", b'{"label": "cat"}'))))
    assert got == {
        "specversion": "1.0",
        "id": "job1",
        "source": "/jobs",
        "type": "elastic.inference.finished",
        "subject": "job1",
        "time": "2023-11-14T22:13:20.250Z",
        "datacontenttype": "application/json; charset=utf-8",
        "jobstate": "done",
        "httpstatus": 200,
        "data": {"label": "cat"},
    }


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        pytest.param(b"application/octet-stream", b"\x00\xff", id="bytes"),
        pytest.param(b"application/json", b"\xff no JSON", id="no JSON, whatever its type says"),
        pytest.param(b"text/plain", b"", id="nothing"),
    ],
)
def test_an_event_has_any_other_result_in_base64(content_type: bytes, body: bytes) -> None:
    got = json.loads(event(push_of(result(content_type, body))))
    assert base64.b64decode(got["data_base64"]) == body
    assert "data" not in got


def test_the_event_of_a_failure_has_its_cause() -> None:
    got = json.loads(event(push_of(JobResult(502, cause="5 attempts failed"), JobState.FAILED)))
    assert (got["jobstate"], got["httpstatus"], got["data"]) == ("failed", 502, {"error": "5 attempts failed"})


def test_the_delay_doubles_up_to_a_bound_and_is_spread() -> None:
    assert [delay_s(attempts, "", 1.0) for attempts in (1, 2, 3, 20)] == [1, 2, 4, LONGEST_DELAY_S]
    assert [delay_s(attempts, "", 0.0) for attempts in (1, 2, 3)] == [0.5, 1, 2]


def test_the_sink_may_ask_for_a_longer_delay_but_not_for_a_shorter_one() -> None:
    assert delay_s(1, "120", 0.0) == 120
    assert delay_s(5, "1", 1.0) == 16
    assert delay_s(1, "9" * 30, 0.0) == GIVEN_UP_AFTER_S
    assert delay_s(1, "Wed, 21 Oct 2015 07:28:00 GMT", 1.0) == 1


class Receiver:
    """A sink that answers with the next of `statuses`, else 200, and keeps what it got."""

    def __init__(self, *statuses: int) -> None:
        self.statuses, self.got = list(statuses), list[tuple[dict[str, str], bytes]]()

    async def __call__(self, request: web.BaseRequest) -> web.Response:
        self.got.append(({name.lower(): value for name, value in request.headers.items()}, await request.read()))
        status = self.statuses.pop(0) if self.statuses else 200
        return web.Response(status=status, headers={"Location": "/elsewhere"} if status == 302 else {})


async def receiving(receiver: Receiver, test: Callable[[str], Awaitable[None]]) -> None:
    runner = web.ServerRunner(web.Server(receiver))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        await test(f"http://127.0.0.1:{runner.addresses[0][1]}/results?of=dispatcher")
    finally:
        await runner.cleanup()


class Clock:
    """Unix time, faster than the real one."""

    def __init__(self) -> None:
        self.now_s = 1_700_000_000.0

    def __call__(self) -> float:
        self.now_s += 0.5
        return self.now_s


async def journal_with_a_result(folder: Path) -> SqliteJournal:
    journal = SqliteJournal(folder / "journal.sqlite3", JournalLimits(pushes=True))
    await journal.open(0)
    await journal.append(NewJob("job1", "", b"", b""), 0)
    await journal.finish("job1", JobState.DONE, result(b"application/json", b'{"label": "cat"}'), 1_700_000_000.0)
    return journal


async def pushed(journal: SqliteJournal, receiver: Receiver, times: int) -> None:
    """Wait until the receiver got an event this often, and the journal knows."""
    while len(receiver.got) < times:
        await asyncio.sleep(0.01)
    now_s = 1e12
    while await journal.claim_pushes(1, now_s, lease_s=60):
        await asyncio.sleep(0.01)
        now_s += 60


@pytest.mark.integration
def test_a_sink_that_fails_gets_the_same_event_again_with_a_valid_signature(tmp_path: Path) -> None:
    receiver = Receiver(503, 302, 404)
    outcomes: list[str] = []

    async def test(url: str) -> None:
        journal = await journal_with_a_result(tmp_path)
        sink = ResultSink(journal, url, KEY, Clock(), outcomes.append)
        sink.start()
        await pushed(journal, receiver, 4)
        await sink.stop()
        await journal.close()

    run(receiving(receiver, test))
    assert len(receiver.got) == 4
    assert outcomes == ["failed", "failed", "failed", "delivered"]
    bodies = {body for _, body in receiver.got}
    assert len(bodies) == 1
    for headers, body in receiver.got:
        check(headers, body)


def check(headers: dict[str, str], body: bytes) -> None:
    """Verify a signature as a receiver would."""
    assert headers["content-type"] == "application/cloudevents+json; charset=utf-8"
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    got: dict[str, Any] = json.loads(body)
    assert (got["id"], got["data"]) == ("job1", {"label": "cat"})


@pytest.mark.integration
def test_a_result_is_pushed_after_a_restart_if_the_sink_was_not_there_before(tmp_path: Path) -> None:
    receiver = Receiver()

    async def test(url: str) -> None:
        journal = await journal_with_a_result(tmp_path)
        sink = ResultSink(journal, "http://127.0.0.1:9/closed", KEY, Clock())
        sink.start()
        while not [one for one in await journal.claim_pushes(1, 1e12, lease_s=-1e12) if one.attempts > 2]:
            await asyncio.sleep(0.02)
        await sink.stop()
        await journal.close()
        await journal.open(0)
        sink = ResultSink(journal, url, KEY, Clock())
        sink.start()
        await pushed(journal, receiver, 1)
        await sink.stop()
        await journal.close()

    run(receiving(receiver, test))
    assert [headers["webhook-id"] for headers, _ in receiver.got][:1] == ["job1"]
