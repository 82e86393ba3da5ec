"""What every journal does: work accepted once is kept until it has exactly one final state."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any

import pytest

from dispatcher.journal.base import (
    Job,
    JobResult,
    JobState,
    Journal,
    JournalFullError,
    KeyConflictError,
    NewJob,
    Receipt,
)
from tests.dispatcher.journal.conftest import LEASE_S, Store, run

DONE, FAILED, CANCELLED = JobState.DONE, JobState.FAILED, JobState.CANCELLED
CAT = JobResult(200, b"head of the answer", b"cat")


def new(job_id: str, owner: str = "ada", key: str = "", digest: bytes = b"same", body: bytes = b"image") -> NewJob:
    return NewJob(job_id, owner, b"head", body, key, digest)


def asynchronous(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @wraps(test)
    def synchronous(**stores: Store) -> None:
        run(test(**stores))

    return synchronous


async def state(journal: Journal, job_id: str, owner: str = "ada", now_s: float = 0.0) -> JobState | None:
    found = await journal.find(job_id, owner, now_s)
    return found.state if found else None


@asynchronous
async def test_a_job_goes_from_accepted_over_running_to_its_result(store: Store) -> None:
    async with store.opened() as journal:
        assert await journal.append(new("a"), 0) == Receipt("a", new=True)
        assert await state(journal, "a") is JobState.ACCEPTED
        assert await journal.claim(10, 0) == [Job("a", b"head", b"image", attempts=0)]
        assert await state(journal, "a") is JobState.RUNNING
        assert await journal.finish("a", DONE, CAT, 1)
        found = await journal.find("a", "ada", 1)
        assert found
        assert (found.state, found.attempts, found.result) == (DONE, 0, CAT)


@asynchronous
async def test_a_failure_keeps_its_cause(store: Store) -> None:
    async with store.opened() as journal:
        await journal.append(new("a"), 0)
        await journal.finish("a", FAILED, JobResult(502, cause="5 attempts failed"), 1)
        found = await journal.find("a", "ada", 1)
        assert found
        assert found.result == JobResult(502, cause="5 attempts failed")


@asynchronous
async def test_bytes_of_every_value_come_back_unchanged(store: Store) -> None:
    body, empty = bytes(range(256)) * 400, b""
    async with store.opened() as journal:
        await journal.append(NewJob("a", "ada", empty, body), 0)
        (job,) = await journal.claim(1, 0)
        assert (job.head, job.body) == (empty, body)
        await journal.finish("a", DONE, JobResult(200, body, empty), 0)
        found = await journal.find("a", "ada", 0)
        assert found
        assert found.result == JobResult(200, body, empty)


@asynchronous
async def test_the_oldest_jobs_are_claimed_first_and_each_once(store: Store) -> None:
    async with store.opened() as journal:
        for number in range(5):
            await journal.append(new(f"job{number}"), number)
        assert [job.id for job in await journal.claim(2, 9)] == ["job0", "job1"]
        assert [job.id for job in await journal.claim(9, 9)] == ["job2", "job3", "job4"]
        assert await journal.claim(9, 9) == []


@asynchronous
async def test_a_job_that_was_put_back_runs_again_when_it_is_due_with_its_attempts(store: Store) -> None:
    async with store.opened() as journal:
        await journal.append(new("a"), 0)
        await journal.claim(1, 0)
        await journal.put_back("a", 1, 30, 0)
        assert await state(journal, "a") is JobState.ACCEPTED
        assert await journal.claim(1, 29.9) == []
        assert await journal.claim(1, 30) == [Job("a", b"head", b"image", attempts=1)]
        await journal.put_back("a", 2, 30, 30)
        assert [job.attempts for job in await journal.claim(1, 30)] == [2]


@asynchronous
async def test_a_final_state_never_changes(store: Store) -> None:
    async with store.opened() as journal:
        await journal.append(new("a"), 0)
        await journal.claim(1, 0)
        assert await journal.finish("a", DONE, CAT, 1)
        assert not await journal.finish("a", FAILED, JobResult(cause="late"), 1)
        assert await journal.cancel("a", "ada", 1) is DONE
        await journal.put_back("a", 1, 1, 1)
        assert await journal.claim(1, 9) == []
        found = await journal.find("a", "ada", 1)
        assert found
        assert (found.state, found.result) == (DONE, CAT)


@asynchronous
async def test_a_cancelled_job_is_never_claimed_and_has_no_result(store: Store) -> None:
    async with store.opened() as journal:
        await journal.append(new("waiting"), 0)
        assert await journal.cancel("waiting", "ada", 0) is CANCELLED
        assert await journal.claim(1, 0) == []
        await journal.append(new("running"), 0)
        await journal.claim(1, 0)
        assert await journal.cancel("running", "ada", 0) is CANCELLED
        assert await journal.cancel("running", "ada", 0) is CANCELLED
        assert not await journal.finish("running", DONE, CAT, 0)
        assert await state(journal, "running") is CANCELLED
        await journal.append(new("delayed"), 0)
        await journal.claim(1, 0)
        await journal.put_back("delayed", 1, 5, 0)
        assert await journal.cancel("delayed", "ada", 0) is CANCELLED
        assert await journal.claim(1, 9) == []


@asynchronous
async def test_of_a_cancellation_and_a_result_at_once_exactly_one_counts(store: Store) -> None:
    async with store.opened() as journal:
        for number in range(40):
            job_id = f"job{number}"
            await journal.append(new(job_id), 0)
            calls = [journal.cancel(job_id, "ada", 0), journal.finish(job_id, DONE, CAT, 0)]
            first, second = await asyncio.gather(*(calls if number % 2 else reversed(calls)))
            cancelled, finished = (first, second) if number % 2 else (second, first)
            assert (cancelled is CANCELLED) != finished
            assert await state(journal, job_id) is (DONE if finished else CANCELLED)


@asynchronous
async def test_a_job_belongs_to_its_owner(store: Store) -> None:
    async with store.opened() as journal:
        await journal.append(new("a", owner="ada"), 0)
        assert await journal.find("a", "bob", 0) is None
        assert await journal.cancel("a", "bob", 0) is None
        assert await journal.find("unknown", "ada", 0) is None
        assert await journal.cancel("unknown", "ada", 0) is None
        assert await state(journal, "a") is JobState.ACCEPTED


@asynchronous
async def test_a_key_that_comes_again_names_the_first_job(store: Store) -> None:
    async with store.opened() as journal:
        assert await journal.append(new("a", key="k"), 0) == Receipt("a", new=True)
        assert await journal.append(new("b", key="k"), 0) == Receipt("a", new=False)
        assert [job.id for job in await journal.claim(9, 0)] == ["a"]
        await journal.finish("a", DONE, CAT, 0)
        assert await journal.append(new("c", key="k"), 1) == Receipt("a", new=False)
        assert await state(journal, "b") is None


@asynchronous
async def test_a_key_with_another_request_is_a_conflict(store: Store) -> None:
    async with store.opened() as journal:
        await journal.append(new("a", key="k", digest=b"one"), 0)
        with pytest.raises(KeyConflictError, match="'k'"):
            await journal.append(new("b", key="k", digest=b"two"), 0)
        assert (await journal.backlog(0)).ready == 1


@asynchronous
async def test_keys_belong_to_their_owners_and_an_empty_key_to_none(store: Store) -> None:
    async with store.opened() as journal:
        rows = [
            ("a", "ada", "k"),
            ("b", "bob", "k"),
            ("c", "ada", ""),
            ("d", "ada", ""),
            ("e", "", "k"),
            ("f", "ad", "ak"),
        ]
        for job_id, owner, key in rows:
            receipt = await journal.append(new(job_id, owner, key, digest=job_id.encode()), 0)
            assert receipt == Receipt(job_id, new=True)


@asynchronous
async def test_equal_keys_at_once_make_one_job(store: Store) -> None:
    async with store.opened() as journal:
        receipts = await asyncio.gather(*(journal.append(new(f"job{n}", key="k"), 0) for n in range(20)))
        assert len({receipt.id for receipt in receipts}) == 1
        assert sum(receipt.new for receipt in receipts) == 1
        assert (await journal.backlog(0)).ready == 1


@asynchronous
async def test_a_result_and_its_key_expire(store: Store) -> None:
    async with store.opened(result_ttl_s=600) as journal:
        await journal.append(new("a", key="k"), 0)
        await journal.append(new("waiting"), 0)
        await journal.finish("a", DONE, CAT, 100)
        assert await state(journal, "a", now_s=699.9) is DONE
        assert await journal.purge(699.9) == 0
        assert await state(journal, "a", now_s=700) is None
        assert await journal.cancel("a", "ada", 700) is None
        assert await journal.purge(700) == 1
        assert await journal.append(new("b", key="k"), 701) == Receipt("b", new=True)
        assert await state(journal, "waiting", now_s=1e6) is JobState.ACCEPTED


@asynchronous
async def test_above_the_bound_in_bytes_nothing_is_accepted_and_nothing_is_lost(store: Store) -> None:
    async with store.opened(most_bytes=2 * 104) as journal:
        await journal.append(new("a", body=bytes(100)), 0)
        await journal.append(new("b", body=bytes(100)), 0)
        with pytest.raises(JournalFullError, match="--journal-bytes is 208"):
            await journal.append(new("c", body=b""), 0)
        assert [job.id for job in await journal.claim(9, 0)] == ["a", "b"]
        await journal.finish("a", DONE, JobResult(200, b"", b"cat"), 0)
        assert (await journal.backlog(0)).size_bytes == 104 + 3
        await journal.append(new("c", body=bytes(97)), 0)
        await journal.cancel("c", "ada", 0)
        assert (await journal.backlog(0)).size_bytes == 104 + 3


@asynchronous
async def test_the_size_is_zero_after_everything_has_ended_and_expired(store: Store) -> None:
    async with store.opened() as journal:
        for number in range(10):
            await journal.append(new(f"job{number}", body=bytes(1000)), 0)
        for job in await journal.claim(5, 0):
            await journal.finish(job.id, DONE, CAT, 0)
        for number in range(5, 10):
            await journal.cancel(f"job{number}", "ada", 0)
        await journal.purge(1e6)
        backlog = await journal.backlog(1e6)
        assert (backlog.ready, backlog.delayed, backlog.running, backlog.size_bytes) == (0, 0, 0, 0)


@asynchronous
async def test_the_backlog_counts_ready_delayed_and_running_jobs(store: Store) -> None:
    async with store.opened() as journal:
        for number in range(6):
            await journal.append(new(f"job{number}"), 0)
        await journal.claim(3, 0)
        await journal.put_back("job0", 1, 50, 0)
        backlog = await journal.backlog(1)
        assert (backlog.ready, backlog.delayed, backlog.running, backlog.dispatchers) == (3, 1, 2, 1)
        backlog = await journal.backlog(50)
        assert (backlog.ready, backlog.delayed, backlog.running) == (4, 0, 2)


@asynchronous
async def test_everything_is_there_after_it_was_closed_and_opened_again(store: Store) -> None:
    async with store.opened() as journal:
        for job_id in ("waiting", "running", "delayed", "done"):
            await journal.append(new(job_id, key=job_id), 0)
        await journal.claim(4, 0)
        await journal.put_back("waiting", 0, 0, 0)
        await journal.put_back("delayed", 1, 50, 0)
        await journal.finish("done", DONE, CAT, 0)
    async with store.opened(1.0) as journal:
        assert await journal.append(new("other", key="delayed"), 1) == Receipt("delayed", new=False)
        assert {job.id for job in await journal.claim(9, 1)} == {"waiting", "running"}
        assert [(job.id, job.attempts) for job in await journal.claim(9, 50)] == [("delayed", 1)]
        found = await journal.find("done", "ada", 1)
        assert found
        assert found.result == CAT


@asynchronous
async def test_a_result_is_pushed_until_that_has_succeeded_and_expires_afterwards(store: Store) -> None:
    async with store.opened(pushes=True, result_ttl_s=600) as journal:
        await journal.append(new("a"), 0)
        await journal.append(new("cancelled"), 0)
        await journal.cancel("cancelled", "ada", 0)
        await journal.finish("a", DONE, CAT, 10)
        (push,) = await journal.claim_pushes(9, 10, lease_s=60)
        assert (push.id, push.state, push.result, push.attempts, push.finished_s) == ("a", DONE, CAT, 1, 10)
        assert await journal.claim_pushes(9, 69, lease_s=60) == []
        await journal.push_later("a", 65)
        assert [one.attempts for one in await journal.claim_pushes(9, 65, lease_s=60)] == [2]
        assert await journal.purge(5000) == 1  # the cancelled one
    async with store.opened(pushes=True) as journal:
        assert [one.attempts for one in await journal.claim_pushes(9, 5000, lease_s=60)] == [3]
        await journal.push_done("a", 5000)
        await journal.push_done("a", 9000)
        await journal.push_later("a", 5000)
        assert await journal.claim_pushes(9, 9999, lease_s=60) == []
        assert await state(journal, "a", now_s=5599) is DONE
        assert await journal.purge(5600) == 1
        assert (await journal.backlog(0)).size_bytes == 0


@pytest.mark.integration
@asynchronous
async def test_the_jobs_of_a_dead_dispatcher_run_elsewhere(shared_store: Store) -> None:
    dead = await shared_store.crash()
    async with shared_store.opened() as journal, shared_store.opened() as third:
        await journal.append(new("a"), 0)
        assert len(await dead.claim(1, 0)) == 1
        assert await journal.claim(1, 0) == []
        await asyncio.sleep(2 * LEASE_S)
        assert [job.id for job in await journal.claim(1, 10)] == ["a"]
        # the dead one was only slow: its late answer counts once, its late put_back not at all
        await dead.put_back("a", 1, 0, 0)
        await dead.renew(0)
        assert await third.claim(1, 0) == []
        assert await journal.finish("a", DONE, CAT, 0)
        assert not await dead.finish("a", FAILED, JobResult(), 0)
    await dead.close()


@pytest.mark.integration
@asynchronous
async def test_the_jobs_of_a_slow_dispatcher_stay_its_own_while_it_renews_them(shared_store: Store) -> None:
    async with shared_store.opened() as slow, shared_store.opened() as journal:
        await slow.append(new("a"), 0)
        await slow.claim(1, 0)
        for turn in range(12):
            await asyncio.sleep(LEASE_S / 6)
            await slow.renew(turn / 100)
            assert await journal.claim(1, 10 * turn) == []
        assert (await journal.backlog(0)).dispatchers == 2


@pytest.mark.integration
@asynchronous
async def test_a_dispatcher_that_stalled_does_not_begin_its_own_jobs_again(shared_store: Store) -> None:
    async with shared_store.opened() as journal:
        await journal.append(new("a"), 0)
        await journal.claim(1, 0)
        await asyncio.sleep(2 * LEASE_S)
        assert await journal.claim(1, 10) == []
        await journal.put_back("a", 1, 0, 10)
        assert [job.attempts for job in await journal.claim(1, 20)] == [1]
        assert await journal.finish("a", DONE, CAT, 20)


@pytest.mark.integration
@asynchronous
async def test_two_dispatchers_share_the_work_without_a_job_twice(shared_store: Store) -> None:
    async with shared_store.opened() as one, shared_store.opened() as two:
        for number in range(100):
            await (one if number % 3 else two).append(new(f"job{number}"), 0)
        claimed: list[str] = []
        for turn in range(20):
            for journal in (one, two):
                claimed += [job.id for job in await journal.claim(7, turn)]
        assert sorted(claimed) == sorted(f"job{number}" for number in range(100))
