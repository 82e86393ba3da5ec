"""One run: a plan is sent to a target, by this process or by several, and its records come back."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import uvloop

from loadgen.records import Record
from loadgen.sending.sender import Job, SendPlan, send_jobs
from loadgen.sending.sender_processes import SenderProcesses
from loadgen.sending.transport import Target

__all__ = ["Replay", "SendPlan", "Silent", "Target", "Watcher", "run_replay"]

# Time between making the schedule's zero and it, for the loop and for other processes to be ready.
LEAD_S, CREW_LEAD_S = 0.2, 1.0
# How often a run is asked whether it has shown enough.
ENOUGH_EVERY_S = 0.1


@dataclass(frozen=True, slots=True)
class Replay:
    """What was sent: one record for each planned request; started_unix_s only labels it."""

    records: tuple[Record, ...] = field(repr=False)
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


def run_replay(
    target: Target, plan: SendPlan, watcher: Watcher | None = None, enough: Callable[[], bool] | None = None
) -> Replay:
    """Send the plan to the target; ends when all are answered, or soon after SIGINT, SIGTERM or enough() is true.

    Every planned request has a record, also those that were kept from being sent.
    """
    watcher, enough = watcher or Silent(), enough or (lambda: False)
    records = [Record(intended_s) for intended_s in plan.times_s.tolist()]
    jobs = list(enumerate(records))
    lead_s = LEAD_S if plan.processes == 1 else CREW_LEAD_S
    zero_s, started_unix_s = time.monotonic() + lead_s, time.time() + lead_s

    def done(job: Job) -> None:
        number, records[number] = job
        watcher.done(records[number])

    if plan.processes == 1:
        interrupted = uvloop.run(
            _watched(lambda stop: send_jobs(target, plan, jobs, zero_s, stop, done), zero_s, watcher, enough)
        )
    else:
        with SenderProcesses(target, plan, jobs, zero_s) as crew:
            interrupted = uvloop.run(_watched(lambda stop: crew.collect(stop, done), zero_s, watcher, enough))
    return Replay(tuple(records), started_unix_s, interrupted)


def run_together(
    parts: Sequence[tuple[Target, SendPlan]], watcher: Watcher | None = None, enough: Callable[[], bool] | None = None
) -> tuple[Replay, ...]:
    """Several kinds of clients at once, on one clock and in this process; watcher hears of the first kind only."""
    watcher, enough = watcher or Silent(), enough or (lambda: False)
    records = [[Record(intended_s) for intended_s in plan.times_s.tolist()] for _, plan in parts]
    zero_s, started_unix_s = time.monotonic() + LEAD_S, time.time() + LEAD_S

    async def work(stop: asyncio.Event) -> None:
        hear: list[Callable[[Job], None]] = [lambda job: watcher.done(job[1]), *[lambda _: None] * (len(parts) - 1)]
        await asyncio.gather(
            *(
                send_jobs(target, plan, list(enumerate(own)), zero_s, stop, done)
                for (target, plan), own, done in zip(parts, records, hear, strict=True)
            )
        )

    interrupted = uvloop.run(_watched(work, zero_s, watcher, enough))
    return tuple(Replay(tuple(own), started_unix_s, interrupted) for own in records)


async def _watched(
    work: Callable[[asyncio.Event], Awaitable[None]], zero_s: float, watcher: Watcher, enough: Callable[[], bool]
) -> bool:
    """Do the work, which ends soon after its event is set; returns whether a signal set it."""
    stop, signalled = asyncio.Event(), asyncio.Event()

    def interrupt() -> None:
        signalled.set()
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, interrupt)
    beside = [asyncio.create_task(_tell(watcher, zero_s)), asyncio.create_task(_stop_when(enough, stop))]
    try:
        await work(stop)
    finally:
        for task in beside:
            task.cancel()
        watcher.end()
    return signalled.is_set()


async def _tell(watcher: Watcher, zero_s: float) -> None:
    while True:
        await asyncio.sleep(watcher.every_s)
        watcher.say(max(0.0, time.monotonic() - zero_s))


async def _stop_when(enough: Callable[[], bool], stop: asyncio.Event) -> None:
    while not enough():
        await asyncio.sleep(ENOUGH_EVERY_S)
    stop.set()
