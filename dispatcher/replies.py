"""Writes responses to clients: raw header fields, byte for byte, and nothing of a library's defaults."""

import asyncio
import json
import random
import socket
import struct
from collections.abc import Iterable
from email.utils import formatdate
from http import HTTPStatus

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMethod, LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestHandler

from dispatcher.exchange import BodyRest, BrokenError
from dispatcher.headers import first, head

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
# A client that closed its sending half is asked after this time whether it still receives.
HALF_CLOSED_S = 0.5
# Memory for a head that is not complete, and for all of them; 1,000 fields within their own limit would be 64 MB.
HEAD_LIMIT_BYTES = 512 * 1024
HEADS_LIMIT_BYTES = 64 * 1024 * 1024
FIELD_BYTES = 400  # of Python objects for each field; 373 were measured for short ones
HEAD_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
PHRASES = {status.value: status.phrase for status in HTTPStatus}


class RefusalError(Exception):
    """A request that the dispatcher itself refuses: status, one sentence with rule and value, and header fields.

    close: the connection cannot carry another request, because the body was not read.
    """

    def __init__(
        self, status: int, text: str, headers: Iterable[tuple[bytes, bytes]] = (), close: bool = False
    ) -> None:
        super().__init__(text)
        self.status, self.text, self.headers, self.close = status, text, tuple(headers), close


class ClientReply(web.StreamResponse):
    """A response whose fields and body go out as they are.

    hangs_up: close the connection without waiting for the rest of the request.
    Content-Length is set here, except for answers to HEAD and of status 304, which keep that of the pod.
    """

    def __init__(
        self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes = b"", phrase: str = "",
        rest: BodyRest | None = None,
    ) -> None:  # fmt: skip
        super().__init__(status=status, reason=phrase or PHRASES.get(status, ""))
        self.fields = list(headers)
        self.content, self.rest = body, rest
        self.hangs_up = False

    @property
    def prepared(self) -> bool:
        """Tell aiohttp that nothing is left to be prepared."""
        return False

    async def prepare(self, request: web.BaseRequest) -> None:
        """Write everything. If the pod breaks off within a long answer, the client's connection is cut."""
        try:
            await self._send(request)
        finally:
            if self.rest:
                self.rest.close()

    async def _send(self, request: web.BaseRequest) -> None:
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the client is gone")
        bodiless = request.method == "HEAD" or self.status in (204, 304)
        chunked = self._set_length(bodiless, request.version >= (1, 1))
        self._set_connection(request)
        start = head(b"HTTP/1.1 %d %s" % (self.status, self.reason.encode("utf-8", "surrogateescape")), self.fields)
        body = b"" if bodiless else _chunk(self.content) if chunked else self.content
        if len(body) < 4096:
            transport.write(start + body)
        else:
            transport.writelines((start, body))
        if self.rest and not bodiless:
            await self._stream(request, self.rest, chunked)
        if self.hangs_up:
            transport.close()

    async def write_eof(self, data: bytes = b"") -> None:
        """Wait until the client has taken most of the response."""
        protocol = self._request_protocol
        if protocol is not None and protocol.writing_paused:
            await protocol._drain_helper()

    def _set_length(self, bodiless: bool, chunks_understood: bool) -> bool:
        """Set Content-Length; return whether the body goes out in chunks, because its length is not known."""
        if bodiless:
            if self.status == 204:
                self._drop(b"content-length")
            return False
        if self.rest is None:
            self._drop(b"content-length")
            self.fields.append((b"Content-Length", b"%d" % len(self.content)))
        elif first(self.fields, b"content-length") is None:
            if chunks_understood:
                self.fields.append((b"Transfer-Encoding", b"chunked"))
                return True
            self.force_close()  # the end of the connection is the end of the body
        return False

    def _drop(self, lowered: bytes) -> None:
        self.fields = [field for field in self.fields if field[0].lower() != lowered]

    def _set_connection(self, request: web.BaseRequest) -> None:
        self._request_protocol = request.protocol
        half_closed = isinstance(request.protocol, ClientConnection) and request.protocol.ends_after_this
        keep = self._keep_alive is not False and request.keep_alive and not half_closed
        self._keep_alive = keep
        if not keep:
            self.fields.append((b"Connection", b"close"))
        elif request.version < (1, 1):
            self.fields.append((b"Connection", b"keep-alive"))

    async def _stream(self, request: web.BaseRequest, rest: BodyRest, chunked: bool) -> None:
        transport, protocol = request.transport, request.protocol
        try:
            while data := await rest.chunk():
                await protocol._drain_helper()
                if transport is None or transport.is_closing():
                    raise ConnectionResetError("the client is gone")
                transport.write(_chunk(data) if chunked else data)
        except BrokenError as error:
            if transport is not None:
                _reset(transport)
            raise ConnectionResetError(str(error)) from error
        if chunked and transport is not None:
            transport.write(b"0\r\n\r\n")

    _request_protocol: RequestHandler | None = None


def _reset(transport: asyncio.Transport) -> None:
    """End a connection with a reset: an ordinary end could be taken for the end of the body."""
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data) if data else b""


def new_id() -> bytes:
    """Return a new request id: unique, but not secret."""
    return b"%032x" % random.getrandbits(128)


def json_reply(status: int, body: object, headers: Iterable[tuple[bytes, bytes]] = ()) -> ClientReply:
    """Return a response of the dispatcher itself."""
    fields = [
        (b"Content-Type", b"application/json; charset=utf-8"),
        (b"Date", formatdate(usegmt=True).encode()),
        *headers,
    ]
    return ClientReply(status, fields, json.dumps(body).encode())


class ClientConnection(RequestHandler):
    """A client's connection: it answers clients that closed their sending half, and renders parser errors as JSON.

    It also bounds what aiohttp does not: the size of a whole head, and the number of connections.
    """

    __slots__ = ("_body", "_half_closed", "_head_bytes", "_probe")

    def __init__(self, manager: web.Server, *, loop: asyncio.AbstractEventLoop, **settings: object) -> None:
        super().__init__(manager, loop=loop, **settings)  # type: ignore[arg-type]
        self._half_closed = False
        self._probe: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._body: StreamReader = EMPTY_PAYLOAD

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, or close the connection at once if there are too many."""
        super().connection_made(transport)
        if isinstance(self._manager, ClientServer) and self._manager.is_full:
            self.force_close()

    def data_received(self, data: bytes) -> None:
        """Parse what came; end the connection if the head of a request is too large."""
        in_head, requests = self._body.is_eof(), self._request_count
        super().data_received(data)
        if self._request_count != requests:
            self._body = self._messages[-1][1]
            if self._head_bytes:
                self._count_head(-self._head_bytes)
        elif in_head and isinstance(self._manager, ClientServer):
            self._count_head(len(data) + FIELD_BYTES * data.count(b"\n"))
            if self._head_bytes > HEAD_LIMIT_BYTES or self._manager.heads_bytes > HEADS_LIMIT_BYTES:
                self._refuse_head()

    def _count_head(self, change_bytes: int) -> None:
        self._head_bytes += change_bytes
        if isinstance(self._manager, ClientServer):
            self._manager.heads_bytes += change_bytes

    def _refuse_head(self) -> None:
        if self.transport is not None and self._current_request is None:
            self.transport.write(HEAD_TOO_LARGE)
        self.force_close()

    @property
    def ends_after_this(self) -> bool:
        """Whether no request can follow the current one."""
        return self._half_closed and not self._messages

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """Keep the connection open if an accepted request still needs its answer; TLS has no half-closed ones."""
        if self.ssl_context is not None:
            return None
        idle = self._request_count == 0 or (self._waiter is not None and not self._waiter.done())
        request = self._current_request
        cut = request is not None and not request.content.is_eof()
        if (idle or cut) and not self._messages:
            return None
        self._half_closed = True
        self._probe = self._loop.call_later(HALF_CLOSED_S, self._probe_client)
        return True

    def _probe_client(self) -> None:
        """Find out whether the client still receives.

        A client that closed its sending half and one that is gone look the same until something is sent: a gone one
        answers with a reset. An interim response may always be sent to HTTP/1.1. Source: RFC 9110, section 15.2.
        """
        request = self._current_request
        if request is not None and self.transport is not None and request.version >= (1, 1) and not self._paused:
            self.transport.write(CONTINUE)
        self._probe = self._loop.call_later(0.1, self._look_for_reset, 0.1)

    def _look_for_reset(self, waited_s: float) -> None:
        if self.transport is None or self.transport.is_closing():
            return
        if self.transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.transport.abort()
        else:
            again_s = min(5.0, 2 * waited_s)
            self._probe = self._loop.call_later(again_s, self._look_for_reset, again_s)

    def connection_lost(self, exc: BaseException | None) -> None:
        """End the probing."""
        if self._probe is not None:
            self._probe.cancel()
        self._count_head(-self._head_bytes)
        super().connection_lost(exc)

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Render an error of aiohttp's parser as JSON and close the connection."""
        if status >= 500:
            self.log_exception("error in %s %s", request.method, request.path, exc_info=exc)
        if isinstance(exc, LineTooLong):
            status = 431
        text = "not HTTP" if isinstance(exc, BadHttpMethod) else " ".join((message or str(exc)).split())
        reply = json_reply(status, {"error": f"malformed request: {text}"}, ((b"X-Request-Id", new_id()),))
        reply.force_close()
        return reply


class ClientServer(web.Server):
    """Makes a ClientConnection for each connection, up to most_connections at once.

    heads_bytes: memory of the heads that are not complete.
    """

    most_connections = 1 << 62
    heads_bytes = 0

    @property
    def is_full(self) -> bool:
        """Whether there are more connections than allowed."""
        return len(self._connections) > self.most_connections

    @property
    def at_work(self) -> bool:
        """Whether a request is handled or its response written."""
        return any(connection._request_in_progress for connection in self.connections)

    def unsent_bytes(self) -> int:
        """Return the bytes of responses that the operating system has not taken yet."""
        transports = [connection.transport for connection in self.connections]
        return sum(transport.get_write_buffer_size() for transport in transports if transport is not None)

    def __call__(self) -> RequestHandler:
        """Return the protocol of a new connection."""
        return ClientConnection(self, loop=self._loop, **self._kwargs)
