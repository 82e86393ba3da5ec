"""Sends requests to pods over kept connections, byte for byte, and reads their answers.

aiohttp's ClientSession adds fields of its own, encodes header values again and keeps cookies; its parser of responses
does none of this, and is used here alone.
"""

import asyncio
import ssl
from collections import deque
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from aiohttp import ClientConnectionError, ClientError
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import StreamReader

from dispatcher.headers import RawHeaders, head

HEADER_LIMIT_BYTES = 65536
HEADERS_LIMIT = 1000
IDLE_S = 60.0
CONNECT_S = 10.0


class UnreachedError(Exception):
    """No connection to the backend could be made."""


class BrokenError(Exception):
    """The backend broke off, or what it sent is no HTTP response.

    unanswered: the connection had been kept from an earlier request and was closed before any byte of the answer.
    """

    def __init__(self, text: str, unanswered: bool = False) -> None:
        super().__init__(text)
        self.unanswered = unanswered


@dataclass(frozen=True, slots=True)
class PodAnswer:
    """The answer of a backend; rest streams what is left of a body that was not read whole, else None."""

    status: int
    reason: str
    headers: RawHeaders
    body: bytes
    rest: "BodyRest | None" = None


@dataclass(slots=True)
class _Address:
    """Where a backend is: its URL's path as prefix of each target, and idle connections, newest last."""

    host: str
    port: int
    prefix: str
    tls: ssl.SSLContext | None
    authority: bytes
    idle: deque[tuple[float, ResponseHandler]] = field(default_factory=deque)


class BodyRest:
    """The part of an answer's body that was not read yet; the backend sends it only as fast as chunk() is called."""

    def __init__(self, payload: StreamReader, connection: ResponseHandler) -> None:
        self._payload, self._connection = payload, connection
        self._closed = asyncio.Event()

    async def chunk(self) -> bytes:
        """Return the next bytes, b"" at the end. Raises BrokenError if the backend broke off, or after close()."""
        if self._closed.is_set():
            raise BrokenError("the answer is no longer read")
        try:
            return await self._payload.readany()
        except (ClientError, OSError, HttpProcessingError) as error:
            raise BrokenError(_text(error)) from error

    def close(self) -> None:
        """End the reading and close the connection, which is not used again."""
        if not self._closed.is_set():
            self._closed.set()
            self._connection.abort()

    async def closed(self) -> None:
        """Wait for close()."""
        await self._closed.wait()


class Exchange:
    """Connections to all backends. One connection carries one request at a time."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._addresses: dict[str, _Address] = {}

    def authority(self, url: str) -> bytes:
        """Return the value of Host for a backend."""
        return self._address(url).authority

    async def send(
        self, url: str, start: tuple[str, str], headers: RawHeaders, body: bytes, whole_bytes: int
    ) -> PodAnswer:
        """Send one request and return the answer; a body above whole_bytes is not read to its end.

        start: method and target. Raises UnreachedError or BrokenError.
        """
        backend = self._address(url)
        while True:
            connection, kept = await self._connection(backend)
            try:
                return await self._exchange(backend, connection, start, headers, body, whole_bytes)
            except BrokenError as error:
                # The pod closed an idle connection at the moment of sending: it did not begin with this request.
                if not (kept and error.unanswered):
                    raise

    def close(self) -> None:
        """Close the idle connections."""
        for backend in self._addresses.values():
            while backend.idle:
                backend.idle.pop()[1].close()

    def _address(self, url: str) -> _Address:
        backend = self._addresses.get(url)
        if backend is None:
            parts = urlsplit(url)
            secure = parts.scheme == "https"
            port = parts.port or (443 if secure else 80)
            authority = parts.netloc.rpartition("@")[2].encode()
            tls = (self._tls or ssl.create_default_context()) if secure else None
            backend = _Address(parts.hostname or "", port, parts.path.rstrip("/"), tls, authority)
            self._forget_unused()
            self._addresses[url] = backend
        return backend

    def _forget_unused(self) -> None:
        """Keep the table small: pods of this machine come and go with new ports."""
        if len(self._addresses) >= 1000:
            self.close()
            self._addresses.clear()

    async def _connection(self, backend: _Address) -> tuple[ResponseHandler, bool]:
        """Return a connection, and whether it was kept from an earlier request."""
        oldest_s = self._loop.time() - IDLE_S
        while backend.idle:
            since_s, connection = backend.idle.pop()
            if since_s >= oldest_s and connection.is_connected() and not connection.should_close:
                return connection, True
            connection.close()
        try:
            async with asyncio.timeout(CONNECT_S):
                _, connection = await self._loop.create_connection(
                    lambda: ResponseHandler(self._loop), backend.host, backend.port, ssl=backend.tls
                )
        except (OSError, ssl.SSLError, UnicodeError) as error:
            raise UnreachedError(_text(error)) from error
        return connection, False

    async def _exchange(
        self, backend: _Address, connection: ResponseHandler, start: tuple[str, str], headers: RawHeaders, body: bytes,
        whole_bytes: int,
    ) -> PodAnswer:  # fmt: skip
        method, target = start
        finished = False
        try:
            connection.set_response_params(
                skip_payload=method == "HEAD", read_until_eof=True, auto_decompress=False,
                max_line_size=HEADER_LIMIT_BYTES, max_field_size=HEADER_LIMIT_BYTES, max_headers=HEADERS_LIMIT,
            )  # fmt: skip
            target_bytes = f"{backend.prefix}{target}".encode("utf-8", "surrogateescape")
            _write(connection, head(b"%s %s HTTP/1.1" % (method.encode(), target_bytes), headers), body)
            answer = await _read(connection, whole_bytes)
            finished = True
        except (ClientError, OSError, HttpProcessingError) as error:
            unanswered = isinstance(error, ClientConnectionError)
            raise BrokenError(_text(error), unanswered) from error
        finally:
            if not finished:
                connection.close()
        if answer.rest is None:
            self._keep(backend, connection)
        return answer

    def _keep(self, backend: _Address, connection: ResponseHandler) -> None:
        if connection.should_close:
            connection.close()
        else:
            backend.idle.append((self._loop.time(), connection))


def _write(connection: ResponseHandler, start: bytes, body: bytes) -> None:
    if connection.transport is None:
        raise ClientConnectionError("the connection is closed")
    if len(body) < 4096:  # one small copy is cheaper than two system calls
        connection.transport.write(start + body)
    else:
        connection.transport.writelines((start, body))


async def _read(connection: ResponseHandler, whole_bytes: int) -> PodAnswer:
    """Read an answer, past interim ones such as 103."""
    message, payload = await connection.read()
    while 100 <= message.code < 200:
        if message.code == 101:
            raise ClientError("switched protocols, which was not asked for")
        message, payload = await connection.read()
    chunks: list[bytes] = []
    size_bytes = 0
    while chunk := await payload.readany():
        chunks.append(chunk)
        size_bytes += len(chunk)
        if size_bytes > whole_bytes:
            rest = BodyRest(payload, connection)
            return PodAnswer(message.code, message.reason, message.raw_headers, b"".join(chunks), rest)
    body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
    return PodAnswer(message.code, message.reason, message.raw_headers, body)


def _text(error: BaseException) -> str:
    return " ".join((str(error) or type(error).__name__).split())
