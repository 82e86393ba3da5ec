"""Open loop: every request is sent at its time, whatever became of those before."""

import asyncio
import gc
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from loadgen.arrivals import Times
from loadgen.protocols import Body
from loadgen.results import Record
from loadgen.transport import Clock, Reader, Target, Transport

# A burst must not keep the loop from answers: after so many sends it gets a turn.
SENDS_A_TURN = 50

Job = tuple[int, Record]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is sent when: bodies in turn at times_s (ascending, from the run's zero, shape (requests,)).

    processes: senders, each with every so-manyth request. read: takes answers in place of the protocol's own way.
    """

    times_s: Times
    bodies: Sequence[Body]
    processes: int = 1
    read: Reader | None = None


async def send_jobs(
    target: Target, plan: Plan, jobs: Sequence[Job], zero_s: float, stop: asyncio.Event, on_done: Callable[[Job], None]
) -> None:
    """Send some of a plan's jobs; zero_s: the run's zero on the monotonic clock, which all processes share."""

    def clock() -> float:
        return time.monotonic() - zero_s

    async with Transport(target, clock, plan.read) as transport:
        await send_all(transport, jobs, plan.bodies, clock, stop, on_done)


async def send_all(
    transport: Transport,
    jobs: Sequence[Job],
    bodies: Sequence[Body],
    clock: Clock,
    stop: asyncio.Event,
    on_done: Callable[[Job], None],
) -> None:
    """Send each job, (its number in the plan, its record), with its body when it is due; bodies take turns.

    jobs: ascending by intended_s. Returns when all are answered; when stop is set, cuts off what is under way.
    """
    under_way: set[asyncio.Task[None]] = set()

    async def one(job: Job) -> None:
        number, record = job
        try:
            await transport.send(bodies[number % len(bodies)], record)
        finally:
            on_done(job)

    async def all_of_them() -> None:
        for sent, job in enumerate(jobs, start=1):
            delay_s = job[1].intended_s - clock()
            if delay_s > 0 or sent % SENDS_A_TURN == 0:
                await asyncio.sleep(max(0.0, delay_s))
            task = asyncio.create_task(one(job))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        while under_way:
            await asyncio.wait(under_way)

    with _no_collections():
        try:
            await _unless(stop, all_of_them())
        finally:
            for task in tuple(under_way):
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Do the work; a stop cancels it. Raises what the work raises."""
    working, stopped = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({working, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
    finally:
        for task in (working, stopped):
            task.cancel()
        await asyncio.gather(working, stopped, return_exceptions=True)


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
