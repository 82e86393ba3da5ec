"""Sends in an open loop: every request is sent at its time, regardless of earlier responses."""

import asyncio
import gc
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from loadgen.records import Record, printable
from loadgen.sending.answers import Clock, Reader
from loadgen.sending.protocols import Body
from loadgen.sending.transport import Target, Transport
from loadgen.workload.arrivals import Times

# A burst must not keep the event loop from handling responses: after this many sends the loop gets a turn.
SENDS_PER_TURN = 50

Job = tuple[int, Record]


@dataclass(frozen=True, slots=True)
class SendPlan:
    """What is sent and when.

    times_s: when each request is due, ascending, in seconds since the start of the schedule, shape (requests,).
    bodies: sent in turn. processes: number of sender processes, between which the requests alternate.
    read: handles responses instead of the protocol.
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
) -> list[Job]:
    """Send some jobs of a plan; return those whose responses were read after the last one had arrived.

    zero_s: start of the schedule on the monotonic clock, which all processes share.
    """

    def clock() -> float:
        return time.monotonic() - zero_s

    async with Transport(target, clock, plan.read) as transport:
        with _garbage_collection_disabled():
            await Sender(transport, plan.bodies, clock, on_done).send(jobs, stop)
        late = {id(record) for record in await transport.read_kept(stop)}
    return [job for job in jobs if id(job[1]) in late] if late else []


class Sends(Protocol):
    """The part of a transport that a Sender uses."""

    async def send(self, body: Body, record: Record) -> None:
        """Send the body now; record every failure."""


class Sender:
    """Sends requests at their times and keeps track of those in flight."""

    def __init__(self, transport: Sends, bodies: Sequence[Body], clock: Clock, on_done: Callable[[Job], None]) -> None:
        self._transport, self._bodies, self._clock, self._on_done = transport, bodies, clock, on_done
        self._in_flight: set[asyncio.Task[None]] = set()
        self._error: BaseException | None = None
        self._failed = asyncio.Event()
        self._something_ended = asyncio.Event()

    async def send(self, jobs: Sequence[Job], stop: asyncio.Event) -> None:
        """Send each job (number in the plan, record) when it is due, until all are finished or stop is set.

        jobs: ascending by intended_s. Setting stop aborts the requests in flight. An exception from a body or from
        on_done ends the run and is raised.
        """
        try:
            await _unless((stop, self._failed), self._send(jobs))
        finally:
            for task in self._in_flight:
                task.cancel()
            await asyncio.gather(*self._in_flight, return_exceptions=True)
        if self._error:
            raise self._error

    async def _send(self, jobs: Sequence[Job]) -> None:
        for sent, job in enumerate(jobs, start=1):
            if sent % SENDS_PER_TURN == 0:
                await asyncio.sleep(0)
            # uvloop's timers have a resolution of 1 ms and may fire early, so wait again for the rest
            while (delay_s := job[1].intended_s - self._clock()) > 0:
                await asyncio.sleep(delay_s)
            task = asyncio.create_task(self._one(job))
            self._in_flight.add(task)
            task.add_done_callback(self._ended)
        while self._in_flight:
            self._something_ended.clear()
            await self._something_ended.wait()

    async def _one(self, job: Job) -> None:
        number, record = job
        body = self._bodies[number % len(self._bodies)]
        record.image = printable(body.name)
        try:
            await self._transport.send(body, record)
        finally:
            self._on_done(job)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._in_flight.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self._error = error
            self._failed.set()
        self._something_ended.set()


async def _unless(events: Sequence[asyncio.Event], work: Coroutine[Any, Any, None]) -> None:
    """Await the work, or cancel it at the first of the events; raise what the work raises."""
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
def _garbage_collection_disabled() -> Iterator[None]:
    """Disable garbage collection while requests are due; a collection in a long run takes tens of milliseconds.

    Requests and responses leave no reference cycles, so memory does not grow without it.
    """
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()
