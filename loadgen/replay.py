"""Open loop: every request is sent at its time, whatever became of those before."""

import asyncio
import gc
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from loadgen.arrivals import Times
from loadgen.protocols import Body
from loadgen.results import Record
from loadgen.transport import Target, Transport

# Time between making the schedule's zero and it: for the first connections and the loop to be ready.
LEAD_S = 0.2


@dataclass(frozen=True, slots=True)
class Plan:
    """What is sent when: bodies in turn at times_s (ascending, from the run's zero, shape (requests,)).

    processes: senders, each with its share of the requests.
    """

    times_s: Times
    bodies: Sequence[Body]
    processes: int = 1


@dataclass(frozen=True, slots=True)
class Replay:
    """What was sent: one record for each planned request; started_unix_s only labels it."""

    records: tuple[Record, ...]
    started_unix_s: float
    interrupted: bool


class Watcher(Protocol):
    """Hears how a run goes."""

    @property
    def every_s(self) -> float:
        """Time between two calls of say."""

    def done(self, record: Record) -> None:
        """One request came to its end, good or bad."""

    def say(self, now_s: float) -> None:
        """Called every_s, with the time since the run's zero."""

    def end(self) -> None:
        """The run is over."""


class Silent:
    """A watcher that says nothing."""

    every_s = 60.0

    def done(self, record: Record) -> None:
        """Nothing."""

    def say(self, now_s: float) -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""


def run_replay(target: Target, plan: Plan, watcher: Watcher | None = None) -> Replay:
    """Send the plan to the target; ends when all are answered, or soon after SIGINT or SIGTERM.

    Every planned request has a record, also those that a signal kept from being sent.
    """
    return asyncio.run(_run(target, plan, watcher or Silent()))


async def _run(target: Target, plan: Plan, watcher: Watcher) -> Replay:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    telling = asyncio.create_task(_tell(watcher))
    try:
        return await _replay(Transport(target), plan, stop, watcher.done)
    finally:
        telling.cancel()
        watcher.end()


async def _tell(watcher: Watcher) -> None:
    began_s = time.monotonic()
    while True:
        await asyncio.sleep(watcher.every_s)
        watcher.say(time.monotonic() - began_s)


async def _replay(transport: Transport, plan: Plan, stop: asyncio.Event, on_done: Callable[[Record], None]) -> Replay:
    bodies = plan.bodies
    records = tuple(
        Record(intended_s, bodies[index % len(bodies)].name) for index, intended_s in enumerate(plan.times_s.tolist())
    )
    await transport.open()
    gc.collect()
    gc.freeze()
    gc.disable()  # a collection would delay sends
    zero_s = time.monotonic() + LEAD_S
    started_unix_s = time.time() + LEAD_S
    under_way: set[asyncio.Task[None]] = set()

    def clock() -> float:
        return time.monotonic() - zero_s

    async def one(record: Record, body: Body) -> None:
        await transport.send(body, record, clock)
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
