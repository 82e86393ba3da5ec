"""Pushes finished jobs to a sink: signed CloudEvents, at least once."""

import asyncio
import base64
import binascii
import hashlib
import hmac
import json
import logging
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime

import aiohttp

from dispatcher.headers import first
from dispatcher.journal.base import JobState, Journal, JournalError, Push
from dispatcher.packing import unpack_answer

log = logging.getLogger(__name__)

EVENT_TYPE = "elastic.inference.finished"
SECRET_PREFIX = "whsec_"
PUSHED_AT_ONCE = 16
TIMEOUT_S = 15.0
LEASE_S = 60.0
POLL_S = 0.5
FIRST_DELAY_S = 1.0
LONGEST_DELAY_S = 300.0
GIVEN_UP_AFTER_S = 86400.0


class SinkError(ValueError):
    """The key of the sink cannot be used; the message contains the rule and the value."""


def parse_secret(text: str) -> bytes:
    """Return the key of a secret such as whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw. Raise SinkError if it is none.

    Source: https://www.standardwebhooks.com (a symmetric key of 24 to 64 bytes, in base64).
    """
    try:
        key = base64.b64decode(text.strip().removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not (text.strip().startswith(SECRET_PREFIX) and 24 <= len(key) <= 64):
        raise SinkError(f"the key must be {SECRET_PREFIX} and 24 to 64 bytes in base64, got {len(key)} bytes")
    return key


def signature(key: bytes, event_id: str, sent_s: int, body: bytes) -> str:
    """Return the value of webhook-signature. Source: https://www.standardwebhooks.com (symmetric signatures, v1)."""
    signed = f"{event_id}.{sent_s}.".encode() + body
    return f"v1,{base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()}"


def event(push: Push) -> bytes:
    """Return a result as a CloudEvent in structured mode, so that the signature covers its attributes too.

    Source: CloudEvents 1.0 and its JSON event format: data as JSON if it is JSON, otherwise in base64.
    """
    content_type, data = "application/json", json.dumps({"error": push.result.cause}).encode()
    if push.state is JobState.DONE:
        _, headers = unpack_answer(push.result)
        content_type = (first(headers, b"content-type") or b"application/octet-stream").decode("latin-1")
        data = push.result.body
    attributes: dict[str, object] = {
        "specversion": "1.0",
        "id": push.id,
        "source": "/jobs",
        "type": EVENT_TYPE,
        "subject": push.id,
        "time": datetime.fromtimestamp(push.finished_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "datacontenttype": content_type,
        "jobstate": push.state.value,
        "httpstatus": push.result.status,
    }
    return json.dumps(attributes | _data(content_type, data)).encode()


def _data(content_type: str, data: bytes) -> dict[str, object]:
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == "application/json" or media_type.endswith("+json"):
        try:
            return {"data": json.loads(data)}
        except (ValueError, RecursionError):  # not what its type says
            pass
    return {"data_base64": base64.b64encode(data).decode()}


def delay_s(attempts: int, retry_after: str, chance: float) -> float:
    """Return the time until the next push.

    attempts: pushes that have failed. retry_after: the sink's Retry-After in seconds; a date counts as none.
    chance: from 0 to 1; spreads the pushes of many results.
    """
    longest_s = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** (attempts - 1))
    asked_s = float(retry_after) if retry_after.isascii() and retry_after.isdigit() else 0.0
    return max(min(asked_s, GIVEN_UP_AFTER_S), longest_s * (0.5 + 0.5 * chance))


class ResultSink:
    """Sends the results of a journal to one URL, which comes from the configuration alone.

    now: Unix time. pushed: is told the outcome of each push: delivered, failed or given up.
    """

    def __init__(
        self,
        journal: Journal,
        url: str,
        key: bytes,
        now: Callable[[], float] = time.time,
        pushed: Callable[[str], None] = lambda outcome: None,
    ) -> None:
        self._journal, self._url, self._key, self._now, self._count_pushed = journal, url, key, now, pushed
        self._loop: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to push."""
        self._loop = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End; what is not pushed yet is pushed after the next start."""
        if self._loop:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)

    async def _run(self) -> None:
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session:
            while True:
                try:
                    pushes = await self._journal.claim_pushes(PUSHED_AT_ONCE, self._now(), LEASE_S)
                    await asyncio.gather(*(self._push(session, push) for push in pushes))
                except JournalError as error:
                    log.info("results are pushed later: %s", error)
                    pushes = []
                if not pushes:
                    await asyncio.sleep(POLL_S)

    async def _push(self, session: aiohttp.ClientSession, push: Push) -> None:
        """Push one result, and note in the journal what came of it."""
        problem, retry_after = await self._post(session, push)
        now_s = self._now()
        over = now_s - push.finished_s >= GIVEN_UP_AFTER_S
        self._count_pushed("delivered" if not problem else "given up" if over else "failed")
        if problem and not over:
            wait_s = delay_s(push.attempts, retry_after, random.random())
            log.info("push %d of job %s failed, the next is in %.0f s: %s", push.attempts, push.id, wait_s, problem)
            await self._journal.push_later(push.id, now_s + wait_s)
            return
        if problem:
            log.error("gave up pushing job %s after %d attempts: %s", push.id, push.attempts, problem)
        await self._journal.push_done(push.id, now_s)

    async def _post(self, session: aiohttp.ClientSession, push: Push) -> tuple[str, str]:
        """Send the event; return what is wrong, empty if nothing is, and the sink's Retry-After."""
        body, sent_s = event(push), int(self._now())
        headers = {
            "Content-Type": "application/cloudevents+json; charset=utf-8",
            "webhook-id": push.id,
            "webhook-timestamp": str(sent_s),
            "webhook-signature": signature(self._key, push.id, sent_s, body),
        }
        try:
            async with session.post(self._url, data=body, headers=headers, allow_redirects=False) as response:
                good = 200 <= response.status < 300
                return "" if good else f"status {response.status}", response.headers.get("Retry-After", "")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return " ".join((str(error) or type(error).__name__).split()), ""
