"""Sends one request and says what came back; every failure is an outcome."""

import asyncio
import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import aiohttp

from loadgen.protocols import PROTOCOLS, Body, Protocol
from loadgen.results import Failure, Record

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go; slow_send_s: each body is spread over so long, as a client on a thin line sends it."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float = 30.0
    protocol: str = "multipart"
    slow_send_s: float = 0.0


class Transport:
    """POSTs bodies to one URL over kept connections."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._protocol: Protocol = PROTOCOLS[target.protocol]
        self._session: aiohttp.ClientSession | None = None
        self._free_workers: list[int] = []
        self._workers = 0

    async def open(self) -> None:
        """Make the connection pool, without a limit: an open loop never waits for a connection."""
        timeout = aiohttp.ClientTimeout(total=self._target.timeout_s)
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout)

    async def close(self) -> None:
        """Drop the connections."""
        if self._session:
            await self._session.close()

    async def send(self, body: Body, record: Record, clock: Clock) -> None:
        """Fill the record."""
        if self._session is None:
            raise RuntimeError("send() before open()")
        record.sent_s, record.worker = clock(), self._take_worker()
        record.request_id, record.bytes_out = uuid.uuid4().hex[:8], len(body.content)
        ids = dict.fromkeys(body.id_headers, record.request_id)
        headers = {**self._protocol.headers, **body.headers, **ids, **self._target.headers}
        try:
            async with self._session.post(self._target.url, data=body.content, headers=headers) as answer:
                record.first_byte_s, record.status = clock(), answer.status
                content = await answer.read()
                record.done_s, record.bytes_in = clock(), len(content)
                record.pod = answer.headers.get("X-Pod", "")
            self._read(content, record)
        except TimeoutError:
            record.failure, record.error, record.status = (
                Failure.TIMEOUT,
                f"no answer within {self._target.timeout_s:g} s",
                0,
            )
        except (aiohttp.ClientError, OSError) as error:
            record.failure, record.error, record.status = Failure.CLOSED, _short(error), 0
        except asyncio.CancelledError:
            record.failure, record.error = Failure.INTERRUPTED, "interrupted"
            raise
        finally:
            self._free_workers.append(record.worker)

    def _take_worker(self) -> int:
        """The lowest free slot's number: as many as requests were ever under way at once."""
        if self._free_workers:
            return self._free_workers.pop()
        self._workers += 1
        return self._workers

    def _read(self, content: bytes, record: Record) -> None:
        """The label of a good answer, the reason of a bad one."""
        try:
            answer = json.loads(content)
        except ValueError:
            answer = None
        if record.status != 200:
            said = f": {str(answer.get('error', ''))[:100]}" if isinstance(answer, dict) else ""
            record.failure, record.error = Failure.STATUS, f"status {record.status}{said}"
        elif isinstance(answer, dict):
            prediction = self._protocol.read(answer)
            record.label, record.confidence = prediction.label, prediction.confidence


def _short(error: Exception) -> str:
    """The kind and the text, without addresses of connections, so that equal errors count as one."""
    return f"{type(error).__name__}: {error}"[:120] if str(error) else type(error).__name__
