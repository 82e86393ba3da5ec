"""The Redis journal: a server that restarts, stops, refuses, or loses its data."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from dispatcher.journal.base import JobResult, JobState, JournalError, JournalLimits, JournalUnavailableError, NewJob
from dispatcher.journal.opening import make_journal
from dispatcher.journal.redis_journal import RedisJournal
from tests.dispatcher.journal.conftest import LEASE_S, Store, run
from tests.dispatcher.journal.redis_server import RedisServer
from tests.ports import free_port

pytestmark = pytest.mark.integration

IMAGE = bytes(50_000)
CAT = JobResult(200, b"", b"cat")


def journal_at(server: RedisServer, url: str | None = None) -> RedisJournal:
    return RedisJournal(url or server.url, JournalLimits(), lease_s=LEASE_S)


def test_a_restart_of_redis_loses_nothing_and_needs_no_restart_of_the_dispatcher(tmp_path: Path) -> None:
    async def test(server: RedisServer) -> None:
        journal = journal_at(server)
        await journal.open(0)
        await journal.append(NewJob("a", "ada", b"", IMAGE, "k"), 0)
        await journal.append(NewJob("b", "ada", b"", IMAGE), 0)
        assert len(await journal.claim(1, 0)) == 1
        server.kill()
        for call in (journal.append(NewJob("c", "", b"", b""), 0), journal.claim(1, 0), journal.find("a", "ada", 0)):
            with pytest.raises(JournalUnavailableError, match=server.url):
                await call
        server.start()
        assert not (await journal.append(NewJob("c", "ada", b"", IMAGE, "k"), 0)).new
        assert await journal.finish("a", JobState.DONE, CAT, 0)
        assert [job.id for job in await journal.claim(9, 0)] == ["b"]
        assert await journal.finish("b", JobState.DONE, CAT, 0)
        assert server.client.xlen("{elastic}:jobs") == 0
        await journal.close()

    server = RedisServer(tmp_path)
    try:
        run(test(server))
    finally:
        server.kill()


def test_two_dispatchers_of_which_one_dies_end_every_job_once_and_leave_no_memory(redis_server: RedisServer) -> None:
    async def work(journal: RedisJournal, ended: list[str], turns: int) -> None:
        for turn in range(turns):
            for job in await journal.claim(8, turn):
                if await journal.finish(job.id, JobState.DONE, CAT, turn):
                    ended.append(job.id)
            await asyncio.sleep(LEASE_S / 10)

    async def test() -> None:
        redis_server.client.flushall()
        before_bytes = redis_server.client.info("memory")["used_memory"]
        dying, living = journal_at(redis_server), journal_at(redis_server)
        await asyncio.gather(dying.open(0), living.open(0))
        await asyncio.gather(*((dying, living)[n % 2].append(NewJob(f"job{n}", "", b"", IMAGE), 0) for n in range(300)))
        ended: list[str] = []
        assert len(await dying.claim(50, 0)) == 50  # and it is never heard of again
        await work(living, ended, 60)
        assert sorted(ended) == sorted(f"job{n}" for n in range(300))
        assert redis_server.client.xlen("{elastic}:jobs") == 0
        assert redis_server.client.xpending("{elastic}:jobs", "dispatchers")["pending"] == 0
        while await living.purge(1e6):
            pass
        left = {key.decode() for key in redis_server.client.scan_iter()}
        assert left <= {f"{{elastic}}:{name}" for name in ("jobs", "bytes", "layout", "alive", "dead")}
        assert redis_server.client.get("{elastic}:bytes") == b"0"
        assert redis_server.client.info("memory")["used_memory"] - before_bytes < 300 * len(IMAGE) / 5
        await living.close()
        await dying.close()

    run(test())


def test_a_failed_job_leaves_a_dead_letter_with_its_cause(shared_store: Store, redis_server: RedisServer) -> None:
    async def test() -> None:
        async with shared_store.opened() as journal:
            await journal.append(NewJob("a", "", b"", b""), 0)
            await journal.finish("a", JobState.FAILED, JobResult(502, cause="5 attempts failed"), 0)
            letters: Any = redis_server.client.xrange("{elastic}:dead")
            ((_, letter),) = letters
            assert letter == {b"id": b"a", b"cause": b"5 attempts failed"}

    run(test())


def test_a_repeated_append_makes_no_second_job(shared_store: Store) -> None:
    """A connection that breaks after the command was sent makes the library send it again."""

    async def test() -> None:
        async with shared_store.opened() as journal:
            for _ in range(2):
                assert (await journal.append(NewJob("a", "", b"", b"", "k"), 0)).id == "a"
            assert (await journal.backlog(0)).ready == 1

    run(test())


def test_a_cancelled_job_is_not_renewed_and_another_clients_attempt_to_cancel_changes_nothing(
    shared_store: Store, redis_server: RedisServer
) -> None:
    async def test() -> None:
        async with shared_store.opened() as journal:
            for job_id in ("a", "b", "c"):
                await journal.append(NewJob(job_id, "ada", b"", b""), 0)
            assert len(await journal.claim(3, 0)) == 3
            assert await journal.cancel("a", "ada", 0) is JobState.CANCELLED
            assert await journal.cancel("b", "ada", 0) is JobState.CANCELLED
            assert await journal.cancel("c", "bob", 0) is None
            redis_server.client.config_resetstat()
            await journal.renew(0)
            # the script looks at each claim that it is to renew
            assert redis_server.client.info("commandstats")["cmdstat_xpending"]["calls"] == 1

    run(test())


def test_the_journal_works_again_after_the_data_of_the_server_were_deleted(
    shared_store: Store, redis_server: RedisServer
) -> None:
    async def test() -> None:
        async with shared_store.opened() as journal:
            redis_server.client.flushall()
            assert await journal.claim(1, 0) == []
            await journal.append(NewJob("a", "", b"", b""), 0)
            assert [job.id for job in await journal.claim(1, 0)] == ["a"]

    run(test())


def test_without_memory_nothing_is_accepted_but_work_still_ends(shared_store: Store, redis_server: RedisServer) -> None:
    async def test() -> None:
        async with shared_store.opened() as journal:
            await journal.append(NewJob("a", "ada", b"", IMAGE), 0)
            redis_server.client.config_set("maxmemory", "1mb")
            try:
                with pytest.raises(JournalUnavailableError, match="maxmemory"):
                    await journal.append(NewJob("b", "ada", b"", IMAGE), 0)
                assert len(await journal.claim(1, 0)) == 1
                assert await journal.finish("a", JobState.DONE, CAT, 0)
            finally:
                redis_server.client.config_set("maxmemory", "0")
            assert (await journal.append(NewJob("b", "ada", b"", IMAGE), 0)).new

    run(test())


def test_a_read_only_server_is_unavailable(shared_store: Store, redis_server: RedisServer) -> None:
    async def test() -> None:
        async with shared_store.opened() as journal:
            redis_server.client.replicaof("127.0.0.1", str(free_port()))
            try:
                with pytest.raises(JournalUnavailableError, match="read only"):
                    await journal.append(NewJob("a", "", b"", b""), 0)
            finally:
                redis_server.client.replicaof("NO", "ONE")
            assert (await journal.append(NewJob("a", "", b"", b""), 0)).new

    run(test())


def test_a_server_that_wants_another_password_is_refused_in_one_sentence(tmp_path: Path) -> None:
    async def test(server: RedisServer) -> None:
        for url in (server.url, server.url.replace("//", "//:wrong@")):
            journal = journal_at(server, url)
            with pytest.raises(JournalError, match="must be a Redis that lets the dispatcher in") as caught:
                await journal.open(0)
            assert not isinstance(caught.value, JournalUnavailableError)
            assert "wrong@" not in str(caught.value)
            await journal.close()
        journal = journal_at(server, server.url.replace("//", "//:secret@"))
        await journal.open(0)
        assert "secret" not in journal.name
        await journal.close()

    server = RedisServer(tmp_path, password="secret")
    try:
        run(test(server))
    finally:
        server.kill()


def test_a_server_that_is_not_there_is_unavailable() -> None:
    async def test() -> None:
        journal = RedisJournal(f"redis://127.0.0.1:{free_port()}/0", JournalLimits())
        with pytest.raises(JournalUnavailableError, match="cannot use the journal redis://127"):
            await journal.open(0)
        await journal.close()

    run(test())


def test_another_layout_is_refused(shared_store: Store, redis_server: RedisServer) -> None:
    async def test() -> None:
        redis_server.client.set("{elastic}:layout", "2")
        with pytest.raises(JournalError, match="the layout 1 in Redis, got b'2'"):
            async with shared_store.opened():
                pass

    run(test())


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        pytest.param("http://ada:secret@host", "a redis:// URL or none, got 'http://host'", id="another scheme"),
        pytest.param("redis://host:port/0", "a URL such as redis://host:6379/0", id="a bad port"),
    ],
)
def test_a_setting_that_names_no_journal_is_refused(setting: str, words: str) -> None:
    async def test() -> None:
        with pytest.raises(JournalError, match=words):
            make_journal(setting, JournalLimits())

    run(test())
