"""HTTP/1.1 at the level of bytes, for stub pods and load: cheap, and strict about what a peer sends.

A client of this module reports a connection that ends before its answer is complete, so that a test can tell a short
or missing answer from a whole one. Only what the tests send is understood: bodies with a Content-Length.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

BLANK_LINE = b"\r\n\r\n"


class WireError(Exception):
    """A connection that ended, or sent what is no HTTP, before the message was complete."""


@dataclass(frozen=True, slots=True)
class Message:
    """A request or an answer. start: its first line. headers: names in lower case, of repeated ones the last."""

    start: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def status(self) -> int:
        return int(self.start.split(" ", 2)[1])


class MessageReader:
    """Cuts the bytes of a connection into messages."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._head: tuple[str, dict[str, str], int] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether no part of a further message has come."""
        return not self._bytes and self._head is None

    def add(self, data: bytes) -> Message | None:
        """Return the next message once it is complete. Raise WireError if the bytes are no HTTP."""
        self._bytes += data
        if self._head is None:
            end = self._bytes.find(BLANK_LINE)
            if end < 0:
                if len(self._bytes) > 65536:
                    raise WireError(f"no HTTP message: {bytes(self._bytes[:60])!r}")
                return None
            self._head = parse_head(bytes(self._bytes[:end]))
            del self._bytes[: end + 4]
        start, headers, length = self._head
        if len(self._bytes) < length:
            return None
        body = bytes(self._bytes[:length])
        del self._bytes[:length]
        self._head = None
        return Message(start, headers, body)


def parse_head(head: bytes) -> tuple[str, dict[str, str], int]:
    """Return first line, headers and length of the body. Raise WireError if the bytes are no HTTP."""
    start, *lines = head.decode("latin-1").split("\r\n")
    if "HTTP/1." not in start:
        raise WireError(f"no HTTP message: {start[:60]!r}")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if "transfer-encoding" in headers:
        raise WireError(f"Transfer-Encoding is not understood here: {headers['transfer-encoding']}")
    return start, headers, int(headers.get("content-length", "0"))


class Connection(asyncio.Protocol):
    """A client's connection: one request at a time."""

    def __init__(self) -> None:
        self._reader = MessageReader()
        self._answer: asyncio.Future[Message] | None = None
        self.is_open = False
        self.used = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's transport is not a subclass
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        """Resolve the answer once it is complete."""
        try:
            message = self._reader.add(data)
            while message is not None and message.status == 100:
                message = self._reader.add(b"")
        except WireError as error:
            self._end(error)
            self.transport.abort()
            return
        if message is not None:
            if message.headers.get("connection", "").lower() == "close":
                self.close()
            self._resolve(message)

    def connection_lost(self, error: Exception | None) -> None:
        """Fail the answer that is awaited."""
        self.is_open = False
        part = "before its answer began" if self._reader.is_empty else "within its answer"
        self._end(WireError(f"the connection ended {part}: {error or 'closed by the server'}"))

    def begin(self, request: bytes) -> asyncio.Future[Message]:
        """Send a request; the future fails with WireError if the connection ends first."""
        self._answer = asyncio.get_running_loop().create_future()
        self.used += 1
        self.transport.write(request)
        return self._answer

    def close(self) -> None:
        """Close it; an answer that is awaited fails."""
        self.is_open = False
        self.transport.close()

    def _resolve(self, message: Message) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(message)

    def _end(self, error: WireError) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)


class Pool:
    """Kept-alive connections to one server."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self.port, self._host = port, host
        self._idle: list[Connection] = []

    async def ask(self, request: bytes) -> Message:
        """Send a request on a free connection and return its answer; cancelling it hangs up.

        Raise WireError or OSError; never send anything twice.
        """
        connection = await self.connection()
        try:
            answer = await connection.begin(request)
        except BaseException:
            connection.close()
            raise
        if connection.is_open:
            self._idle.append(connection)
        return answer

    async def connection(self) -> Connection:
        """Return a connection that no request uses."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
        _, connection = await asyncio.get_running_loop().create_connection(Connection, self._host, self.port)
        return connection

    def close(self) -> None:
        """Close the idle connections."""
        while self._idle:
            self._idle.pop().close()


class Serving(asyncio.Protocol):
    """A server's connection: calls `handle` with itself and each request, which may answer whenever it likes."""

    def __init__(self, handle: Callable[["Serving", Message], None]) -> None:
        self._handle, self._reader = handle, MessageReader()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's transport is not a subclass

    def data_received(self, data: bytes) -> None:
        """Handle a request once it is complete; close the connection if the bytes are no HTTP."""
        with suppress(WireError):
            message = self._reader.add(data)
            if message is not None:
                self._handle(self, message)
            return
        self.transport.close()

    def send(self, message: bytes) -> None:
        """Send an answer, if the client is still there."""
        if not self.transport.is_closing():
            self.transport.write(message)


def request(method: str, target: str, body: bytes = b"", **headers: str) -> bytes:
    """Return the bytes of a request; a header's name has _ for -."""
    lines = [f"{method} {target} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + BLANK_LINE + body


def answer(status: int, body: bytes, **headers: str) -> bytes:
    """Return the bytes of an answer of JSON; a header's name has _ for -."""
    lines = [f"HTTP/1.1 {status} Stub", "Content-Type: application/json", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + BLANK_LINE + body
