"""Several processes that send one plan together, for rates at which one core is not enough.

They are forked, so that bodies are not copied; each sends every so-manyth request and streams its records back.
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
from loadgen.sending.transport import Target

# Records go back in small parts: pickling hundreds at once would make the next sends late.
JOBS_A_PART = 32
FLUSH_EVERY_S = 0.25
LENGTH_BYTES = 4
JOIN_TIMEOUT_S = 5.0


class SenderProcesses:
    """The sending processes, seen from the one that started them; `with` ends them."""

    def __init__(self, target: Target, plan: SendPlan, jobs: Sequence[Job], zero_s: float) -> None:
        """Fork; must be called before this process has an event loop."""
        fork = multiprocessing.get_context("fork")
        self._ends: list[socket.socket] = []
        self._processes: list[multiprocessing.process.BaseProcess] = []
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
        """End those that are still there."""
        for process in self._processes:
            process.join(JOIN_TIMEOUT_S)
            process.kill()

    async def collect(self, stop: asyncio.Event, on_done: Callable[[Job], None]) -> None:
        """Hand over each finished job until all processes are through; a stop is passed on to them.

        Jobs of a process that died are never handed over.
        """
        stopping = asyncio.create_task(self._pass_on(stop))
        try:
            await asyncio.gather(*(_receive(end, on_done) for end in self._ends))
        finally:
            stopping.cancel()

    async def _pass_on(self, stop: asyncio.Event) -> None:
        await stop.wait()
        for process in self._processes:
            process.terminate()


async def _receive(end: socket.socket, on_done: Callable[[Job], None]) -> None:
    """All parts that one process sends, until it closes its end."""
    reader, writer = await asyncio.open_connection(sock=end)
    try:
        while True:
            length = int.from_bytes(await reader.readexactly(LENGTH_BYTES), "little")
            for job in pickle.loads(await reader.readexactly(length)):
                on_done(job)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass  # its end: what it did not send stays unsent in the records, and the run's check says so
    finally:
        writer.close()


def _work(end: socket.socket, target: Target, plan: SendPlan, jobs: Sequence[Job], zero_s: float) -> None:
    """The life of one of the processes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent says when to stop
    uvloop.run(_send(end, target, plan, jobs, zero_s))


async def _send(end: socket.socket, target: Target, plan: SendPlan, jobs: Sequence[Job], zero_s: float) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    _, writer = await asyncio.open_connection(sock=end)
    done: list[Job] = []

    def flush() -> None:
        if done:
            part = pickle.dumps(done)
            writer.write(len(part).to_bytes(LENGTH_BYTES, "little") + part)
            done.clear()

    def on_done(job: Job) -> None:
        done.append(job)
        if len(done) >= JOBS_A_PART:
            flush()

    async def now_and_then(parent: int) -> None:
        while os.getppid() == parent:
            flush()
            await asyncio.sleep(FLUSH_EVERY_S)
        stop.set()  # nobody is left to hear of it

    flushing = asyncio.create_task(now_and_then(os.getppid()))
    await send_jobs(target, plan, jobs, zero_s, stop, on_done)
    flushing.cancel()
    flush()
    await writer.drain()
    writer.close()
    await writer.wait_closed()
