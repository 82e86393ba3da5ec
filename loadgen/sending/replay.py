"""One run: sends a plan to a target, from this process or from several, and returns the records."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from loadgen.records import Failure, Record
from loadgen.sending.sender import Job, SendPlan, send_jobs
from loadgen.sending.sender_processes import SenderProcesses
from loadgen.sending.stop_signals import STOP_SIGNALS, in_main_thread, run_loop
from loadgen.sending.transport import Target

__all__ = ["Replay", "SendPlan", "SilentWatcher", "Target", "Watcher", "run_replay"]

# Time between choosing the start of the schedule and the start itself, in which the loop and other processes get ready.
SINGLE_PROCESS_LEAD_S, MULTI_PROCESS_LEAD_S = 0.2, 1.0
# How often a run is asked whether its outcome is already certain.
ENOUGH_EVERY_S = 0.1


@dataclass(frozen=True, slots=True)
class Replay:
    """The result of a run: a record for each planned request; started_unix_s only labels it.

    interrupted: whether a signal ended it.
    """

    records: tuple[Record, ...] = field(repr=False)
    started_unix_s: float
    interrupted: bool


class Watcher(Protocol):
    """An observer of the progress of a run."""

    @property
    def every_s(self) -> float:
        """Return the time between two calls of report."""

    def done(self, record: Record) -> None:
        """Handle a finished request, successful or not."""

    def report(self, now_s: float) -> None:
        """Report the progress; called every every_s seconds with the time since the start of the schedule."""

    def end(self) -> None:
        """Handle the end of the run."""


class SilentWatcher:
    """A watcher that reports nothing."""

    every_s = 60.0

    def done(self, record: Record) -> None:
        """Do nothing."""

    def report(self, now_s: float) -> None:
        """Do nothing."""

    def end(self) -> None:
        """Do nothing."""


def run_replay(
    target: Target, plan: SendPlan, watcher: Watcher | None = None, enough: Callable[[], bool] | None = None
) -> Replay:
    """Send the plan to the target until every request is finished.

    SIGINT, SIGTERM (in the main thread) or a true result of enough() ends the run early. Every planned request has a
    record, including those that were not sent, which have failed as interrupted.
    """
    watcher, enough = watcher or SilentWatcher(), enough or (lambda: False)
    records = [Record(intended_s) for intended_s in plan.times_s.tolist()]
    jobs = list(enumerate(records))
    lead_s = SINGLE_PROCESS_LEAD_S if plan.processes == 1 else MULTI_PROCESS_LEAD_S
    zero_s, started_unix_s = time.monotonic() + lead_s, time.time() + lead_s

    def done(job: Job) -> None:
        number, records[number] = job
        watcher.done(records[number])

    def read(job: Job) -> None:
        number, records[number] = job

    if plan.processes == 1:
        interrupted = run_loop(
            _watched(lambda stop: send_jobs(target, plan, jobs, zero_s, stop, done), zero_s, watcher, enough)
        )
    else:
        share = replace(target, most_kept_bytes=target.most_kept_bytes // plan.processes)
        with SenderProcesses(share, plan, jobs, zero_s) as senders:
            interrupted = run_loop(_watched(lambda stop: senders.collect(stop, done, read), zero_s, watcher, enough))
    if interrupted or enough():
        _note_unsent(records)
    return Replay(tuple(records), started_unix_s, interrupted)


def run_together(
    parts: Sequence[tuple[Target, SendPlan]], watcher: Watcher | None = None, enough: Callable[[], bool] | None = None
) -> tuple[Replay, ...]:
    """Send several plans at once on one clock, all from this process; the watcher observes only the first one."""
    watcher, enough = watcher or SilentWatcher(), enough or (lambda: False)
    records = [[Record(intended_s) for intended_s in plan.times_s.tolist()] for _, plan in parts]
    zero_s, started_unix_s = time.monotonic() + SINGLE_PROCESS_LEAD_S, time.time() + SINGLE_PROCESS_LEAD_S

    async def work(stop: asyncio.Event) -> None:
        on_done: list[Callable[[Job], None]] = [lambda job: watcher.done(job[1]), *[lambda _: None] * (len(parts) - 1)]
        await asyncio.gather(
            *(
                send_jobs(target, plan, list(enumerate(own)), zero_s, stop, done)
                for (target, plan), own, done in zip(parts, records, on_done, strict=True)
            )
        )

    interrupted = run_loop(_watched(work, zero_s, watcher, enough))
    if interrupted or enough():
        _note_unsent([record for own in records for record in own])
    return tuple(Replay(tuple(own), started_unix_s, interrupted) for own in records)


def _note_unsent(records: Sequence[Record]) -> None:
    for record in records:
        if record.ended_s is None:
            record.failure, record.error = Failure.INTERRUPTED, "not sent: the run was interrupted"


async def _watched(
    work: Callable[[asyncio.Event], Awaitable[object]], zero_s: float, watcher: Watcher, enough: Callable[[], bool]
) -> bool:
    """Await the work, which must end soon after its event is set; return whether a signal set the event."""
    stop, signalled = asyncio.Event(), asyncio.Event()

    def interrupt() -> None:
        signalled.set()
        stop.set()

    for number in STOP_SIGNALS if in_main_thread() else ():
        asyncio.get_running_loop().add_signal_handler(number, interrupt)
    background = [asyncio.create_task(_report(watcher, zero_s)), asyncio.create_task(_stop_when(enough, stop))]
    try:
        await work(stop)
    finally:
        for task in background:
            task.cancel()
        watcher.end()
    return signalled.is_set()


async def _report(watcher: Watcher, zero_s: float) -> None:
    while True:
        await asyncio.sleep(watcher.every_s)
        watcher.report(max(0.0, time.monotonic() - zero_s))


async def _stop_when(enough: Callable[[], bool], stop: asyncio.Event) -> None:
    while not enough():
        await asyncio.sleep(ENOUGH_EVERY_S)
    stop.set()
