"""Sends one request and says what came back; every failure is an outcome."""

import asyncio
import json
import uuid
from collections.abc import Mapping

import aiohttp

from loadgen.images import Body
from loadgen.results import Record


class Transport:
    """POSTs bodies to one URL over kept connections."""

    def __init__(self, url: str, headers: Mapping[str, str], timeout_s: float) -> None:
        self._url, self._headers, self._timeout_s = url, dict(headers), timeout_s
        self._session: aiohttp.ClientSession | None = None
        self._free_workers: list[int] = []
        self._workers = 0

    async def open(self) -> None:
        """Make the connection pool, without a limit: an open loop never waits for a connection."""
        timeout = aiohttp.ClientTimeout(total=self._timeout_s)
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout)

    async def close(self) -> None:
        """Drop the connections."""
        if self._session:
            await self._session.close()

    async def send(self, body: Body, record: Record, now_s: float, clock: "Clock") -> None:
        """Fill the record."""
        if self._session is None:
            raise RuntimeError("send() before open()")
        record.sent_s, record.worker = now_s, self._take_worker()
        record.request_id, record.bytes_out = uuid.uuid4().hex[:8], len(body.content)
        headers = {**self._headers, "Content-Type": body.content_type, "X-Request-Id": record.request_id}
        try:
            async with self._session.post(self._url, data=body.content, headers=headers) as answer:
                content = await answer.read()
                record.done_s, record.status, record.bytes_in = clock(), answer.status, len(content)
            _read(content, record)
        except TimeoutError:
            record.error = f"no answer within {self._timeout_s:g} s"
        except (aiohttp.ClientError, OSError) as error:
            record.error = _short(error)
        except asyncio.CancelledError:
            record.error = record.error or "interrupted"
            raise
        finally:
            self._free_workers.append(record.worker)

    def _take_worker(self) -> int:
        """The lowest free slot's number: as many as requests were ever under way at once."""
        if self._free_workers:
            return self._free_workers.pop()
        self._workers += 1
        return self._workers


class Clock:
    """Seconds from the schedule's zero on the loop's monotonic clock."""

    def __init__(self, zero_s: float) -> None:
        self._zero_s = zero_s
        self._loop = asyncio.get_running_loop()

    def __call__(self) -> float:
        return self._loop.time() - self._zero_s


def _read(content: bytes, record: Record) -> None:
    """The label of a good answer, the reason of a bad one."""
    try:
        answer = json.loads(content)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        record.error = "" if record.status == 200 else f"status {record.status}"
    elif record.status == 200:
        record.label, record.confidence = _prediction(answer)
    else:
        record.error = f"status {record.status}: {str(answer.get('error', ''))[:100]}"


def _prediction(answer: Mapping[str, object]) -> tuple[str, float]:
    """Label and confidence, 0 to 1, from `label` and `confidence`, or from `prediction` alone (`cat: 89.2%`)."""
    label, confidence = answer.get("label"), answer.get("confidence")
    if isinstance(label, str) and isinstance(confidence, int | float):
        return label, float(confidence)
    name, _, percent = str(answer.get("prediction", "")).rpartition(": ")
    try:
        return name, float(percent.rstrip("%")) / 100
    except ValueError:
        return str(answer.get("prediction", "")), 0.0


def _short(error: Exception) -> str:
    """The kind and the text, without addresses of connections, so that equal errors count as one."""
    return f"{type(error).__name__}: {error}"[:120] if str(error) else type(error).__name__
