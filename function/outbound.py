"""The only requests that a pod sends: fetching the image behind an event's link, and delivering an event to the sink.

Redirects are not followed, proxies are not used, and one timeout covers the whole exchange.
"""

import http.client
import re
import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from threading import Timer
from typing import Final
from urllib.parse import SplitResult, urlsplit

from function.config import bracketed
from function.protocols import RefusedError, shortened

SCHEMES: Final = {"http": 80, "https": 443}
RETRYABLE: Final = (408, 425, 429)  # request timeout, too early, too many requests


@dataclass(frozen=True, slots=True)
class Reply:
    """The remote server's response."""

    status: int
    body: bytes
    location: str | None


def fetch(link: str, hosts: tuple[str, ...], timeout_s: float, max_bytes: int) -> bytes:
    """Return the body behind a link whose host (with its port, unless it is the scheme's default) is one of hosts.

    Raise RefusedError: 403 if links are disabled or the host is not allowed, 400 if the link is invalid or its response
    cannot be used, 413 if the body has more than max_bytes, and 502 or 504 if a retry may succeed, as after a server
    error or a status in RETRYABLE.
    """
    if not hosts:
        raise RefusedError(f"links are disabled because LINK_HOSTS is empty, got {shortened(link)}", 403)
    url, names = _split(link)
    if names.isdisjoint(hosts):
        allowed = ", ".join(hosts)
        raise RefusedError(f"a link's host must be one of LINK_HOSTS ({allowed}), got {shortened(url.netloc)}", 403)
    reply = _exchange(url, "GET", {"Accept": "image/*", "Accept-Encoding": "identity"}, b"", timeout_s, max_bytes)
    if reply.status != 200:
        where = f" to {shortened(reply.location)}; redirects are not followed" if reply.location else ""
        status = 502 if reply.status >= 500 or reply.status in RETRYABLE else 400
        raise RefusedError(f"the response from {shortened(link)} must be 200, got {reply.status}{where}", status)
    if len(reply.body) > max_bytes:
        raise RefusedError(f"an image may have at most {max_bytes} bytes, got more from {shortened(link)}", 413)
    return reply.body


def deliver(sink: str, headers: Mapping[str, str], body: bytes, timeout_s: float) -> None:
    """POST an event to the sink. Raise RefusedError (502, 504) if it fails, so that the sender retries."""
    reply = _exchange(urlsplit(sink), "POST", headers, body, timeout_s, 0)
    if not 200 <= reply.status < 300:
        raise RefusedError(f"the response from the sink {sink} must be 2xx, got {reply.status}", 502)


def _split(link: str) -> tuple[SplitResult, set[str]]:
    """Parse a link; also return its host as LINK_HOSTS may write it: with the port, and without a default port."""
    if not re.fullmatch("[!-~]+", link):
        raise RefusedError(f"a link must be printable ASCII without spaces, got {shortened(link)}")
    try:
        url = urlsplit(link)
        port = url.port
    except ValueError as error:
        raise RefusedError(f"a link must be a URL, got {shortened(link)}: {error}") from error
    if url.scheme not in SCHEMES or not url.hostname or "@" in url.netloc:
        raise RefusedError(f"a link must be http(s)://HOST/... without user information, got {shortened(link)}")
    default_port = SCHEMES[url.scheme]
    host = bracketed(url.hostname)
    names = {f"{host}:{port or default_port}"}
    return url, names | {host} if port in (None, default_port) else names


def _exchange(
    url: SplitResult, method: str, headers: Mapping[str, str], body: bytes, timeout_s: float, max_bytes: int
) -> Reply:
    """Send one request and read at most max_bytes + 1 of the response's body. Raise RefusedError if it fails."""
    deadline_s = time.monotonic() + timeout_s
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    ended = False

    def end(connected: socket.socket) -> None:  # a socket's own timeout restarts with every byte
        nonlocal ended
        ended = True
        with suppress(OSError):
            connected.shutdown(socket.SHUT_RDWR)

    with ExitStack() as cleanup:
        try:
            connection = cleanup.enter_context(closing(_connected(url, timeout_s, deadline_s)))
            timer = Timer(_left_s(deadline_s), end, [connection.sock])
            cleanup.callback(timer.cancel)
            timer.start()
            connection.request(method, path, body, dict(headers))
            response = connection.getresponse()
            reply = Reply(response.status, response.read(max_bytes + 1), response.headers.get("Location"))
            if ended or (response.length and len(reply.body) <= max_bytes):  # read(n) does not report a truncated body
                raise http.client.IncompleteRead(reply.body, response.length)
        except (OSError, http.client.HTTPException, ValueError) as error:
            late = ended or isinstance(error, TimeoutError)
            text = f"no complete response within {timeout_s:g} s" if late else f"{type(error).__name__}: {error}"
            raise RefusedError(
                f"request to {url.scheme}://{url.netloc} failed: {text}", 504 if late else 502
            ) from error
    return reply


def _connected(url: SplitResult, timeout_s: float, deadline_s: float) -> http.client.HTTPConnection:
    """Connect within the deadline. HTTPSConnection.connect() would restart the timeout for the TLS handshake."""
    host = url.hostname or ""
    if url.scheme == "http":
        connection = http.client.HTTPConnection(host, url.port, timeout=timeout_s)
        connection.connect()
        return connection
    tls = ssl.create_default_context()
    connection = http.client.HTTPSConnection(host, url.port, timeout=timeout_s, context=tls)
    http.client.HTTPConnection.connect(connection)
    with ExitStack() as failed:
        failed.callback(connection.close)
        connection.sock.settimeout(_left_s(deadline_s))
        connection.sock = tls.wrap_socket(connection.sock, server_hostname=host)
        failed.pop_all()
    return connection


def _left_s(deadline_s: float) -> float:
    """Return the seconds until the deadline. Raise TimeoutError if it has passed."""
    left_s = deadline_s - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s
