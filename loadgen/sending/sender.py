"""Open loop: every request is sent at its time, whatever became of those before."""

import asyncio
import gc
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from loadgen.records import Record
from loadgen.sending.protocols import Body
from loadgen.sending.transport import Clock, Reader, Target, Transport
from loadgen.workload.arrivals import Times

# A burst must not keep the loop from answers: after so many sends it gets a turn.
SENDS_A_TURN = 50

Job = tuple[int, Record]


@dataclass(frozen=True, slots=True)
class SendPlan:
    """What is sent when: bodies in turn at times_s (ascending, from the run's zero, shape (requests,)).

    processes: senders, each with every so-manyth request. read: takes answers in place of the protocol's own way.
    """

    times_s: Times
    bodies: Sequence[Body]
    processes: int = 1
    read: Reader | None = None


async def send_jobs(
    target: Target,
    plan: SendPlan,
    jobs: Sequence[Job],
    zero_s: float,
    stop: asyncio.Event,
    on_done: Callable[[Job], None],
) -> None:
    """Send some of a plan's jobs; zero_s: the run's zero on the monotonic clock, which all processes share."""

    def clock() -> float:
        return time.monotonic() - zero_s

    async with Transport(target, clock, plan.read) as transport:
        with _no_collections():
            await Sender(transport, plan.bodies, clock, on_done).send(jobs, stop)


class Sends(Protocol):
    """What a Sender needs of a transport."""

    async def send(self, body: Body, record: Record) -> None:
        """Send it now; every failure goes into the record."""


class Sender:
    """Keeps the schedule, and knows what is under way."""

    def __init__(self, transport: Sends, bodies: Sequence[Body], clock: Clock, on_done: Callable[[Job], None]) -> None:
        self._transport, self._bodies, self._clock, self._on_done = transport, bodies, clock, on_done
        self._under_way: set[asyncio.Task[None]] = set()
        self._broken: BaseException | None = None
        self._breaks = asyncio.Event()
        self._something_ended = asyncio.Event()

    async def send(self, jobs: Sequence[Job], stop: asyncio.Event) -> None:
        """Send each job, (its number in the plan, its record), when it is due; bodies take turns.

        jobs: ascending by intended_s. Returns when all are answered; when stop is set, cuts off what is under way.
        Raises what the making of a body or on_done raises, and sends no more.
        """
        try:
            await _unless((stop, self._breaks), self._send(jobs))
        finally:
            for task in self._under_way:
                task.cancel()
            await asyncio.gather(*self._under_way, return_exceptions=True)
        if self._broken:
            raise self._broken

    async def _send(self, jobs: Sequence[Job]) -> None:
        for sent, job in enumerate(jobs, start=1):
            if sent % SENDS_A_TURN == 0:
                await asyncio.sleep(0)
            # uvloop's timers have whole milliseconds and may come early: what is left is waited for turn by turn
            while (delay_s := job[1].intended_s - self._clock()) > 0:
                await asyncio.sleep(delay_s)
            task = asyncio.create_task(self._one(job))
            self._under_way.add(task)
            task.add_done_callback(self._ended)
        while self._under_way:
            self._something_ended.clear()
            await self._something_ended.wait()

    async def _one(self, job: Job) -> None:
        number, record = job
        body = self._bodies[number % len(self._bodies)]
        record.image = body.name
        try:
            await self._transport.send(body, record)
        finally:
            self._on_done(job)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self._broken = error
            self._breaks.set()
        self._something_ended.set()


async def _unless(events: Sequence[asyncio.Event], work: Coroutine[Any, Any, None]) -> None:
    """Do the work; the first of the events cancels it. Raises what the work raises."""
    working = asyncio.create_task(work)
    waiting = [working, *(asyncio.create_task(event.wait()) for event in events)]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


@contextmanager
def _no_collections() -> Iterator[None]:
    """No garbage collection while requests are due: one over the records of a long run takes tens of milliseconds.

    What is sent and answered leaves no cycles behind, so memory does not grow for want of it.
    """
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()
