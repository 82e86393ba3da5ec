"""Runs the jobs of a journal: feeds a bounded number of them to the buffer, and stores what becomes of each."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from math import ceil, inf

from dispatcher.journal.base import Backlog, Job, JobResult, JobState, Journal, JournalError, JournalUnavailableError
from dispatcher.packing import TOO_LONG, pack_answer, unpack_request
from dispatcher.relay import BackendAnswer, ClientRequest
from dispatcher.terms import Priority, Terms
from dispatcher.verdicts import Answered, GivenUp, RunAgain, judge

log = logging.getLogger(__name__)

Handle = Callable[[ClientRequest, Terms], Awaitable[BackendAnswer]]

# A journal that has not failed for this time is available again.
SETTLED_S = 10.0
# Jobs in memory at once: enough to keep many pods busy, and the next ones are read in the meantime.
WINDOW = 128
WINDOW_BYTES = 64 << 20
# What a request is taken to have before any was seen.
FIRST_MEAN_BYTES = float(1 << 20)
# Other dispatchers accept work too, and delayed jobs become due.
POLL_S = 0.5
UPKEEP_S = 1.0
LONGEST_PAUSE_S = 5.0


class JobRunner:
    """Connects a journal to the relay.

    handle: sends a request through the buffer. most_attempts: failed attempts after which a job has failed.
    now: Unix time. ended: is told
    the final state of each job that ends here.
    """

    def __init__(
        self,
        journal: Journal,
        handle: Handle,
        most_attempts: int,
        now: Callable[[], float] = time.time,
        ended: Callable[[str], None] = lambda state: None,
    ) -> None:
        self._journal, self._handle, self._most_attempts, self._now = journal, handle, most_attempts, now
        self._count_ended = ended
        self._running: dict[str, asyncio.Task[None]] = {}
        self._held_bytes, self._mean_bytes = 0, FIRST_MEAN_BYTES
        self._wake = asyncio.Event()
        self._loops: list[asyncio.Task[None]] = []
        self._backlog = Backlog(0, 0, 0, 0)
        self._available, self._failed_s = True, -inf
        self._opened = False
        self.problem = ""

    async def open(self) -> None:
        """Open the journal, now or when it is available. Raise JournalError if it cannot be used as configured."""
        try:
            await self._journal.open(self._now())
            self._opened = True
        except JournalUnavailableError as error:
            self._note(error)

    def start(self) -> None:
        """Begin to run jobs."""
        self._loops = [asyncio.create_task(self._feed()), asyncio.create_task(self._keep_up())]

    async def stop(self, grace_s: float) -> None:
        """Claim no more jobs, and let the running ones finish for a while; the rest runs again after a restart."""
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        running = list(self._running.values())
        if running:
            await asyncio.wait(running, timeout=grace_s)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    @property
    def opened(self) -> bool:
        """Tell whether the journal was opened; `problem` says why not."""
        return self._opened

    @property
    def pending(self) -> int:
        """Number of jobs that could run now and are not in the buffer: this dispatcher's share of them."""
        return ceil(self._backlog.ready / self._backlog.dispatchers)

    @property
    def backlog(self) -> Backlog:
        """What the journal held a moment ago."""
        return self._backlog

    def wake(self) -> None:
        """Look for jobs at once, because one was accepted."""
        self._wake.set()

    def cancel(self, job_id: str) -> None:
        """Take a cancelled job out of the buffer, if it is there."""
        if task := self._running.get(job_id):
            task.cancel()

    async def _feed(self) -> None:
        """Claim jobs while there is room for them."""
        while not self._opened:
            await self._try(self._open_again())
            await self._pause(POLL_S)
        while True:
            self._wake.clear()
            room = self._room()
            claimed = await self._try(self._claim(room)) if room else 0
            if not claimed or claimed < room:
                await self._pause(POLL_S)

    def _room(self) -> int:
        """Return how many jobs of the usual size can be added."""
        left_bytes = max(0, WINDOW_BYTES - self._held_bytes)
        return min(WINDOW - len(self._running), ceil(left_bytes / max(1.0, self._mean_bytes)))

    async def _open_again(self) -> int:
        await self._journal.open(self._now())
        self._opened = True
        return 0

    async def _claim(self, room: int) -> int:
        jobs = await self._journal.claim(room, self._now())
        for job in jobs:
            self._held_bytes += len(job.body)
            self._mean_bytes += (len(job.body) - self._mean_bytes) / 8
            task = asyncio.create_task(self._run(job))
            self._running[job.id] = task
            task.add_done_callback(lambda done, job=job: self._ended(job, done))  # type: ignore[misc]
        return len(jobs)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass

    def _ended(self, job: Job, task: asyncio.Task[None]) -> None:
        del self._running[job.id]
        self._held_bytes -= len(job.body)
        self._wake.set()
        if not task.cancelled() and (error := task.exception()):
            log.error("internal error in job %s", job.id, exc_info=error)
            cause = f"internal error of the dispatcher: {type(error).__name__}"
            self._loops.append(asyncio.create_task(self._end(job, JobState.FAILED, JobResult(502, cause=cause))))

    async def _run(self, job: Job) -> None:
        """Run a job once, and store what follows."""
        request = unpack_request(job)
        terms = Terms(priority=Priority.LOW, kept=True, size_bytes=len(job.body))
        answer = await self._handle(request, terms)
        verdict = judge(
            answer.reason, answer.attempts > 0, answer.cause, job.attempts, self._most_attempts, answer.retry_after_s
        )
        match verdict:
            case Answered() if answer.rest is not None:
                answer.rest.close()
                await self._end(job, JobState.FAILED, JobResult(502, cause=TOO_LONG))
            case Answered():
                await self._end(job, JobState.DONE, pack_answer(answer, request))
            case GivenUp(cause):
                await self._end(job, JobState.FAILED, JobResult(502, cause=cause))
            case RunAgain(attempts, delay_s):
                now_s = self._now()
                await self._insist(lambda: self._journal.put_back(job.id, attempts, now_s + delay_s, now_s))

    async def _end(self, job: Job, state: JobState, result: JobResult) -> None:
        async def store() -> None:
            if await self._journal.finish(job.id, state, result, self._now()):
                self._count_ended(state.value)

        await self._insist(store)

    async def _insist(self, store: Callable[[], Awaitable[object]]) -> None:
        """Store an outcome, however long the journal is unavailable."""
        pause_s = 0.1
        while True:
            try:
                await store()
                return
            except JournalError as error:
                self._note(error)
                await asyncio.sleep(pause_s)
                pause_s = min(LONGEST_PAUSE_S, 2 * pause_s)

    async def _keep_up(self) -> None:
        """Renew the claims, delete what has expired, and count what waits."""
        while True:
            if self._opened:
                await self._try(self._keep_up_once())
            await asyncio.sleep(UPKEEP_S)

    async def _keep_up_once(self) -> int:
        now_s = self._now()
        await self._journal.renew(now_s)
        self._backlog = await self._journal.backlog(now_s)
        return await self._journal.purge(now_s)

    async def _try(self, call: Awaitable[int]) -> int:
        """Return the result of a call; 0 if the journal is unavailable, which is logged when it begins and ends.

        On a full disk reads succeed between writes that fail: it has ended if nothing has failed for SETTLED_S.
        """
        try:
            result = await call
        except JournalError as error:
            self._note(error)
            return 0
        if not self._available and self._now() - self._failed_s >= SETTLED_S:
            self._available, self.problem = True, ""
            log.warning("the journal is available again")
        return result

    def _note(self, error: JournalError) -> None:
        if self._available:
            level = logging.WARNING if isinstance(error, JournalUnavailableError) else logging.ERROR
            log.log(level, "asynchronous work waits for the journal: %s", error)
        self._available, self.problem, self._failed_s = False, str(error), self._now()
