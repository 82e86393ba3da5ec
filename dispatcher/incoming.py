"""Reads a client's request: its body within the limits, and the header fields as they go to a pod."""

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from aiohttp import web
from aiohttp.streams import StreamReader

from dispatcher.headers import Added, Origin, RawHeaders, to_pod
from dispatcher.replies import CONTINUE, RefusalError, new_id

Count = Callable[[int], bool]


def request_id_of(request: web.BaseRequest) -> bytes:
    """Return the client's X-Request-Id, or a new one."""
    text = request.headers.get("X-Request-Id")
    return text.encode("utf-8", "surrogateescape") if text else new_id()


def target_of(request: web.BaseRequest) -> str:
    """Return path and query exactly as they came, also of a target in absolute form."""
    target = request.raw_path
    if target.startswith("/") or target == "*":
        return target
    _, scheme, rest = target.partition("://")
    slash = rest.find("/")
    question = rest.find("?")
    if not scheme or (slash < 0 and question < 0):
        return "/"
    return rest[slash:] if 0 <= slash < (question if question >= 0 else len(rest)) else f"/{rest[question:]}"


def pod_headers(
    request: web.BaseRequest, body_bytes: int, host: bytes, request_id: bytes, secrets: frozenset[bytes],
    span: bytes = b"",
) -> RawHeaders:  # fmt: skip
    """Return the header fields as they go to a pod; host may be empty, then it is the backend's.

    span: traceparent of the dispatcher's span for this request, if there is one.
    """
    client_host = request.headers.get("Host", "").encode("utf-8", "surrogateescape")
    origin = Origin(request.remote or "", client_host, b"https" if request.secure else b"http")
    added = Added(host, request_id, span or new_traceparent(), takes_part=bool(span))
    return to_pod(request.raw_headers, body_bytes, origin, added, secrets)


def new_traceparent() -> bytes:
    """Return a new trace context that asks for no recording. Source: https://www.w3.org/TR/trace-context/."""
    return b"00-%032x-%016x-00" % (random.getrandbits(128) | 1, random.getrandbits(64) | 1)


def check_head(request: web.BaseRequest, most_bytes: int) -> None:
    """Raise RefusalError for what can be refused before the body comes."""
    length = request.headers.get("Content-Length")
    if length is not None and int(length) > most_bytes:
        raise RefusalError(413, f"the body must be at most {most_bytes} bytes, got {length}", close=True)
    coding = request.headers.get("Transfer-Encoding")
    if coding is not None:
        if request.version < (1, 1):
            raise RefusalError(400, f"Transfer-Encoding needs HTTP/1.1, got {coding!r} with HTTP/1.0", close=True)
        if coding.strip().lower() != "chunked":
            raise RefusalError(501, f"Transfer-Encoding must be chunked, got {coding!r}", close=True)
    expected = request.headers.get("Expect")
    if expected is not None and expected.lower() != "100-continue":
        raise RefusalError(417, f"Expect must be 100-continue, got {expected!r}", close=True)


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """Largest size of a body, longest time without a byte of it, and longest time until all of it is there."""

    most_bytes: int
    pause_s: float
    whole_s: float


async def read_body(request: web.BaseRequest, limits: BodyLimits, count: Count) -> bytes:
    """Return the body.

    count: is told each change of the bytes on their way; returns False above the
    bound of all bodies together. Raises RefusalError.
    """
    content = request.content
    if content.is_eof():
        body = content.read_nowait()
        if len(body) > limits.most_bytes:
            raise _too_large(limits.most_bytes)
        return body
    if "Expect" in request.headers and request.version >= (1, 1) and request.transport:
        request.transport.write(CONTINUE)
    reader = _BodyReader(content, limits, count)
    try:
        return await reader.read()
    except TimeoutError as error:
        raise RefusalError(408, f"{reader.broken_rule()}, got {reader.size_bytes} bytes so far", close=True) from error
    except web.RequestPayloadError as error:
        raise RefusalError(400, f"the body cannot be read: {' '.join(str(error).split())}", close=True) from error
    finally:
        count(-reader.size_bytes)


class _BodyReader:
    """Reads a body that comes in pieces."""

    def __init__(self, content: StreamReader, limits: BodyLimits, count: Count) -> None:
        self._content, self._limits, self._count = content, limits, count
        self._ends_s = asyncio.get_running_loop().time() + limits.whole_s
        self.size_bytes = 0

    async def read(self) -> bytes:
        chunks: list[bytes] = []
        # without the first half, each piece would cost a timer, also one that has come already
        while chunk := self._content.read_nowait() or await self._next():
            chunks.append(chunk)
            self.size_bytes += len(chunk)
            if not self._count(len(chunk)):
                raise _too_many(close=True)
            if self.size_bytes > self._limits.most_bytes:
                raise _too_large(self._limits.most_bytes)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def _next(self) -> bytes:
        async with asyncio.timeout(min(self._limits.pause_s, self._left_s())):
            return await self._content.readany()

    def _left_s(self) -> float:
        return self._ends_s - asyncio.get_running_loop().time()

    def broken_rule(self) -> str:
        """Return which of the two times is over, as a rule."""
        if self._left_s() <= 0:
            return f"the body must be there within --request-timeout-s {self._limits.whole_s:g}"
        return f"the body must not pause for more than --body-timeout-s {self._limits.pause_s:g}"


@contextmanager
def counted(body: bytes, count: Count) -> Iterator[None]:
    """Count a body that has been read and is not in the buffer, as long as its request waits for something else.

    count: see read_body(). Raises RefusalError.
    """
    try:
        if not count(len(body)):
            raise _too_many()
        yield
    finally:
        count(-len(body))


def _too_many(close: bool = False) -> RefusalError:
    text = "the bodies that wait must be at most --queue-bytes together, got more"
    return RefusalError(503, text, ((b"Retry-After", b"1"),), close)


def _too_large(most_bytes: int) -> RefusalError:
    return RefusalError(413, f"the body must be at most {most_bytes} bytes, got more", close=True)


def check_coding(headers: web.BaseRequest, body: bytes) -> None:
    """Refuse a body that is not what its Content-Encoding says: no pod can read it, and it needs not wake one."""
    coding = headers.headers.get("Content-Encoding", "").strip().lower()
    if coding in ("gzip", "x-gzip") and body[:2] != b"\x1f\x8b":
        raise RefusalError(400, f"the body must begin like gzip, as Content-Encoding says, got {body[:2]!r}")
