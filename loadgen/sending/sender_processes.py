"""Several processes that send one plan together, for rates that exceed one core.

They are forked, so that bodies are not copied. With n processes, each sends every n-th request and streams its records
back.
"""

import asyncio
import multiprocessing
import os
import pickle
import signal
import socket
from collections.abc import Callable, Sequence

import uvloop

from loadgen.sending.sender import Job, SendPlan, send_jobs
from loadgen.sending.stop_signals import STOP_SIGNALS
from loadgen.sending.transport import Target

# Records are returned in small parts: pickling hundreds at once would delay the next sends.
JOBS_PER_PART = 32
FLUSH_EVERY_S = 0.25
LENGTH_BYTES = 4
JOIN_TIMEOUT_S = 5.0


class SenderProcesses:
    """Handles to the sender processes in their parent; leaving the `with` block ends them."""

    def __init__(self, target: Target, plan: SendPlan, jobs: Sequence[Job], zero_s: float) -> None:
        """Fork the processes; must be called before this process has an event loop."""
        self._ends: list[socket.socket] = []
        self._processes: list[multiprocessing.process.BaseProcess] = []
        # A process must not get a signal before it handles it: until then it would end with a traceback.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        try:
            self._fork(target, plan, jobs, zero_s)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _fork(self, target: Target, plan: SendPlan, jobs: Sequence[Job], zero_s: float) -> None:
        fork = multiprocessing.get_context("fork")
        for first in range(plan.processes):
            ours, theirs = socket.socketpair()
            process = fork.Process(
                target=_work, args=(theirs, target, plan, jobs[first :: plan.processes], zero_s), daemon=True
            )
            process.start()
            theirs.close()
            self._ends.append(ours)
            self._processes.append(process)

    def __enter__(self) -> "SenderProcesses":
        return self

    def __exit__(self, *_: object) -> None:
        """Wait for the processes and kill those that remain."""
        for process in self._processes:
            process.join(JOIN_TIMEOUT_S)
            process.kill()

    async def collect(
        self, stop: asyncio.Event, on_done: Callable[[Job], None], on_read: Callable[[Job], None]
    ) -> None:
        """Pass each finished job to on_done until all processes have ended; forward a stop to them.

        A job whose response was read after the last one had arrived is passed on once more, to on_read. Jobs that a
        process had not returned when it died are not passed on.
        """
        stopping = asyncio.create_task(self._forward(stop))
        try:
            await asyncio.gather(*(_receive(end, (on_done, on_read)) for end in self._ends))
        finally:
            stopping.cancel()

    async def _forward(self, stop: asyncio.Event) -> None:
        await stop.wait()
        for process in self._processes:
            process.terminate()


async def _receive(end: socket.socket, handlers: Sequence[Callable[[Job], None]]) -> None:
    """Receive all parts from one process until it closes its end of the connection; each names its handler."""
    reader, writer = await asyncio.open_connection(sock=end)
    try:
        while True:
            length = int.from_bytes(await reader.readexactly(LENGTH_BYTES), "little")
            handler, jobs = pickle.loads(await reader.readexactly(length))
            for job in jobs:
                handlers[handler](job)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass  # the process ended: jobs that it did not return stay unsent in the records and make the run invalid
    finally:
        writer.close()


def _work(end: socket.socket, target: Target, plan: SendPlan, jobs: Sequence[Job], zero_s: float) -> None:
    """Run one of the processes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C signals the whole group, but the parent decides when to stop
    uvloop.run(_send(end, target, plan, jobs, zero_s))


async def _send(end: socket.socket, target: Target, plan: SendPlan, jobs: Sequence[Job], zero_s: float) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    _, writer = await asyncio.open_connection(sock=end)
    done: list[Job] = []

    def write(handler: int, jobs: Sequence[Job]) -> None:
        part = pickle.dumps((handler, jobs))
        writer.write(len(part).to_bytes(LENGTH_BYTES, "little") + part)

    def flush() -> None:
        if done:
            write(0, done)
            done.clear()

    def on_done(job: Job) -> None:
        done.append(job)
        if len(done) >= JOBS_PER_PART:
            flush()

    async def flush_regularly(parent: int) -> None:
        while os.getppid() == parent:
            flush()
            await asyncio.sleep(FLUSH_EVERY_S)
        stop.set()  # the parent has died, so the results have no reader

    flushing = asyncio.create_task(flush_regularly(os.getppid()))
    late = await send_jobs(target, plan, jobs, zero_s, stop, on_done)
    flushing.cancel()
    flush()
    write(1, late)
    await writer.drain()
    writer.close()
    await writer.wait_closed()
