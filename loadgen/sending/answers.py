"""Reads responses where that cannot delay a send: small ones as they arrive, large ones after the run."""

import asyncio
import math
from collections.abc import Callable
from typing import NamedTuple

from loadgen.records import Failure, Record
from loadgen.sending.codings import CodingError, decoded
from loadgen.sending.failures import short
from loadgen.sending.protocols import Body

Clock = Callable[[], float]
# Adds the content of a complete response with any status to a record, which already has the status.
Reader = Callable[[Body, bytes, Record], None]
# Parsing JSON takes about 10 ms per megabyte, in which no request can be sent: a larger response is read after the run.
READ_AT_ONCE_BYTES = 32 * 1024
READ_AT_ONCE_CODED_BYTES = 1024  # gzip shrinks to a thousandth at best
# Responses that wait to be read, of all sender processes; the label of one that exceeds this is UNREAD.
MOST_KEPT_BYTES = 256 * 2**20
UNREAD = "(not read)"
# Time after an interruption in which the responses that were kept are still read.
READ_INTERRUPTED_S = 2.0


class Answer(NamedTuple):
    """A complete response; coding: its Content-Encoding."""

    location: str | None
    coding: str
    content: bytes


class _Kept(NamedTuple):
    """A response that is read after the run, with the body and the record of its request."""

    body: Body
    answer: Answer
    record: Record


class AnswerReader:
    """Reads responses and keeps those that must wait."""

    def __init__(self, read: Reader, clock: Clock, most_kept_bytes: int | None) -> None:
        """Prepare; most_kept_bytes: None reads each response as it arrives, however large it is."""
        self._read, self._clock, self._most_kept_bytes = read, clock, most_kept_bytes
        self._kept: list[_Kept] = []
        self._kept_bytes = 0

    def handle(self, body: Body, answer: Answer, record: Record) -> None:
        """Read a small response now and keep a large one; a status is known in both cases."""
        size_bytes = len(answer.content)
        at_once_bytes = READ_AT_ONCE_CODED_BYTES if answer.coding else READ_AT_ONCE_BYTES
        if self._most_kept_bytes is None or size_bytes <= at_once_bytes:
            self._apply(body, answer, record)
            return
        if not 200 <= record.status < 300:
            record.failure, record.error = Failure.STATUS, f"status {record.status}"
        if self._kept_bytes + size_bytes <= self._most_kept_bytes:
            self._kept_bytes += size_bytes
            self._kept.append(_Kept(body, answer, record))
        else:
            record.label = UNREAD

    def _apply(self, body: Body, answer: Answer, record: Record) -> None:
        """Read a response; one that cannot be read is a failure with a reason."""
        try:
            content = decoded(answer.content, answer.coding) if answer.coding else answer.content
            self._read(body, content, record)
        except CodingError as error:
            record.failure, record.error = Failure.PROTOCOL, f"status {record.status}, but {error}"
        except Exception as error:  # noqa: BLE001  no response, however strange, ends a run
            record.failure, record.error = Failure.PROTOCOL, f"status {record.status}, unreadable: {short(error)}"

    async def read_kept(self, stop: asyncio.Event) -> list[Record]:
        """Read the responses that were too large to be read during the run; return their records.

        After a stop, those that are left after READ_INTERRUPTED_S stay unread.
        """
        kept, self._kept = self._kept, []
        until_s = math.inf
        for body, answer, record in kept:
            if stop.is_set():
                until_s = min(until_s, self._clock() + READ_INTERRUPTED_S)
            if self._clock() < until_s:
                self._apply(body, answer, record)
                await asyncio.sleep(0)  # lets a signal set the event
            else:
                record.label = UNREAD
        return [record for _, _, record in kept]
