"""The SQLite journal: its file, its lock, a full disk, upgrades, and random histories."""

import asyncio
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from dispatcher.journal.base import (
    Job,
    JobResult,
    JobState,
    JournalError,
    JournalLimits,
    JournalUnavailableError,
    NewJob,
    Receipt,
)
from dispatcher.journal.schema import APPLICATION_ID, VERSION_1, VERSIONS
from dispatcher.journal.sqlite_journal import SqliteJournal, _connect, _shrink
from dispatcher.journal.sqlite_worker import SqliteWorker
from tests.dispatcher.journal.conftest import run
from tests.effort import effort
from tests.paths import ROOT

LIMITS = JournalLimits()
IMAGE = bytes(100_000)
Value = TypeVar("Value")


def journal_in(folder: Path, limits: JournalLimits = LIMITS) -> SqliteJournal:
    return SqliteJournal(folder / "journal.sqlite3", limits)


def test_only_its_user_can_read_the_file(tmp_path: Path) -> None:
    async def test() -> None:
        journal = journal_in(tmp_path)
        await journal.open(0)
        await journal.append(NewJob("a", "", b"", b"image"), 0)
        assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {0o600}
        await journal.close()

    run(test())


def test_a_second_process_cannot_open_the_file(tmp_path: Path) -> None:
    async def test() -> None:
        first, second = journal_in(tmp_path), journal_in(tmp_path)
        await first.open(0)
        with pytest.raises(JournalError, match=r"one dispatcher, got .*journal.sqlite3, which another process uses"):
            await second.open(0)
        await first.append(NewJob("a", "", b"", b""), 0)
        await first.close()
        await second.open(0)
        assert len(await second.claim(1, 0)) == 1
        await second.close()

    run(test())


def other_database(file: Path) -> None:
    with sqlite3.connect(file) as db:
        db.execute("CREATE TABLE notes (text)")


def newer(file: Path) -> None:
    with sqlite3.connect(file) as db:
        db.executescript(f"{VERSION_1} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 99;")


@pytest.mark.parametrize(
    ("write", "words"),
    [
        pytest.param(lambda file: file.write_bytes(b"no database" * 999), "not a database", id="another file"),
        pytest.param(other_database, "the database of another program", id="another program's database"),
        pytest.param(newer, "at most 2, got 99", id="a newer journal"),
        pytest.param(lambda file: file.mkdir(), "a file that can be written", id="a folder"),
    ],
)
def test_what_is_no_journal_of_ours_is_refused_and_left_alone(
    tmp_path: Path, write: Callable[[Path], None], words: str
) -> None:
    async def test() -> None:
        file = tmp_path / "journal.sqlite3"
        write(file)
        before = file.read_bytes() if file.is_file() else b""
        with pytest.raises(JournalError, match=words):
            await journal_in(tmp_path).open(0)
        assert before[100:] == (file.read_bytes()[100:] if file.is_file() else b"")  # WAL mode is noted in the header

    run(test())


def test_an_upgrade_keeps_the_work_that_is_pending_and_the_results(tmp_path: Path) -> None:
    async def test() -> None:
        db = sqlite3.connect(tmp_path / "journal.sqlite3")
        db.executescript(
            f"{VERSION_1} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1;"
            "INSERT INTO jobs VALUES (1, 'waits', 'ada', 'k', CAST('digest' AS BLOB), 'accepted', 1, 5, NULL, 9);"
            "INSERT INTO requests VALUES (1, CAST('head' AS BLOB), CAST('image' AS BLOB));"
            "INSERT INTO jobs VALUES (2, 'ran', 'ada', '', '', 'running', 0, 4, NULL, 9);"
            "INSERT INTO requests VALUES (2, CAST('head' AS BLOB), CAST('photo' AS BLOB));"
            "INSERT INTO jobs VALUES (3, 'ended', 'ada', '', '', 'done', 0, 3, 8, 6);"
            "INSERT INTO results VALUES (3, 200, CAST('top' AS BLOB), CAST('cat' AS BLOB)); UPDATE totals SET size_bytes = 24;"
        )
        db.close()
        journal = journal_in(tmp_path)
        await journal.open(6)
        assert (await journal.backlog(6)).size_bytes == 24
        jobs = await journal.claim(9, 6)
        assert jobs == [Job("waits", b"head", b"image", 1), Job("ran", b"head", b"photo", 0)]
        found = await journal.find("ended", "ada", 9)
        assert found
        assert found.result == JobResult(200, b"top", b"cat")
        receipt = await journal.append(NewJob("b", "ada", b"", b"", "k", b"digest"), 6)
        assert receipt == Receipt("waits", new=False)
        assert await journal.finish("ran", JobState.FAILED, JobResult(cause="new column"), 9)
        await journal.close()

    run(test())


def test_a_new_file_has_the_newest_version(tmp_path: Path) -> None:
    _connect(tmp_path / "journal.sqlite3").close()
    with sqlite3.connect(tmp_path / "journal.sqlite3") as db:
        assert db.execute("PRAGMA user_version").fetchone() == (len(VERSIONS),)
        assert db.execute("PRAGMA auto_vacuum").fetchone() == (2,)


def test_a_full_disk_refuses_new_work_loses_nothing_and_recovers(tmp_path: Path) -> None:
    async def test() -> None:
        journal = journal_in(tmp_path)
        await journal.open(0)
        await limit_pages(journal, 200)
        accepted, refused = [], 0
        outcomes = await asyncio.gather(
            *(journal.append(NewJob(f"job{n}", "", b"", IMAGE), n) for n in range(30)), return_exceptions=True
        )
        for outcome in outcomes:
            if isinstance(outcome, Receipt):
                accepted.append(outcome.id)
            else:
                assert isinstance(outcome, JournalUnavailableError)
                assert "full" in str(outcome)
                refused += 1
        assert len(accepted) >= 5
        assert refused >= 5
        first, *others = await journal.claim(99, 99)
        assert [first.id, *(job.id for job in others)] == accepted
        assert await journal.finish(first.id, JobState.DONE, JobResult(200, b"", b"cat"), 99)
        await journal.append(NewJob("after", "", b"", IMAGE), 99)
        await limit_pages(journal, 1_000_000)
        await asyncio.gather(*(journal.append(NewJob(f"more{n}", "", b"", IMAGE), 99) for n in range(30)))
        await journal.close()

    run(test())


def test_an_operation_that_fails_leaves_nothing_and_those_beside_it_succeed(tmp_path: Path) -> None:
    def insert(db: sqlite3.Connection, number: int) -> int:
        db.execute("INSERT INTO requests VALUES (?, '', '')", (number,))
        if number % 2:
            raise sqlite3.OperationalError("disk I/O error")
        return number

    async def test() -> None:
        worker = SqliteWorker("name", lambda: _connect(tmp_path / "journal.sqlite3"))
        await worker.start()
        calls = [worker.run(partial(insert, number=number)) for number in range(6)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert outcomes[::2] == [0, 2, 4]
        assert all(isinstance(outcome, JournalUnavailableError) for outcome in outcomes[1::2])
        rows = await worker.run(lambda db: db.execute("SELECT sequence FROM requests").fetchall())
        assert rows == [(0,), (2,), (4,)]
        await worker.stop()

    run(test())


async def limit_pages(journal: SqliteJournal, pages: int) -> None:
    """Let the file grow to this size, as if the disk was full then."""
    assert journal._worker
    await journal._worker.run(lambda db: db.execute(f"PRAGMA max_page_count = {pages}").fetchone() and None)


@pytest.mark.integration
def test_a_file_that_cannot_grow_refuses_new_work_and_keeps_the_rest(tmp_path: Path) -> None:
    """RLIMIT_FSIZE makes writes fail in the kernel, as a full disk does; the limit lasts as long as the process."""
    script = f"""
import asyncio, resource
from pathlib import Path
from dispatcher.journal.base import JournalLimits, JournalUnavailableError, NewJob
from dispatcher.journal.sqlite_journal import SqliteJournal

async def main():
    journal = SqliteJournal(Path({str(tmp_path)!r}) / "journal.sqlite3", JournalLimits())
    await journal.open(0)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, resource.RLIM_INFINITY))
    for n in range(60):
        try:
            await journal.append(NewJob(f"job{{n}}", "", b"", bytes(100_000)), n)
            print(f"job{{n}}")
        except JournalUnavailableError:
            break
    else:
        raise SystemExit("no write failed")
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print((await journal.append(NewJob("later", "", b"", b""), 99)).id)
    await journal.close()

asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert claimed(tmp_path) == done.stdout.split()


def claimed(folder: Path) -> list[str]:
    found: list[str] = []

    async def test() -> None:
        journal = journal_in(folder)
        await journal.open(1e6)
        found.extend(job.id for job in await journal.claim(10_000, 1e6))
        await journal.close()

    run(test())
    return found


@pytest.mark.integration
def test_kill_9_loses_nothing_that_was_accepted(tmp_path: Path) -> None:
    script = f"""
import asyncio
from pathlib import Path
from dispatcher.journal.base import JournalLimits, NewJob
from dispatcher.journal.sqlite_journal import SqliteJournal

async def main():
    journal = SqliteJournal(Path({str(tmp_path)!r}) / "journal.sqlite3", JournalLimits())
    await journal.open(0)
    async def accept(n):
        await journal.append(NewJob(f"job{{n}}", "", b"", bytes(1000)), n)
        print(f"job{{n}}", flush=True)
        await journal.claim(1, n)
    for start in range(0, 1_000_000, 10):
        await asyncio.gather(*(accept(start + n) for n in range(10)))

asyncio.run(main())
"""
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    accepted = [process.stdout.readline().strip() for _ in range(200)]
    process.kill()
    accepted += process.stdout.read().split("\n")[:-1]
    process.communicate()
    found = claimed(tmp_path)
    assert set(accepted) <= set(found)
    assert len(found) == len(set(found))


def test_the_space_of_deleted_work_comes_back(tmp_path: Path) -> None:
    file = tmp_path / "journal.sqlite3"
    db = _connect(file)
    db.execute("BEGIN")
    db.executemany("INSERT INTO requests VALUES (?, '', ?)", ((n, IMAGE) for n in range(20)))
    db.execute("COMMIT")
    db.execute("DELETE FROM requests")
    _shrink(db, at_once_pages=200)
    db.close()
    assert file.stat().st_size < 20 * len(IMAGE) / 2


class History(RuleBasedStateMachine):
    """Random calls; dictionaries hold what they should have done."""

    ids = st.integers(0, 7).map("job{}".format)

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = TemporaryDirectory()
        self.journal = journal_in(Path(self.folder.name), JournalLimits(most_bytes=60, result_ttl_s=50))
        self.call(self.journal.open(0))
        self.now_s, self.made = 0.0, 0
        self.states: dict[str, JobState] = {}
        self.due_s: dict[str, float] = {}
        self.sizes: dict[str, int] = {}
        self.ended_s: dict[str, float] = {}
        self.keys: dict[str, str] = {}

    def call(self, coroutine: Coroutine[Any, Any, Value]) -> Value:
        return self.loop.run_until_complete(coroutine)

    def teardown(self) -> None:
        self.call(self.journal.close())
        self.loop.close()
        self.folder.cleanup()

    @rule(size=st.integers(0, 30), key=st.sampled_from(["", "k", "l"]))
    def append(self, size: int, key: str) -> None:
        self.made += 1
        job_id = f"job{self.made}"
        known = self.keys.get(key) if key else None
        if known and self.ended_s.get(known, self.now_s) > self.now_s - 50:
            expected: Receipt | None = Receipt(known, new=False)
        elif sum(self.sizes.values()) + size > 60:
            expected = None
        else:
            expected = Receipt(job_id, new=True)
            self.states[job_id], self.due_s[job_id] = JobState.ACCEPTED, self.now_s
            self.sizes[job_id], self.keys[key] = size, job_id
        try:
            got = self.call(self.journal.append(NewJob(job_id, "o", b"", bytes(size), key), self.now_s))
        except JournalError:
            got = None
        assert got == expected

    @rule(limit=st.integers(1, 4))
    def claim(self, limit: int) -> None:
        ready = [one for one, state in self.states.items() if state is JobState.ACCEPTED]
        ready = sorted(
            (one for one in ready if self.due_s[one] <= self.now_s), key=lambda one: (self.due_s[one], int(one[3:]))
        )
        assert [job.id for job in self.call(self.journal.claim(limit, self.now_s))] == ready[:limit]
        self.states |= dict.fromkeys(ready[:limit], JobState.RUNNING)

    @rule(job_id=ids, delay_s=st.integers(0, 20))
    def put_back(self, job_id: str, delay_s: int) -> None:
        self.call(self.journal.put_back(job_id, 1, self.now_s + delay_s, self.now_s))
        if self.states.get(job_id) is JobState.RUNNING:
            self.states[job_id], self.due_s[job_id] = JobState.ACCEPTED, self.now_s + delay_s

    @rule(job_id=ids, size=st.integers(0, 9))
    def finish(self, job_id: str, size: int) -> None:
        open_ = job_id in self.states and not self.states[job_id].final
        result = JobResult(200, b"", bytes(size))
        assert self.call(self.journal.finish(job_id, JobState.DONE, result, self.now_s)) is open_
        if open_:
            self.end(job_id, JobState.DONE, size)

    @rule(job_id=ids)
    def cancel(self, job_id: str) -> None:
        if job_id in self.states and not self.states[job_id].final:
            self.end(job_id, JobState.CANCELLED, 0)
        assert self.call(self.journal.cancel(job_id, "o", self.now_s)) == self.seen(job_id)

    @rule(step_s=st.integers(1, 40))
    def wait(self, step_s: int) -> None:
        self.now_s += step_s

    @rule()
    def purge(self) -> None:
        old = [one for one, ended_s in self.ended_s.items() if ended_s <= self.now_s - 50]
        assert self.call(self.journal.purge(self.now_s)) == len(old)
        for one in old:
            del self.states[one], self.sizes[one], self.ended_s[one]
        self.keys = {key: job_id for key, job_id in self.keys.items() if job_id not in old}

    def end(self, job_id: str, state: JobState, size: int) -> None:
        self.states[job_id], self.sizes[job_id], self.ended_s[job_id] = state, size, self.now_s

    def seen(self, job_id: str) -> JobState | None:
        return self.states.get(job_id) if self.ended_s.get(job_id, self.now_s) > self.now_s - 50 else None

    @invariant()
    def the_states_and_the_size_are_the_expected_ones(self) -> None:
        for job_id in self.states:
            found = self.call(self.journal.find(job_id, "o", self.now_s))
            assert (found.state if found else None) == self.seen(job_id)
        backlog = self.call(self.journal.backlog(self.now_s))
        states = list(self.states.values())
        assert backlog.ready + backlog.delayed == states.count(JobState.ACCEPTED)
        assert backlog.running == states.count(JobState.RUNNING)
        assert backlog.size_bytes == sum(self.sizes.values())


History.TestCase.settings = settings(
    max_examples=effort(25, 200),
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],  # each call waits for the disk
)
TestHistories = History.TestCase
