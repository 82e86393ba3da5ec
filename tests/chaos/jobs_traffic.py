"""Clients of asynchronous work: each job is accepted once, and ends once."""

import asyncio
import time
from collections.abc import Callable

from tests.chaos.ledger import End, Fate, judge
from tests.chaos.traffic import Traffic
from tests.stubs.wire import Message, Pool, WireError, request

# Restarts take seconds, and jobs that failed wait for their next attempt.
ACCEPT_S, RESULT_S, PAUSE_S = 60.0, 120.0, 0.05


class JobsTraffic(Traffic):
    """Clients that submit work, through any of several dispatchers, and poll until it has ended."""

    def __init__(self, ports: list[int], name: str, seed: int = 0) -> None:
        super().__init__(ports[0], name, seed)
        self._pools = [Pool(port) for port in ports]
        self.locations: dict[str, tuple[str, bytes]] = {}
        self.accepted = 0

    async def submit_and_poll(self, request_id: str, body: bytes) -> End:
        """Submit under an Idempotency-Key until it is accepted, and poll until it has ended."""
        location = await self.submit(request_id, body)
        return await self.result(location, request_id, body) if location else End(Fate.REFUSED)

    async def submit_and_cancel(self, request_id: str, body: bytes) -> End:
        """Cancel each other job; one that is too far gone is polled."""
        location = await self.submit(request_id, body)
        if not location:
            return End(Fate.REFUSED)
        if self.random.random() < 0.5:
            got = await self.patiently(request("DELETE", location), lambda message: message.status < 500)
            if got is not None and got.status < 300:
                return End(Fate.CANCELLED)
        return await self.result(location, request_id, body)

    async def submit(self, request_id: str, body: bytes) -> str:
        """Return the location of the accepted job; "" if none was accepted in time."""
        message = request(
            "POST", "/predict", body, X_Request_Id=request_id, Prefer="respond-async", Idempotency_Key=request_id
        )  # fmt: skip
        got = await self.patiently(message, lambda answer: answer.status == 202, ACCEPT_S)
        if got is None:
            return ""
        self.accepted += 1
        self.locations[request_id] = got.headers["location"], body
        return got.headers["location"]

    async def result(self, location: str, request_id: str, body: bytes) -> End:
        """Poll until the job has a final state, whatever happens to connections meanwhile."""
        got = await self.patiently(request("GET", location, X_Request_Id=request_id), is_final)
        return End(Fate.LOST, f"{location} had no final state in time") if got is None else judge_job(got, request_id, body)  # fmt: skip

    async def patiently(
        self, message: bytes, enough: Callable[[Message], bool], timeout_s: float = RESULT_S
    ) -> Message | None:
        """Repeat a request that may be repeated, until its answer is enough; None after the timeout."""
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            try:
                async with asyncio.timeout(10):
                    got = await self.random.choice(self._pools).ask(message)
            except (WireError, OSError, TimeoutError):
                pass  # the dispatcher is being restarted
            else:
                if enough(got):
                    return got
            await asyncio.sleep(PAUSE_S)
        return None

    async def read_again(self) -> None:
        """Read the result of each job once more: a final state stays what it was."""
        left = iter(list(self.locations.items()))

        async def reader() -> None:
            for request_id, (location, body) in left:
                self.ledger.end(request_id, await self.result(location, request_id, body))

        await asyncio.gather(*(reader() for _ in range(16)))


def is_final(message: Message) -> bool:
    """Return whether an answer of a job's location is about a final state; 503: the journal cannot be read now."""
    return message.status not in (202, 503) or ("x-job-state" in message.headers and message.status != 202)


def judge_job(message: Message, request_id: str, body: bytes) -> End:
    """Return how a job ended."""
    if message.status == 410:
        return End(Fate.CANCELLED)
    if message.status == 404:
        return End(Fate.LOST, f"{message.start}: {message.body[:200]!r}")
    return judge(message, request_id, body)
