"""Open loop: every request is sent at its time, whatever became of those before."""

import asyncio
import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from loadgen.arrivals import Times
from loadgen.images import Body
from loadgen.results import Record
from loadgen.transport import Clock, Transport

# Time between making the schedule's zero and it: for the first connections and the loop to be ready.
LEAD_S = 0.2


@dataclass(frozen=True, slots=True)
class Replay:
    """What was sent: one record for each planned request; started_unix_s only labels it."""

    records: tuple[Record, ...]
    started_unix_s: float
    interrupted: bool


async def replay(
    transport: Transport,
    times_s: Times,
    bodies: Sequence[Body],
    stop: asyncio.Event,
    on_done: Callable[[Record], None],
) -> Replay:
    """Send bodies in turn at times_s (ascending); ends when all are answered, or soon after stop is set."""
    records = tuple(
        Record(intended_s, bodies[index % len(bodies)].name) for index, intended_s in enumerate(times_s.tolist())
    )
    await transport.open()
    gc.collect()
    gc.freeze()
    gc.disable()  # a collection would delay sends
    clock = Clock(asyncio.get_running_loop().time() + LEAD_S)
    started_unix_s = time.time() + LEAD_S
    under_way: set[asyncio.Task[None]] = set()

    async def one(record: Record, body: Body) -> None:
        await transport.send(body, record, clock(), clock)
        on_done(record)

    try:
        for index, record in enumerate(records):
            delay_s = record.intended_s - clock()
            if delay_s > 0 and await _is_set_within(stop, delay_s):
                break
            task = asyncio.create_task(one(record, bodies[index % len(bodies)]))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            if index % 50 == 0:  # a burst must not keep the loop from answers
                await asyncio.sleep(0)
        await _finish(under_way, stop)
    finally:
        gc.enable()
        gc.unfreeze()
        await transport.close()
    return Replay(records, started_unix_s, stop.is_set())


async def _is_set_within(stop: asyncio.Event, delay_s: float) -> bool:
    """Sleep, but not past a stop."""
    try:
        async with asyncio.timeout(delay_s):
            await stop.wait()
    except TimeoutError:
        return False
    return True


async def _finish(under_way: set[asyncio.Task[None]], stop: asyncio.Event) -> None:
    """Wait for what is under way; a stop cuts it off."""
    stopped = asyncio.create_task(stop.wait())
    while under_way and not stop.is_set():
        await asyncio.wait({stopped, *under_way}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    for task in tuple(under_way):
        task.cancel()
    await asyncio.gather(*under_way, return_exceptions=True)
