"""The background of every fault: clients that ask through the dispatcher and enter each request in a ledger."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from random import Random
from typing import Any

from tests.chaos.ledger import End, Fate, Ledger, judge, silence
from tests.stubs.wire import Pool, WireError, request

CLIENTS = 24
# Requests after which a line tells how far a run is.
PROGRESS = 5000
# A client waits longer than the dispatcher's own timeout, so no answer within it is a broken promise.
PATIENCE_S = 60.0

Client = Callable[[str, bytes], Awaitable[End]]


class Traffic:
    """Clients at one dispatcher, with one ledger."""

    def __init__(self, port: int, name: str, seed: int = 0) -> None:
        self.ledger, self.pool = Ledger(), Pool(port)
        self.random = Random(seed)
        self._numbers, self._name = itertools.count(), name
        self._ended, self._began_s = 0, time.monotonic()

    async def run_until(self, count: int, enough: Callable[[], bool]) -> None:
        """Send so many requests, and more of them until something has happened."""
        await self.run(count)
        while not enough():
            await self.run(CLIENTS)

    async def run(self, count: int, client: Client | None = None, clients: int = CLIENTS) -> None:
        """Send so many requests from some clients, each of which asks again as soon as it has its answer."""
        left = iter(range(count))

        async def again() -> None:
            for _ in left:
                await self.one(client or self.ask)

        await asyncio.gather(*(again() for _ in range(clients)))

    async def one(self, client: Client) -> None:
        """Let a client make one request, and enter it in the ledger."""
        request_id = f"{self._name}-{next(self._numbers)}"
        body = request_id.encode() + self.random.randbytes(self.random.randrange(2000))
        self.ledger.start(request_id)
        self.ledger.end(request_id, await client(request_id, body))
        self._ended += 1
        if self._ended % PROGRESS == 0:
            rate_rps = self._ended / (time.monotonic() - self._began_s)
            print(f"\n{self._name}: {self._ended} requests have ended, {rate_rps:.0f}/s", end="", flush=True)

    async def ask(self, request_id: str, body: bytes) -> End:
        """Ask and wait for the answer."""
        return await self.exchange(request("POST", "/predict", body, X_Request_Id=request_id), request_id, body)

    async def exchange(self, message: bytes, request_id: str, body: bytes) -> End:
        """Send the bytes of a request and judge the answer."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                return judge(await self.pool.ask(message), request_id, body)
        except (WireError, OSError, TimeoutError) as error:
            return silence(error)

    async def hang_up(self, request_id: str, body: bytes) -> End:
        """Hang up within 30 ms for each other request, some of them within their bodies."""
        if self.random.random() < 0.5:
            return await self.ask(request_id, body)
        message = request("POST", "/predict", body, X_Request_Id=request_id)
        cut = self.random.choice((len(message), len(message) // 2, 30))
        with suppress(WireError, OSError):
            connection = await self.pool.connection()
            answer = connection.begin(message[:cut])
            answer.add_done_callback(lambda future: future.cancelled() or future.exception())
            await asyncio.sleep(self.random.uniform(0, 0.03))
            connection.close()
        return End(Fate.HUNG_UP)

    async def dribble(self, request_id: str, body: bytes, pause_s: float = 1.0) -> End:
        """Send the last bytes of the head and the first of the body one by one."""
        message = request("POST", "/predict", body, X_Request_Id=request_id)
        first = message.index(b"\r\n\r\n") + 2
        try:
            connection = await self.pool.connection()
            answer = connection.begin(message[: first - 1])
            for at in range(first - 1, first + 5):
                await asyncio.sleep(pause_s)
                connection.transport.write(message[at : at + 1])
            connection.transport.write(message[first + 5 :])
            async with asyncio.timeout(PATIENCE_S):
                return judge(await answer, request_id, body)
        except (WireError, OSError, TimeoutError) as error:
            return silence(error)


@asynccontextmanager
async def meanwhile(
    trouble: Callable[[], Coroutine[Any, Any, None]], pause_s: float, due: Callable[[], bool] = lambda: True
) -> AsyncIterator[None]:
    """Repeat the trouble when it is due, with a pause in between, until the end of the block.

    A repetition is never broken off. A trouble that fails ends the block with its exception.
    """
    stop = asyncio.Event()

    async def repeat() -> None:
        while not stop.is_set():
            if due():
                await trouble()
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), pause_s)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(repeat())
        try:
            yield
        finally:
            stop.set()


async def settled(is_quiet: Callable[[], bool], what: str, timeout_s: float = 60) -> None:
    """Wait until something holds; raise AssertionError after the timeout."""
    deadline_s = time.monotonic() + timeout_s
    while not await asyncio.to_thread(is_quiet):
        assert time.monotonic() < deadline_s, f"not within {timeout_s} s: {what}"
        await asyncio.sleep(0.05)
