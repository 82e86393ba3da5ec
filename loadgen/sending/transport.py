"""Sends one request and says what came back; every failure is an outcome."""

import asyncio
import errno
import heapq
import resource
import ssl
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

import aiohttp

from loadgen.records import Failure, Record
from loadgen.sending.protocols import PROTOCOLS, Body, Protocol, read_answer

Clock = Callable[[], float]
# Fills a record from a whole answer, whatever its status; the record has the status.
Reader = Callable[[Body, bytes, Record], None]
# A body that is sent slowly goes out in so many pieces.
SLOW_PIECES = 10
# What this machine, not the server, is short of: files, ports, memory for sockets.
OWN_ERRORS = {errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM}


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go, and how.

    timeout_s: from the send to the last byte. cacert: trust these certificates only; insecure: any. poll_s: time
    between two questions for a result (protocol async). slow_send_s: each body is spread over so long.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float = 30.0
    protocol: str = "multipart"
    method: str = "POST"
    cacert: Path | None = None
    insecure: bool = False
    poll_s: float = 0.1
    slow_send_s: float = 0.0


def tls(target: Target) -> ssl.SSLContext:
    """How its certificate is checked; raises OSError or ssl.SSLError if cacert cannot be used."""
    context = ssl.create_default_context(cafile=target.cacert)
    if target.insecure:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


class Transport:
    """Sends bodies to one target over kept connections, as many as are needed: an open loop never waits for one."""

    def __init__(self, target: Target, clock: Clock, read: Reader | None = None) -> None:
        """clock: seconds from the run's zero; read: in place of the protocol's own way."""
        self._target, self._clock = target, clock
        self._protocol: Protocol = PROTOCOLS[target.protocol]
        self._read = read or self._read_prediction
        self._session: aiohttp.ClientSession | None = None
        self._free_workers: list[int] = []
        self._workers = 0

    async def __aenter__(self) -> "Transport":
        """Make the connection pool."""
        _allow_many_files()
        context = tls(self._target) if urlsplit(self._target.url).scheme == "https" else True
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=context),
            timeout=aiohttp.ClientTimeout(total=self._target.timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("Accept-Encoding",),
            trace_configs=[_stamps(self._clock)],
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Drop the connections."""
        if self._session:
            await self._session.close()

    async def send(self, body: Body, record: Record) -> None:
        """Send it now and fill the record."""
        record.worker, record.request_id = self._take_worker(), uuid.uuid4().hex[:8]
        try:
            content = await self._exchange(body, record)
            if content is not None:
                self._read(body, content, record)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            self._fail(record, error)
        except asyncio.CancelledError:
            record.failure, record.error, record.status = Failure.INTERRUPTED, "interrupted", 0
            raise
        finally:
            record.ended_s = self._clock()
            heapq.heappush(self._free_workers, record.worker)

    async def _exchange(self, body: Body, record: Record) -> bytes | None:
        """The answer's content, of an asynchronous one the result's; None if the record already says why not."""
        ids = dict.fromkeys(body.id_headers, record.request_id)
        headers = {**self._protocol.headers, **body.headers, **ids, **self._target.headers}
        data = body.content
        if self._target.slow_send_s:
            headers["Content-Length"], data = str(len(body.content)), self._slowly(body.content)
        answered, content = await self._request(self._target.method, self._target.url, headers, data, record)
        if self._protocol.polls and record.status == 202:
            return await self._poll(answered.get("Location"), record)
        record.done_s = self._clock()
        return content

    async def _request(
        self, method: str, url: str, headers: Mapping[str, str], data: object, record: Record
    ) -> tuple[Mapping[str, str], bytes]:
        """One request and its whole answer: headers and content."""
        if self._session is None:
            raise RuntimeError("a transport sends only inside `async with`")
        context = _Sending(record, data is not None)
        sending = self._session.request(
            method, url, data=data, headers=headers, allow_redirects=False, trace_request_ctx=context
        )
        async with sending as answer:
            record.first_byte_s, record.status = self._clock(), answer.status
            content = await answer.read()
            record.bytes_in += len(content)
            record.pod = answer.headers.get("X-Pod", record.pod)
            return answer.headers, content

    async def _poll(self, location: str | None, record: Record) -> bytes | None:
        """Ask until the result is there; only the path of Location counts, so that keys go nowhere else.

        Source: RFC 7240 (respond-async), RFC 9110 (202; 303 leads to the result).
        """
        headers = {**self._target.headers, "X-Request-Id": record.request_id}
        async with asyncio.timeout(self._target.timeout_s + (record.sent_s or 0.0) - self._clock()):
            while record.status in (202, 303) and location:
                if record.status == 202:
                    await asyncio.sleep(self._target.poll_s)
                parts = urlsplit(urljoin(self._target.url, location))
                url = urljoin(self._target.url, parts._replace(scheme="", netloc="", fragment="").geturl())
                answered, content = await self._request("GET", url, headers, None, record)
                location = answered.get("Location", location if record.status == 202 else None)
        if record.status in (202, 303):
            record.failure, record.error = Failure.PROTOCOL, f"status {record.status} without a Location"
            return None
        record.done_s = self._clock()
        return content

    async def _slowly(self, content: bytes) -> AsyncIterator[bytes]:
        """In pieces, with pauses."""
        piece_bytes = max(1, -(-len(content) // SLOW_PIECES))
        for start in range(0, len(content), piece_bytes):
            yield content[start : start + piece_bytes]
            await asyncio.sleep(self._target.slow_send_s / SLOW_PIECES)

    def _read_prediction(self, _: Body, content: bytes, record: Record) -> None:
        read_answer(self._protocol, content, record)

    def _fail(self, record: Record, error: Exception) -> None:
        """Name the kind of failure; there was no whole answer."""
        record.status, record.failure, record.error = 0, _kind(error), _short(error)
        if record.failure is Failure.TIMEOUT:
            record.error = f"no answer within {self._target.timeout_s:g} s"
        if record.failure is Failure.LOCAL:
            record.sent_s = None  # it never left this machine

    def _take_worker(self) -> int:
        """The lowest free slot's number: the highest is as many as requests were ever under way at once."""
        if self._free_workers:
            return heapq.heappop(self._free_workers)
        self._workers += 1
        return self._workers


def _stamps(clock: Clock) -> aiohttp.TraceConfig:
    """Notes the moment at which a request goes to the kernel: its own bytes, or the connection that it needs first.

    aiohttp writes a body only in a later turn of the loop than the one it was asked in: a time taken there hides that.
    """

    async def connecting(_: object, context: SimpleNamespace, __: object) -> None:
        _stamp(context.trace_request_ctx.record, clock)

    async def heading(_: object, context: SimpleNamespace, __: object) -> None:
        if not context.trace_request_ctx.has_body:
            _stamp(context.trace_request_ctx.record, clock)

    async def writing(_: object, context: SimpleNamespace, sent: aiohttp.TraceRequestChunkSentParams) -> None:
        _stamp(context.trace_request_ctx.record, clock)
        context.trace_request_ctx.record.bytes_out += len(sent.chunk)

    config = aiohttp.TraceConfig()
    config.on_connection_create_start.append(connecting)
    config.on_request_headers_sent.append(heading)
    config.on_request_chunk_sent.append(writing)
    return config


class _Sending(NamedTuple):
    """What the stamps need to know of a request."""

    record: Record
    has_body: bool


def _stamp(record: Record, clock: Clock) -> None:
    if record.sent_s is None:
        record.sent_s = clock()


def _kind(error: Exception) -> Failure:
    """Which failure an exception of the client stands for."""
    if isinstance(error, OSError) and error.errno in OWN_ERRORS:
        return Failure.LOCAL
    kinds: tuple[tuple[type[Exception] | tuple[type[Exception], ...], Failure], ...] = (
        (TimeoutError, Failure.TIMEOUT),
        ((aiohttp.ClientSSLError, ssl.SSLError), Failure.TLS),
        (aiohttp.ClientConnectorError, Failure.CONNECT),
        ((aiohttp.ClientResponseError, aiohttp.InvalidURL), Failure.PROTOCOL),
    )
    return next((failure for kind, failure in kinds if isinstance(error, kind)), Failure.CLOSED)


def _short(error: Exception) -> str:
    """The kind and the text in one line, so that equal errors count as one."""
    return " ".join(f"{type(error).__name__}: {error}"[:160].split()) if str(error) else type(error).__name__


def _allow_many_files() -> None:
    """A stalled server costs a connection a request: take all the files that this process may have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
