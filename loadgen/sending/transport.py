"""Sends single requests once and records their responses; every failure is recorded as an outcome."""

import asyncio
import heapq
import math
import resource
import ssl
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple
from urllib.parse import quote, urljoin, urlsplit

import aiohttp
from yarl import URL

from loadgen.records import Failure, Record, printable
from loadgen.sending.answers import MOST_KEPT_BYTES, Answer, AnswerReader, Clock, Reader
from loadgen.sending.failures import kind_of, short
from loadgen.sending.protocols import PROTOCOLS, Body, Protocol, read_response
from loadgen.trace_context import TraceContext

# Number of pieces in which a body is sent slowly.
SLOW_PIECES = 10
# Header lines of a response as long as Go's client takes them; aiohttp's own limits are 8190 bytes and 128 lines.
MOST_HEADER_BYTES, MOST_HEADER_LINES = 2**20, 100_000


@dataclass(frozen=True, slots=True)
class Target:
    """Where and how requests are sent.

    timeout_s: from the send to the last byte. cacert: the only trusted certificates. insecure: accept any certificate.
    poll_s: time between two polls for a result (protocol async). slow_send_s: time over which each body is sent.
    most_kept_bytes: responses kept until the run is over. trace_share: share of the requests that ask to be traced;
    with 0, requests carry no trace context.
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
    most_kept_bytes: int = MOST_KEPT_BYTES
    trace_share: float = 0.0


def request_url(text: str) -> URL:
    """Return a URL that is sent as typed: `%7E` stays `%7E`, so that a signed URL keeps its signature.

    Only what HTTP cannot carry is encoded: other characters than those of ASCII, and blanks. Raises ValueError.
    """
    parts = urlsplit(text)
    host = parts.netloc if parts.netloc.isascii() else URL(f"{parts.scheme}://{parts.netloc}").raw_authority
    typed = parts._replace(netloc=host, fragment="").geturl()
    return URL(quote(typed, safe="".join(map(chr, range(33, 127)))), encoded=True)


def tls(target: Target) -> ssl.SSLContext:
    """Return the TLS settings for a target; raise OSError or ssl.SSLError if cacert cannot be used."""
    context = ssl.create_default_context(cafile=target.cacert)
    if target.insecure:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


class Transport:
    """Sends bodies to one target over persistent connections.

    Their number has no limit, because an open loop must not wait for a free connection.
    """

    def __init__(self, target: Target, clock: Clock, read: Reader | None = None) -> None:
        """Prepare the transport.

        clock: seconds since the start of the schedule. read: handles responses instead of the protocol.
        """
        self._target, self._clock = target, clock
        self._protocol: Protocol = PROTOCOLS[target.protocol]
        self._url = request_url(target.url)
        # a user's own hook gets each response as it arrives
        self._answers = AnswerReader(read or self._read_prediction, clock, None if read else target.most_kept_bytes)
        self._session: aiohttp.ClientSession | None = None
        self._free_workers: list[int] = []
        self._workers = 0

    async def __aenter__(self) -> "Transport":
        """Create the connection pool."""
        _allow_many_files()
        context = tls(self._target) if urlsplit(self._target.url).scheme == "https" else True
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=context),
            # without the threshold, a time-out of 5 s and more would be rounded up to a whole second of the clock
            timeout=aiohttp.ClientTimeout(total=self._target.timeout_s, ceil_threshold=math.inf),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("Accept-Encoding",),
            auto_decompress=False,
            max_line_size=MOST_HEADER_BYTES,
            max_field_size=MOST_HEADER_BYTES,
            max_headers=MOST_HEADER_LINES,
            trace_configs=[_send_time_hooks(self._clock)],
        )
        # aiohttp would send a GET or PUT again whose connection is closed: a request is sent once
        self._session._retry_connection = False
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""
        if self._session:
            await self._session.close()

    async def send(self, body: Body, record: Record) -> None:
        """Send the body now and fill in the record."""
        record.worker, record.request_id = self._take_worker(), _name(record, self._target.trace_share)
        try:
            answer = await self._exchange(body, record)
            if answer is not None:
                self._answers.handle(body, answer, record)
        except asyncio.CancelledError:
            record.failure, record.error, record.status = Failure.INTERRUPTED, "interrupted", 0
            raise
        except Exception as error:  # noqa: BLE001  whatever a server makes the library raise fails one request, not the run
            self._fail(record, error)
        finally:
            record.ended_s = self._clock()
            heapq.heappush(self._free_workers, record.worker)

    async def read_kept(self, stop: asyncio.Event) -> list[Record]:
        """Read the responses that were too large to be read during the run; return their records."""
        return await self._answers.read_kept(stop)

    async def _exchange(self, body: Body, record: Record) -> Answer | None:
        """Return the response, or the polled result; None if the record already has the failure."""
        ids = dict.fromkeys(body.id_headers, record.request_id)
        headers = {**self._protocol.headers, **body.headers, **ids, **self._target.headers}
        if record.traceparent:
            headers["traceparent"] = record.traceparent
        data = body.content
        if self._target.slow_send_s:
            headers["Content-Length"], data = str(len(body.content)), self._slowly(body.content)
        answer = await self._request(self._target.method, self._url, headers, data, record)
        if self._protocol.polls and record.status == 202:
            return await self._poll(answer.location, record)
        record.done_s = self._clock()
        return answer

    async def _request(self, method: str, url: URL, headers: Mapping[str, str], data: object, record: Record) -> Answer:
        """Send a request and return its complete response."""
        if self._session is None:
            raise RuntimeError("a transport must be used inside `async with`")
        context = _Sending(record, data is not None)
        sending = self._session.request(
            method, url, data=data, headers=headers, allow_redirects=False, trace_request_ctx=context
        )
        async with sending as response:
            record.first_byte_s, record.status = self._clock(), response.status
            content = await response.read()
            record.bytes_in += len(content)
            record.pod = printable(response.headers.get("X-Pod", record.pod))
            return Answer(
                response.headers.get("Location"), ",".join(response.headers.getall("Content-Encoding", ())), content
            )

    async def _poll(self, location: str | None, record: Record) -> Answer | None:
        """Poll until the result is there; use only the path of Location, so that no other host receives the API key.

        Source: RFC 7240 (respond-async), RFC 9110 (202; 303 leads to the result).
        """
        headers = {**self._target.headers, "X-Request-Id": record.request_id}
        async with asyncio.timeout(self._target.timeout_s + (record.sent_s or 0.0) - self._clock()):
            while record.status in (202, 303) and location:
                if record.status == 202:
                    await asyncio.sleep(self._target.poll_s)
                parts = urlsplit(urljoin(self._target.url, location))
                url = urljoin(self._target.url, parts._replace(scheme="", netloc="", fragment="").geturl())
                answer = await self._request("GET", request_url(url), headers, None, record)
                location = answer.location or (location if record.status == 202 else None)
        if record.status in (202, 303):
            record.failure, record.error = Failure.PROTOCOL, f"status {record.status} without a Location"
            return None
        record.done_s = self._clock()
        return answer

    async def _slowly(self, content: bytes) -> AsyncIterator[bytes]:
        """Yield the content in pieces with pauses."""
        piece_bytes = max(1, -(-len(content) // SLOW_PIECES))
        for start in range(0, len(content), piece_bytes):
            yield content[start : start + piece_bytes]
            await asyncio.sleep(self._target.slow_send_s / SLOW_PIECES)

    def _read_prediction(self, _: Body, content: bytes, record: Record) -> None:
        read_response(self._protocol, content, record)

    def _fail(self, record: Record, error: Exception) -> None:
        """Record why there was no complete response."""
        began, record.status = record.status, 0
        record.failure, record.error = kind_of(error, record.sent_s is not None), short(error)
        if record.failure is Failure.TIMEOUT:
            record.error = f"no response within {self._target.timeout_s:g} s"
        if record.failure is Failure.PROTOCOL and began:
            record.error = f"status {began}, then {record.error}"
        if record.failure is Failure.LOCAL:
            record.sent_s = None  # the request never left this machine

    def _take_worker(self) -> int:
        """Return the lowest free slot, so that the highest is this process's largest number of requests in flight."""
        if self._free_workers:
            return heapq.heappop(self._free_workers)
        self._workers += 1
        return self._workers


def _name(record: Record, trace_share: float) -> str:
    """Return a new id for a request; with traces it is how its trace id begins."""
    number = uuid.uuid4()
    if trace_share:
        # bits of a random UUID that are neither its version nor its variant
        sampled = (number.int & 0xFFFFFFFF) < trace_share * 2**32
        record.traceparent = TraceContext(number.int, number.int & 2**64 - 1, sampled).traceparent()
    return number.hex[:8]


def _send_time_hooks(clock: Clock) -> aiohttp.TraceConfig:
    """Return hooks that record when a request, or the connection that it needs first, is handed to the kernel.

    aiohttp writes a body in a later turn of the event loop than the call; a time taken at the call would hide that.
    """

    async def connecting(_: object, context: SimpleNamespace, __: object) -> None:
        _record_send(context.trace_request_ctx.record, clock)

    async def headers_sent(_: object, context: SimpleNamespace, __: object) -> None:
        if not context.trace_request_ctx.has_body:
            _record_send(context.trace_request_ctx.record, clock)

    async def chunk_sent(_: object, context: SimpleNamespace, sent: aiohttp.TraceRequestChunkSentParams) -> None:
        _record_send(context.trace_request_ctx.record, clock)
        context.trace_request_ctx.record.bytes_out += len(sent.chunk)

    config = aiohttp.TraceConfig()
    config.on_connection_create_start.append(connecting)
    config.on_request_headers_sent.append(headers_sent)
    config.on_request_chunk_sent.append(chunk_sent)
    return config


class _Sending(NamedTuple):
    """The context that aiohttp passes to the hooks."""

    record: Record
    has_body: bool


def _record_send(record: Record, clock: Clock) -> None:
    if record.sent_s is None:
        record.sent_s = clock()


def _allow_many_files() -> None:
    """Raise the limit on open files to its maximum: while a server stalls, every request needs its own connection."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
