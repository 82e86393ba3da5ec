"""A journal in Redis, shared by several dispatchers through a consumer group of a stream."""

import hashlib
import logging
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from redis import asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    NoPermissionError,
    RedisError,
    ResponseError,
)

from dispatcher.journal import redis_scripts as scripts
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
from dispatcher.journal.batcher import Batcher

log = logging.getLogger(__name__)

OLDEST_REDIS = (6, 2)
LAYOUT = b"1"
PURGED_AT_ONCE = 1000
BATCH = 64
DEAD_LETTER_DAYS = 7
# Scripts of Redis 7 may be allowed to free memory, and to store the small results that do, where none is left.
ALLOW_OOM = "#!lua flags=allow-oom\n"
REFUSALS = (AuthenticationError, AuthorizationError, NoPermissionError)


class RedisJournal:
    """Keeps jobs in Redis; the journal's Protocol says what each method promises.

    lease_s: a claim that was not renewed for this long is taken over by another dispatcher. It bounds both how long the
    work of a killed dispatcher waits, and how long a live one may stall before its work runs twice.
    """

    def __init__(self, url: str, limits: JournalLimits, lease_s: float = 10.0, prefix: str = "{elastic}") -> None:
        self._limits, self._lease_s, self._prefix = limits, lease_s, prefix
        self.name = _shown(url)
        self._consumer = secrets.token_hex(8)
        pool = redis.BlockingConnectionPool.from_url(
            url,
            protocol=2,  # a server that is too old knows no other, and can then say its version
            max_connections=16,
            timeout=5,
            socket_timeout=5,
            socket_connect_timeout=2,
            retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), 2),
        )
        self._redis = redis.Redis.from_pool(pool)
        self._appends: Batcher[tuple[str | bytes | float, ...], list[bytes]] = Batcher(self._append_all, BATCH)
        self._flags = ""
        self._scripts: dict[str, Any] = {}
        self._entries: dict[str, str] = {}  # stream entry of each job that this process has claimed
        self._cursor, self._takeover_s = "0-0", 0.0

    async def open(self, now_s: float) -> None:
        """Check the server and create the consumer group."""
        with self._translated():
            info = await self._redis.info()
            version = str(info["redis_version"])
            numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
            if numbers < OLDEST_REDIS:
                raise JournalError(f"--journal needs Redis 6.2 or newer, got {version} at {self.name}")
            self._flags = ALLOW_OOM if numbers >= (7, 0) else ""
            self._warn(info)
            await self._redis.set(f"{self._prefix}:layout", LAYOUT, nx=True)
            layout = await self._redis.get(f"{self._prefix}:layout")
            if layout != LAYOUT:
                raise JournalError(
                    f"--journal must have the layout {LAYOUT.decode()} in Redis, got {layout!r} at {self.name}"
                )
            await self._create_group()
        await self.renew(now_s)

    async def close(self) -> None:
        """Give back the claims of this process at once, so that no dispatcher has to wait for their lease."""
        try:
            await self._run(scripts.RESIGN, self._consumer)
        except JournalError as error:
            log.warning("claims are taken over after %g s: %s", self._lease_s, error)
        await self._redis.aclose()
        await self._redis.connection_pool.disconnect()

    async def append(self, job: NewJob, now_s: float) -> Receipt:
        """Store request, stream entry and idempotency key; safe to retry, because the id is the caller's."""
        key = _key_hash(job.owner, job.key)
        most_bytes = self._limits.most_bytes
        row = (job.id, job.owner, key, job.digest, job.head, job.body, now_s, most_bytes)
        word, text = await self._appends.call(row)
        if word == b"conflict":
            raise KeyConflictError(f"Idempotency-Key must not come again with another request, got {job.key!r}")
        if word == b"full":
            raise JournalFullError(f"the journal is full: --journal-bytes is {most_bytes}, held: {text.decode()}")
        return Receipt(text.decode(), new=word == b"new")

    async def _append_all(self, rows: Sequence[tuple[str | bytes | float, ...]]) -> list[list[bytes] | Exception]:
        """Run the script for each row over one connection; the server must not have it yet."""
        with self._translated():
            sha = await self._redis.script_load(scripts.APPEND)
            pipe = self._redis.pipeline(transaction=False)
            for row in rows:
                pipe.evalsha(sha, 1, self._prefix, *row)
            outcomes: list[Any] = await pipe.execute(raise_on_error=False)
        return [self._unavailable(one) if isinstance(one, RedisError) else one for one in outcomes]

    async def claim(self, limit: int, now_s: float) -> list[Job]:
        """Read new entries of the stream; a few times per lease, take over those of dispatchers that have died."""
        takes_over = abs(now_s - self._takeover_s) >= self._lease_s / 5
        cursor = self._cursor if takes_over else ""
        lease_ms = int(1000 * self._lease_s)
        cursor_next, *rows = await self._run(scripts.CLAIM, self._consumer, limit, now_s, lease_ms, cursor)
        if takes_over:
            self._cursor, self._takeover_s = cursor_next.decode(), now_s
        # an entry that this process still works on has come back to it after a stall
        fresh = [row for row in rows if row[1].decode() not in self._entries]
        self._entries |= {row[1].decode(): row[0].decode() for row in rows}
        return [Job(job_id.decode(), head, body, int(attempts)) for _, job_id, attempts, head, body in fresh]

    async def renew(self, now_s: float) -> None:
        """Reset the idle time of the claims."""
        await self._run(scripts.RENEW, self._consumer, now_s, *self._entries.values())

    async def put_back(self, job_id: str, attempts: int, due_s: float, now_s: float) -> None:
        """Move the job back to the stream, or to the set of delayed ones."""
        await self._run(scripts.PUT_BACK, self._consumer, job_id, attempts, due_s, now_s)
        self._entries.pop(job_id, None)

    async def finish(self, job_id: str, state: JobState, result: JobResult, now_s: float) -> bool:
        """Store the result, acknowledge and delete the entry."""
        row = (job_id, state.value, result.status, result.head, result.body, result.cause)
        ended = await self._run(scripts.FINISH, *row, now_s, self._limits.result_ttl_s, int(self._limits.pushes))
        self._entries.pop(job_id, None)
        return bool(ended)

    async def cancel(self, job_id: str, owner: str, now_s: float) -> JobState | None:
        """Acknowledge and delete the entry, and delete the request."""
        state = await self._run(scripts.CANCEL, job_id, owner, now_s, self._limits.result_ttl_s)
        if not state:
            return None
        self._entries.pop(job_id, None)  # the runner gives up a cancelled job without another call
        return JobState(state.decode())

    async def find(self, job_id: str, owner: str, now_s: float) -> JobStatus | None:
        """Read state and result."""
        names = ("owner", "state", "attempts", "finished_s", "status", "result_head", "result_body", "cause")
        with self._translated():
            values: list[Any] = list(await self._redis.hmget(self._job(job_id), names))
        found, state, attempts, finished_s, status, *texts = values
        if found != owner.encode() or (finished_s and float(finished_s) <= now_s - self._limits.result_ttl_s):
            return None
        result = JobResult(int(status), texts[0], texts[1], texts[2].decode()) if status else None
        return JobStatus(JobState(state.decode()), int(attempts), result)

    async def backlog(self, now_s: float) -> Backlog:
        """Count the entries of the stream; those that no consumer has read are ready."""
        stream = f"{self._prefix}:jobs"
        with self._translated():
            pipe = self._redis.pipeline(transaction=True)
            pipe.xlen(stream)
            pipe.xpending(stream, scripts.GROUP)
            pipe.zcount(f"{self._prefix}:alive", now_s - self._lease_s, "+inf")
            pipe.zcount(f"{self._prefix}:due", "-inf", now_s)
            pipe.zcard(f"{self._prefix}:due")
            pipe.get(f"{self._prefix}:bytes")
            entries, pending, live, due, delayed, size_bytes = await pipe.execute()
        running = int(pending["pending"])
        return Backlog(max(0, entries - running) + due, delayed - due, running, int(size_bytes or 0), max(1, live))

    async def purge(self, now_s: float) -> int:
        """Delete old results, old dead letters, and consumers that have gone."""
        oldest_ms = max(0, int(1000 * (now_s - DEAD_LETTER_DAYS * 86400)))
        return int(await self._run(scripts.PURGE, now_s, PURGED_AT_ONCE, oldest_ms, now_s - 10 * self._lease_s))

    async def claim_pushes(self, limit: int, now_s: float, lease_s: float) -> list[Push]:
        """Lease the results that are due to be pushed."""
        rows: list[list[Any]] = await self._run(scripts.CLAIM_PUSHES, limit, now_s, lease_s)
        return [
            Push(
                job_id.decode(),
                JobState(state.decode()),
                JobResult(int(status), head, body, cause.decode()),
                int(pushes),
                float(finished_s),
            )
            for job_id, state, status, head, body, cause, pushes, finished_s in rows
        ]

    async def push_done(self, job_id: str, now_s: float) -> None:
        """Begin the time to live."""
        await self._run(scripts.PUSH_DONE, job_id, now_s, self._limits.result_ttl_s)

    async def push_later(self, job_id: str, due_s: float) -> None:
        """Set when the next push is due."""
        with self._translated():
            await self._redis.zadd(f"{self._prefix}:push", {job_id: due_s}, xx=True)

    def _job(self, job_id: str) -> str:
        return f"{self._prefix}:job:{job_id}"

    async def _create_group(self) -> None:
        try:
            await self._redis.xgroup_create(f"{self._prefix}:jobs", scripts.GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    async def _run(self, text: str, *arguments: str | bytes | float) -> Any:
        """Run a script; create the consumer group again if the data of the server were deleted."""
        text = self._flags + text
        script = self._scripts.get(text) or self._scripts.setdefault(text, self._redis.register_script(text))
        with self._translated():
            try:
                return await script(keys=[self._prefix], args=arguments)
            except ResponseError as error:
                if "NOGROUP" not in str(error) and "no such key" not in str(error):
                    raise
                await self._create_group()
                return await script(keys=[self._prefix], args=arguments)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn the library's errors into one sentence each."""
        try:
            yield
        except REFUSALS as error:
            raise JournalError(
                f"--journal must be a Redis that lets the dispatcher in, {self.name}: {error}"
            ) from error
        # RuntimeError is uvloop's for a connection that was closed while the library wrote to it
        except (RedisError, OSError, TimeoutError, RuntimeError) as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: Exception) -> JournalUnavailableError:
        return JournalUnavailableError(f"cannot use the journal {self.name}: {str(error) or type(error).__name__}")

    def _warn(self, info: dict[str, Any]) -> None:
        """Warn of settings with which Redis loses what was accepted."""
        if not info.get("aof_enabled"):
            log.warning("%s has appendonly off: accepted jobs are lost when it restarts", self.name)
        policy = info.get("maxmemory_policy", "noeviction")
        if info.get("maxmemory") and policy != "noeviction":
            log.warning("%s has maxmemory-policy %s: it may delete accepted jobs", self.name, policy)


def _key_hash(owner: str, key: str) -> str:
    """Return a name for an owner's key that no other owner and key have; empty without a key."""
    return hashlib.sha256(f"{len(owner)}:{owner}{key}".encode()).hexdigest() if key else ""


def _shown(url: str) -> str:
    """Return the URL without user and password."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()
