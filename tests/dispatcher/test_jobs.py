"""Asynchronous work: its HTTP answers and its runner, over a journal in a file and a relay of the test's own."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from dispatcher.buffer import Reason
from dispatcher.exchange import BodyRest
from dispatcher.job_runner import WINDOW, Handle, JobRunner
from dispatcher.jobs import Jobs
from dispatcher.journal.base import JournalLimits, JournalUnavailableError
from dispatcher.journal.sqlite_journal import SqliteJournal
from dispatcher.relay import BackendAnswer, ClientRequest
from dispatcher.replies import ClientReply, RefusalError
from dispatcher.terms import Priority, Terms
from tests.dispatcher.journal.conftest import run

REQUEST = ClientRequest(
    "POST", "/predict?top=5", ((b"Host", b""), (b"X-Request-Id", b"mine"), (b"X-Odd", b"\xff\xfe")), bytes(range(256))
)
CAT = BackendAnswer(
    200, ((b"X-Pod", b"a"), (b"Set-Cookie", b"a=1"), (b"Set-Cookie", b"b=\xe9"), (b"X-Request-Id", b"pod's")), b"\x00cat",
    attempts=1, phrase="Fine",
)  # fmt: skip
DOWN = BackendAnswer(0, reason=Reason.EXHAUSTED, cause="cannot connect", attempts=1)
NO_POD = BackendAnswer(0, reason=Reason.NO_POD)


class Pods:
    """Answers each request with the next of `answers`, the last one for ever; None: no answer until `release`."""

    def __init__(self, *answers: BackendAnswer | None) -> None:
        self.answers, self.asked = list(answers), list[tuple[ClientRequest, Terms]]()
        self.at_once = self.most_at_once = self.left = 0
        self.release = asyncio.Event()

    async def handle(self, request: ClientRequest, terms: Terms) -> BackendAnswer:
        self.asked.append((request, terms))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if answer is None:
                await self.release.wait()
            return answer or CAT
        except asyncio.CancelledError:
            self.left += 1
            raise
        finally:
            self.at_once -= 1


class Clock:
    """Unix time that the test sets; `rate` seconds pass at each look."""

    def __init__(self, rate: float = 0.0) -> None:
        self.now_s, self.rate = 1e9, rate

    def __call__(self) -> float:
        self.now_s += self.rate
        return self.now_s


@asynccontextmanager
async def working(
    folder: Path, handle: Handle, clock: Clock | None = None, limits: JournalLimits | None = None
) -> AsyncIterator[tuple[Jobs, JobRunner]]:
    clock = clock or Clock()
    journal = SqliteJournal(folder / "journal.sqlite3", limits or JournalLimits())
    runner = JobRunner(journal, handle, most_attempts=3, now=clock)
    await runner.open()
    runner.start()
    yield Jobs(journal, runner, clock), runner
    await runner.stop(0)
    await journal.close()


def location(reply: ClientReply) -> str:
    return dict(reply.fields)[b"Location"].decode().removeprefix("/jobs/")


async def submitted(jobs: Jobs, owner: str = "ada", key: str | None = None, request: ClientRequest = REQUEST) -> str:
    reply = await jobs.submit(request, Terms(), owner, key)
    assert reply.status == 202
    return location(reply)


async def ended(jobs: Jobs, job_id: str) -> ClientReply:
    while True:
        reply = await jobs.answer("GET", job_id, "ada")
        if reply.status != 202:
            return reply
        await asyncio.sleep(0.005)


async def until(holds: Callable[[], bool]) -> None:
    while not holds():
        await asyncio.sleep(0.005)


async def refused(jobs: Jobs, method: str, job_id: str, owner: str = "ada") -> tuple[int, str]:
    with pytest.raises(RefusalError) as caught:
        await jobs.answer(method, job_id, owner)
    return caught.value.status, caught.value.text


def test_an_accepted_request_gets_202_and_its_result_is_the_answer_of_the_pod(tmp_path: Path) -> None:
    async def test() -> None:
        pods = Pods(CAT)
        async with working(tmp_path, pods.handle) as (jobs, _):
            reply = await jobs.submit(REQUEST, Terms(), "ada", None)
            job_id, fields = location(reply), dict(reply.fields)
            assert json.loads(reply.content) == {"id": job_id, "state": "accepted", "location": f"/jobs/{job_id}"}
            assert fields[b"Preference-Applied"] == b"respond-async"
            assert (fields[b"Retry-After"], fields[b"X-Request-Id"]) == (b"1", b"mine")
            result = await ended(jobs, job_id)
            assert (result.status, result.reason, result.content) == (200, "Fine", b"\x00cat")
            assert result.fields == [
                (b"X-Pod", b"a"),
                (b"Set-Cookie", b"a=1"),
                (b"Set-Cookie", b"b=\xe9"),
                (b"attempts", b"1"),
                (b"X-Request-Id", b"mine"),
                (b"X-Job-State", b"done"),
            ]
            ((request, terms),) = pods.asked
            assert request == REQUEST
            assert terms == Terms(priority=Priority.LOW, kept=True, size_bytes=256)

    run(test())


def test_a_job_that_runs_answers_202_with_its_state_and_when_to_ask_again(tmp_path: Path) -> None:
    async def test() -> None:
        pods = Pods(None)
        async with working(tmp_path, pods.handle) as (jobs, _):
            job_id = await submitted(jobs)
            await until(lambda: bool(pods.asked))
            reply = await jobs.answer("GET", job_id, "ada")
            assert (reply.status, dict(reply.fields)[b"Retry-After"]) == (202, b"1")
            assert json.loads(reply.content)["state"] == "running"
            pods.release.set()
            assert (await ended(jobs, job_id)).status == 200

    run(test())


@pytest.mark.parametrize("status", [200, 400, 404, 415, 429, 500])
def test_any_status_of_a_pod_is_a_result(tmp_path: Path, status: int) -> None:
    async def test() -> None:
        pods = Pods(BackendAnswer(status, (), b"text", attempts=1))
        async with working(tmp_path, pods.handle) as (jobs, _):
            assert (await ended(jobs, await submitted(jobs))).status == status
            assert len(pods.asked) == 1

    run(test())


def test_a_job_is_tried_again_and_fails_after_the_attempts(tmp_path: Path) -> None:
    async def test() -> None:
        pods = Pods(DOWN, DOWN, CAT, DOWN)
        async with working(tmp_path, pods.handle, Clock(rate=0.5)) as (jobs, _):
            assert (await ended(jobs, await submitted(jobs))).status == 200
            assert len(pods.asked) == 3
            job_id = await submitted(jobs)
            reply = await ended(jobs, job_id)
            text = "attempt 3 of 3 (--job-attempts) failed: cannot connect"
            assert reply.status == 502
            assert json.loads(reply.content) == {"error": text, "id": job_id, "state": "failed"}
            assert len(pods.asked) == 6

    run(test())


def test_waiting_for_pods_is_no_attempt(tmp_path: Path) -> None:
    async def test() -> None:
        pods = Pods(*[NO_POD] * 8, CAT)
        async with working(tmp_path, pods.handle, Clock(rate=0.5)) as (jobs, _):
            assert (await ended(jobs, await submitted(jobs))).status == 200

    run(test())


class Connection:
    """The connection of a pod whose answer is not read to its end."""

    aborted = False

    def abort(self) -> None:
        self.aborted = True


def test_an_answer_above_the_limit_fails_the_job_with_the_limit_and_ends_the_reading(tmp_path: Path) -> None:
    async def test() -> None:
        connection, payload = Connection(), None
        rest = BodyRest(payload, connection)  # type: ignore[arg-type]
        pods = Pods(BackendAnswer(200, (), b"the beginning", attempts=1, rest=rest))
        async with working(tmp_path, pods.handle) as (jobs, _):
            reply = await ended(jobs, await submitted(jobs))
            assert (reply.status, json.loads(reply.content)["state"]) == (502, "failed")
            assert "at most 67108864 bytes, got more" in json.loads(reply.content)["error"]
            assert connection.aborted
            assert len(pods.asked) == 1

    run(test())


def test_cancelling_takes_the_job_out_of_the_buffer(tmp_path: Path) -> None:
    async def test() -> None:
        pods = Pods(None)
        async with working(tmp_path, pods.handle) as (jobs, _):
            job_id = await submitted(jobs)
            await until(lambda: bool(pods.asked))
            for _ in range(2):
                assert (await jobs.answer("DELETE", job_id, "ada")).status == 204
            await until(lambda: pods.left == 1)
            assert await refused(jobs, "GET", job_id) == (410, f"job {job_id} was cancelled")

    run(test())


def test_a_job_that_has_ended_cannot_be_cancelled(tmp_path: Path) -> None:
    async def test() -> None:
        async with working(tmp_path, Pods(CAT).handle) as (jobs, _):
            job_id = await submitted(jobs)
            await ended(jobs, job_id)
            assert (await refused(jobs, "DELETE", job_id))[0] == 409
            assert (await jobs.answer("GET", job_id, "ada")).status == 200

    run(test())


def test_unknown_expired_and_other_clients_jobs_are_404(tmp_path: Path) -> None:
    async def test() -> None:
        clock = Clock()
        async with working(tmp_path, Pods(CAT).handle, clock) as (jobs, _):
            job_id = await submitted(jobs)
            await ended(jobs, job_id)
            for method in ("GET", "HEAD", "DELETE"):
                assert (await refused(jobs, method, job_id, owner="bob"))[0] == 404
                for unknown in ("", "short", "x" * 24, "../../etc/passwd", "\udcff" * 24):
                    assert (await refused(jobs, method, unknown))[0] == 404
            clock.now_s += 600
            assert (await refused(jobs, "GET", job_id))[0] == 404

    run(test())


def test_other_methods_are_405(tmp_path: Path) -> None:
    async def test() -> None:
        async with working(tmp_path, Pods(CAT).handle) as (jobs, _):
            assert (await refused(jobs, "POST", "x" * 24))[0] == 405

    run(test())


def test_a_key_that_comes_again_gets_the_first_job_and_another_request_422(tmp_path: Path) -> None:
    async def test() -> None:
        pods = Pods(CAT)
        async with working(tmp_path, pods.handle) as (jobs, _):
            job_id = await submitted(jobs, key="k")
            await ended(jobs, job_id)
            reply = await jobs.submit(REQUEST, Terms(), "ada", "k")
            assert (location(reply), json.loads(reply.content)["state"]) == (job_id, "done")
            assert await submitted(jobs, owner="bob", key="k") != job_id
            other = ClientRequest("POST", "/predict", REQUEST.headers, b"another image")
            for key, status in (("k", 422), ("k" * 256, 400)):
                with pytest.raises(RefusalError) as caught:
                    await jobs.submit(other, Terms(), "ada", key)
                assert caught.value.status == status

    run(test())


def test_a_full_journal_answers_503_and_keeps_what_it_has(tmp_path: Path) -> None:
    async def test() -> None:
        pods = Pods(None)
        async with working(tmp_path, pods.handle, limits=JournalLimits(most_bytes=600)) as (jobs, _):
            job_id = await submitted(jobs)
            with pytest.raises(RefusalError) as caught:
                await submitted(jobs)
            assert (caught.value.status, dict(caught.value.headers)) == (503, {b"Retry-After": b"5"})
            assert "--journal-bytes is 600" in caught.value.text
            pods.release.set()
            assert (await ended(jobs, job_id)).status == 200

    run(test())


def test_a_bounded_number_of_jobs_is_in_memory(tmp_path: Path) -> None:
    async def test() -> None:
        pods = Pods(None)
        async with working(tmp_path, pods.handle) as (jobs, runner):
            ids = await asyncio.gather(*(submitted(jobs) for _ in range(WINDOW + 50)))
            await until(lambda: runner.pending == 50 and pods.at_once == WINDOW)
            pods.release.set()
            assert {(await ended(jobs, job_id)).status for job_id in ids} == {200}
            assert pods.most_at_once == WINDOW
            await until(lambda: runner.pending == 0)

    run(test())


def test_what_runs_at_the_end_runs_again_after_the_next_start(tmp_path: Path) -> None:
    async def test() -> None:
        async with working(tmp_path, Pods(None).handle) as (jobs, runner):
            job_id = await submitted(jobs)
            await until(lambda: runner.backlog.running == 1)
        async with working(tmp_path, Pods(CAT).handle) as (jobs, _):
            assert (await ended(jobs, job_id)).status == 200

    run(test())


def test_a_job_that_nothing_can_run_fails_instead_of_running_for_ever(tmp_path: Path) -> None:
    async def broken(_: ClientRequest, __: Terms) -> BackendAnswer:
        raise ZeroDivisionError

    async def test() -> None:
        async with working(tmp_path, broken) as (jobs, _):
            reply = await ended(jobs, await submitted(jobs))
            assert (reply.status, json.loads(reply.content)["state"]) == (502, "failed")

    run(test())


class Alternating:
    """A journal that can be read, and fails every second call: a full disk."""

    def __init__(self) -> None:
        self.calls = 0

    async def open(self, now_s: float) -> None:
        self.calls += 1
        if self.calls % 2:
            raise JournalUnavailableError("the disk is full")


def test_a_full_disk_is_one_line_in_the_log_until_nothing_has_failed_for_a_while(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now_s = [0.0]
    journal: Any = Alternating()
    runner = JobRunner(journal, handle=None, most_attempts=1, now=lambda: now_s[0])  # type: ignore[arg-type]

    async def opened() -> int:
        await journal.open(0.0)
        return 1

    async def story() -> None:
        for _ in range(20):
            await runner._try(opened())
            now_s[0] += 0.5
        now_s[0] += 60
        journal.calls = 1
        await runner._try(opened())

    with caplog.at_level(logging.WARNING):
        asyncio.run(story())
    assert [record.getMessage() for record in caplog.records] == [
        "asynchronous work waits for the journal: the disk is full",
        "the journal is available again",
    ]
