"""A journal in one SQLite file, for one dispatcher."""

import os
import sqlite3
from pathlib import Path

from dispatcher.journal.base import (
    Backlog,
    Job,
    JobResult,
    JobState,
    JobStatus,
    JournalError,
    JournalFullError,
    JournalLimits,
    JournalUnavailableError,
    KeyConflictError,
    NewJob,
    Push,
    Receipt,
)
from dispatcher.journal.schema import upgrade
from dispatcher.journal.sqlite_worker import SqliteWorker

PAGE_BYTES = 8192
# Space of deleted rows is given back to the file system in steps, which keeps each transaction short.
VACUUM_PAGES = 2048
PURGED_AT_ONCE = 1000

# FULL: a commit returns after fsync. EXCLUSIVE: the lock lasts as long as the process, so that no second dispatcher can
# open the file; the kernel releases it after kill -9.
PRAGMAS = (
    f"PRAGMA page_size = {PAGE_BYTES}",
    "PRAGMA auto_vacuum = INCREMENTAL",
    "PRAGMA locking_mode = EXCLUSIVE",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA secure_delete = FAST",
    # 8 MB, so that the log fits on a small disk
    "PRAGMA wal_autocheckpoint = 1000",
    f"PRAGMA journal_size_limit = {16 << 20}",
)


class SqliteJournal:
    """Keeps jobs in a file; the journal's Protocol says what each method promises."""

    def __init__(self, path: Path, limits: JournalLimits) -> None:
        self._path, self._limits = path, limits
        self.name = str(path)
        self._worker: SqliteWorker | None = None

    async def open(self, now_s: float) -> None:
        """Open the file; jobs that ran when the last process ended are accepted again."""
        self._worker = SqliteWorker(self.name, lambda: _connect(self._path))
        await self._worker.start()
        await self._worker.run(lambda db: _recover(db, now_s))

    async def close(self) -> None:
        """Close the file; what is claimed runs again after the next open()."""
        if self._worker:
            await self._worker.stop()

    async def append(self, job: NewJob, now_s: float) -> Receipt:
        """Store the request and its idempotency key in one transaction."""
        return await self._work.run(lambda db: self._append(db, job, now_s))

    async def claim(self, limit: int, now_s: float) -> list[Job]:
        """Mark the oldest jobs that are due as running."""
        return await self._work.run(lambda db: _claim(db, limit, now_s))

    async def renew(self, now_s: float) -> None:
        """Do nothing: the file belongs to this process alone."""

    async def put_back(self, job_id: str, attempts: int, due_s: float, now_s: float) -> None:
        """Accept a running job again."""
        sql = "UPDATE jobs SET state = 'accepted', attempts = ?, due_s = ? WHERE id = ? AND state = 'running'"
        await self._work.run(lambda db: _write(db, sql, (attempts, due_s, job_id)))

    async def finish(self, job_id: str, state: JobState, result: JobResult, now_s: float) -> bool:
        """Replace the request by its result."""
        return await self._work.run(lambda db: self._end(db, job_id, state, result, now_s))

    async def cancel(self, job_id: str, owner: str, now_s: float) -> JobState | None:
        """Delete the request."""
        return await self._work.run(lambda db: self._cancel(db, job_id, owner, now_s))

    async def find(self, job_id: str, owner: str, now_s: float) -> JobStatus | None:
        """Read state and result."""
        return await self._work.run(lambda db: self._find(db, job_id, owner, now_s))

    async def backlog(self, now_s: float) -> Backlog:
        """Count by state."""
        return await self._work.run(lambda db: _backlog(db, now_s))

    async def purge(self, now_s: float) -> int:
        """Delete old results, and shorten the file."""
        return await self._work.run(lambda db: self._purge(db, now_s))

    async def claim_pushes(self, limit: int, now_s: float, lease_s: float) -> list[Push]:
        """Lease the results that are due to be pushed."""
        return await self._work.run(lambda db: _claim_pushes(db, limit, now_s, lease_s))

    async def push_done(self, job_id: str, now_s: float) -> None:
        """Begin the time to live."""
        sql = "UPDATE jobs SET push_due_s = NULL, finished_s = ? WHERE id = ? AND push_due_s IS NOT NULL"
        await self._work.run(lambda db: _write(db, sql, (now_s, job_id)))

    async def push_later(self, job_id: str, due_s: float) -> None:
        """Set when the next push is due."""
        sql = "UPDATE jobs SET push_due_s = ? WHERE id = ? AND push_due_s IS NOT NULL"
        await self._work.run(lambda db: _write(db, sql, (due_s, job_id)))

    @property
    def _work(self) -> SqliteWorker:
        if self._worker is None:
            raise JournalUnavailableError(f"the journal {self.name} is not open")
        return self._worker

    def _append(self, db: sqlite3.Connection, job: NewJob, now_s: float) -> Receipt:
        # a key is forgotten with its result, even if that is not deleted yet
        expired = (job.owner, job.key, now_s - self._limits.result_ttl_s)
        db.execute("UPDATE jobs SET key = '' WHERE owner = ? AND key = ? AND key != '' AND finished_s <= ?", expired)
        sql = "SELECT id, digest FROM jobs WHERE owner = ? AND key = ? AND key != ''"
        known = db.execute(sql, (job.owner, job.key)).fetchone()
        if known and known[1] != job.digest:
            raise KeyConflictError(f"Idempotency-Key must not come again with another request, got {job.key!r}")
        if known:
            return Receipt(known[0], new=False)
        (held_bytes,) = db.execute("SELECT size_bytes FROM totals").fetchone()
        if held_bytes + job.size_bytes > self._limits.most_bytes:
            raise JournalFullError(
                f"the journal is full: --journal-bytes is {self._limits.most_bytes}, held: {held_bytes}"
            )
        row = (job.id, job.owner, job.key, job.digest, now_s, job.size_bytes)
        sql = (
            "INSERT INTO jobs (id, owner, key, digest, state, attempts, due_s, size_bytes)"
            " VALUES (?, ?, ?, ?, 'accepted', 0, ?, ?)"
        )
        sequence = db.execute(sql, row).lastrowid
        db.execute("INSERT INTO requests VALUES (?, ?, ?)", (sequence, job.head, job.body))
        db.execute("UPDATE totals SET size_bytes = size_bytes + ?", (job.size_bytes,))
        return Receipt(job.id, new=True)

    def _end(
        self, db: sqlite3.Connection, job_id: str, state: JobState, result: JobResult | None, now_s: float
    ) -> bool:
        sql = "SELECT sequence, size_bytes FROM jobs WHERE id = ? AND state IN ('accepted', 'running')"
        found = db.execute(sql, (job_id,)).fetchone()
        if found is None:
            return False
        sequence, before_bytes = found
        after_bytes = result.size_bytes if result else 0
        db.execute("DELETE FROM requests WHERE sequence = ?", (sequence,))
        if result:
            row = (sequence, result.status, result.head, result.body, result.cause)
            db.execute("INSERT INTO results (sequence, status, head, body, cause) VALUES (?, ?, ?, ?, ?)", row)
        push_due_s = now_s if result and self._limits.pushes else None
        sql = "UPDATE jobs SET state = ?, finished_s = ?, size_bytes = ?, push_due_s = ? WHERE sequence = ?"
        db.execute(sql, (state.value, now_s, after_bytes, push_due_s, sequence))
        db.execute("UPDATE totals SET size_bytes = size_bytes + ?", (after_bytes - before_bytes,))
        return True

    def _cancel(self, db: sqlite3.Connection, job_id: str, owner: str, now_s: float) -> JobState | None:
        found = self._find(db, job_id, owner, now_s)
        if found and not found.state.final:
            self._end(db, job_id, JobState.CANCELLED, None, now_s)
            return JobState.CANCELLED
        return found.state if found else None

    def _find(self, db: sqlite3.Connection, job_id: str, owner: str, now_s: float) -> JobStatus | None:
        sql = (
            "SELECT state, attempts, status, head, body, cause FROM jobs LEFT JOIN results USING (sequence)"
            " WHERE id = ? AND owner = ? AND (finished_s IS NULL OR finished_s > ?)"
        )
        found = db.execute(sql, (job_id, owner, now_s - self._limits.result_ttl_s)).fetchone()
        if found is None:
            return None
        state, attempts, *result = found
        return JobStatus(JobState(state), attempts, None if result[0] is None else JobResult(*result))

    def _purge(self, db: sqlite3.Connection, now_s: float) -> int:
        sql = "SELECT sequence, size_bytes FROM jobs WHERE finished_s <= ? AND push_due_s IS NULL LIMIT ?"
        found = db.execute(sql, (now_s - self._limits.result_ttl_s, PURGED_AT_ONCE)).fetchall()
        sequences = [(sequence,) for sequence, _ in found]
        db.executemany("DELETE FROM results WHERE sequence = ?", sequences)
        db.executemany("DELETE FROM jobs WHERE sequence = ?", sequences)
        db.execute("UPDATE totals SET size_bytes = size_bytes - ?", (sum(size for _, size in found),))
        _shrink(db)
        return len(found)


def _connect(path: Path) -> sqlite3.Connection:
    """Open and lock the file, which only its user may read."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise JournalError(f"--journal must be a file that can be written: {error}") from error
    connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        for pragma in PRAGMAS:
            connection.execute(pragma).fetchall()
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("COMMIT")
        upgrade(connection, str(path))
    except (JournalError, sqlite3.Error) as error:
        connection.close()
        raise _opening_error(path, error) from error
    return connection


def _opening_error(path: Path, error: Exception) -> JournalError:
    if isinstance(error, JournalError):
        return error
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return JournalError(f"--journal must be a file of one dispatcher, got {path}, which another process uses")
    return JournalError(f"--journal must be a journal that can be opened, got {path}: {error}")


def _recover(db: sqlite3.Connection, now_s: float) -> None:
    db.execute("UPDATE jobs SET state = 'accepted', due_s = ? WHERE state = 'running'", (now_s,))


def _write(db: sqlite3.Connection, sql: str, row: tuple[object, ...]) -> None:
    db.execute(sql, row)


def _shrink(db: sqlite3.Connection, at_once_pages: int = VACUUM_PAGES) -> None:
    """Give back free pages if there are many; a few are kept for the next requests."""
    (free_pages,), (pages,) = (db.execute(f"PRAGMA {name}").fetchone() for name in ("freelist_count", "page_count"))
    if free_pages > max(at_once_pages, pages // 4):
        # each call frees one page, whatever its argument: a statement without columns is stepped once
        for _ in range(at_once_pages):
            db.execute("PRAGMA incremental_vacuum(1)")


def _claim(db: sqlite3.Connection, limit: int, now_s: float) -> list[Job]:
    sql = (
        "SELECT sequence, id, head, body, attempts FROM jobs JOIN requests USING (sequence)"
        " WHERE state = 'accepted' AND due_s <= ? ORDER BY due_s, sequence LIMIT ?"
    )
    rows = db.execute(sql, (now_s, limit)).fetchall()
    db.executemany("UPDATE jobs SET state = 'running' WHERE sequence = ?", [row[:1] for row in rows])
    return [Job(*row[1:]) for row in rows]


def _backlog(db: sqlite3.Connection, now_s: float) -> Backlog:
    sql = (
        "SELECT (SELECT count(*) FROM jobs WHERE state = 'accepted' AND due_s <= ?),"
        " (SELECT count(*) FROM jobs WHERE state = 'accepted' AND due_s > ?),"
        " (SELECT count(*) FROM requests), size_bytes FROM totals"
    )
    ready, delayed, requests, size_bytes = db.execute(sql, (now_s, now_s)).fetchone()
    return Backlog(ready, delayed, requests - ready - delayed, size_bytes)


def _claim_pushes(db: sqlite3.Connection, limit: int, now_s: float, lease_s: float) -> list[Push]:
    sql = (
        "SELECT sequence, id, state, push_attempts, finished_s, status, head, body, cause"
        " FROM jobs JOIN results USING (sequence) WHERE push_due_s <= ? ORDER BY push_due_s LIMIT ?"
    )
    rows = db.execute(sql, (now_s, limit)).fetchall()
    later = [(now_s + lease_s, row[0]) for row in rows]
    db.executemany("UPDATE jobs SET push_due_s = ?, push_attempts = push_attempts + 1 WHERE sequence = ?", later)
    return [Push(row[1], JobState(row[2]), JobResult(*row[5:]), row[3] + 1, row[4]) for row in rows]
