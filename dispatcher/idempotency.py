"""Idempotency keys: recognise a request that is sent again, and answer it once."""

import asyncio
import hashlib
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from dispatcher.headers import RawHeaders, first
from dispatcher.journal.base import KeyConflictError

Value = TypeVar("Value")

LONGEST_KEY = 255
KEPT_S = 300.0
MOST_BYTES = 64 << 20
# What one remembered answer takes besides its bytes, about.
ENTRY_BYTES = 1024
BOUNDARY = re.compile(rb'boundary="?([^";,]+)', re.IGNORECASE)


class IdempotencyError(ValueError):
    """The key cannot be used; the message contains the rule and the value."""


def check_key(key: str) -> str:
    """Return the key. Raise IdempotencyError unless it has 1 to LONGEST_KEY printable ASCII characters."""
    if not (0 < len(key) <= LONGEST_KEY and key.isascii() and key.isprintable()):
        raise IdempotencyError(
            f"Idempotency-Key must have 1 to {LONGEST_KEY} printable ASCII characters, got {len(key)}: {key[:40]!r}"
        )
    return key


def request_digest(method: str, target: str, headers: RawHeaders, body: bytes) -> bytes:
    """Return what recognises a request: method, target, type and body.

    A form's boundary does not count, because clients choose a new one each time they encode the same form.
    """
    content_type = first(headers, b"content-type") or b""
    if content_type.lower().startswith(b"multipart/") and (match := BOUNDARY.search(content_type)):
        body = body.replace(match[1].strip(), b"")
        content_type = content_type.partition(b";")[0]
    digest = hashlib.sha256()
    for part in (method.encode(), target.encode("utf-8", "surrogateescape"), content_type):
        digest.update(part + b"\0")
    digest.update(body)
    return digest.digest()


@dataclass(slots=True)
class _Running(Generic[Value]):
    digest: bytes
    task: asyncio.Task[Value]
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class _Remembered(Generic[Value]):
    digest: bytes
    value: Value
    size_bytes: int
    until_s: float


class SharedAnswers(Generic[Value]):
    """Gives requests with the same key one answer, and remembers it for a while.

    size_bytes: returns the size of an answer, or None if it must not be remembered, as that of a refusal.
    now: a clock that never goes back.
    """

    def __init__(
        self, size_bytes: Callable[[Value], int | None], now: Callable[[], float], most_bytes: int = MOST_BYTES
    ) -> None:
        self._size_bytes, self._now, self._most_bytes = size_bytes, now, most_bytes
        self._running: dict[tuple[str, str], _Running[Value]] = {}
        self._remembered: OrderedDict[tuple[str, str], _Remembered[Value]] = OrderedDict()
        self._held_bytes = 0

    def running(self, owner: str, key: str) -> bool:
        """Return whether a request with this key is on its way, so that another one would wait for its answer."""
        return (owner, key) in self._running

    async def answer(self, owner: str, key: str, digest: bytes, make: Callable[[], Awaitable[Value]]) -> Value:
        """Return the answer of `make`, or that of an earlier request with this key; raise KeyConflictError."""
        self._forget_old()
        name = (owner, key)
        known = self._remembered.get(name) or self._running.get(name)
        if known is not None and known.digest != digest:
            raise KeyConflictError(f"Idempotency-Key must not come again with another request, got {key!r}")
        if isinstance(known, _Remembered):
            return known.value
        return await self._join(name, known or self._begin(name, digest, make))

    def _begin(self, name: tuple[str, str], digest: bytes, make: Callable[[], Awaitable[Value]]) -> _Running[Value]:
        running = _Running(digest, asyncio.ensure_future(_awaited(make)))
        self._running[name] = running
        running.task.add_done_callback(lambda _: self._settle(name, running))
        return running

    async def _join(self, name: tuple[str, str], running: _Running[Value]) -> Value:
        """Wait for the answer; if every client has left, nothing goes on in their name."""
        running.waiting += 1
        try:
            return await asyncio.shield(running.task)
        finally:
            running.waiting -= 1
            if not running.waiting and not running.task.done():
                self._running.pop(name, None)
                running.task.cancel()

    def _settle(self, name: tuple[str, str], running: _Running[Value]) -> None:
        """Remember the answer, or forget the key so that the client can try again."""
        if self._running.get(name) is running:
            del self._running[name]
        if running.task.cancelled() or running.task.exception() is not None:
            return
        value = running.task.result()
        size_bytes = self._size_bytes(value)
        if size_bytes is not None:
            size_bytes += ENTRY_BYTES
            self._remembered[name] = _Remembered(running.digest, value, size_bytes, self._now() + KEPT_S)
            self._held_bytes += size_bytes
            self._forget_old()

    def _forget_old(self) -> None:
        """Forget the oldest answers, down to the bounds in time and bytes."""
        while self._remembered:
            name, oldest = next(iter(self._remembered.items()))
            if oldest.until_s > self._now() and self._held_bytes <= self._most_bytes:
                return
            del self._remembered[name]
            self._held_bytes -= oldest.size_bytes


async def _awaited(make: Callable[[], Awaitable[Value]]) -> Value:
    return await make()
