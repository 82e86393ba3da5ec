"""An open loop of requests at given times, and a closed loop of clients, over connections of `wire`."""

import asyncio
import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from statistics import quantiles

import numpy as np

from tests.stubs.wire import Message, Pool, WireError

NO_ANSWER = 0


@dataclass(frozen=True, slots=True)
class Sample:
    """One request of an open loop. status: NO_ANSWER if the client gave up or the connection ended."""

    due_s: float
    sent_s: float
    done_s: float
    status: int

    @property
    def latency_s(self) -> float:
        """Seconds from the intended send."""
        return self.done_s - self.due_s


def poisson(rate_rps: float, seconds: float, seed: int = 1) -> list[float]:
    """Return the times of Poisson arrivals."""
    rng = np.random.default_rng(seed)
    gaps_s = rng.exponential(1 / rate_rps, int(rate_rps * seconds * 1.2) + 50)
    times_s = np.cumsum(gaps_s)
    return [float(time_s) for time_s in times_s[times_s < seconds]]


async def open_loop(
    pool: Pool, times_s: Sequence[float], make: Callable[[int], bytes], patience_s: float
) -> list[Sample]:
    """Send request `make(number)` at each time, whatever became of earlier ones; a client hangs up after patience_s."""
    zero_s = time.monotonic() + 0.1

    async def one(number: int, due_s: float) -> Sample:
        sent_s, status = time.monotonic() - zero_s, NO_ANSWER
        with suppress(WireError, OSError, TimeoutError):
            async with asyncio.timeout(patience_s):
                status = (await pool.ask(make(number))).status
        return Sample(due_s, sent_s, time.monotonic() - zero_s, status)

    tasks = []
    with collector_off():
        for number, due_s in enumerate(times_s):
            while (delay_s := zero_s + due_s - time.monotonic()) > 0:
                await asyncio.sleep(delay_s)
            tasks.append(asyncio.create_task(one(number, due_s)))
        return list(await asyncio.gather(*tasks))


async def closed_loop(
    ports: Sequence[int], clients: int, seconds: float, request: bytes, status: int = 200
) -> tuple[int, float]:
    """Let each of the clients ask one of the servers again and again; return the answers of a status and the seconds."""
    end_s = time.monotonic() + seconds

    async def client(port: int) -> int:
        pool, answered = Pool(port), 0
        while time.monotonic() < end_s:
            got: Message = await pool.ask(request)
            answered += got.status == status
        pool.close()
        return answered

    began_s = time.monotonic()
    counts = await asyncio.gather(*(client(ports[number % len(ports)]) for number in range(clients)))
    return sum(counts), time.monotonic() - began_s


@contextmanager
def collector_off() -> Iterator[None]:
    """Keep Python's garbage collector, which can stop the sender for tens of milliseconds, from running."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def percentile(values: Sequence[float], share: int) -> float:
    """Return a percentile, from 1 to 99."""
    return quantiles(values, n=100, method="inclusive")[share - 1]
