"""The only requests that a pod makes: an image behind an event's link, and an event to the sink.

No redirect is followed, no proxy used, and everything together ends within a time.
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

from function.protocols import RefusedError, seen

SCHEMES: Final = {"http": 80, "https": 443}
LATER: Final = (408, 425, 429)  # a timeout, too early, too many requests


@dataclass(frozen=True, slots=True)
class Reply:
    """What the other side said."""

    status: int
    body: bytes
    location: str | None


def fetch(link: str, hosts: tuple[str, ...], timeout_s: float, max_bytes: int) -> bytes:
    """The body behind a link whose host (with its port, unless it is the scheme's) is one of hosts.

    Raises RefusedError: 403 if links are off or the host is none of these, 400 if the link cannot be had, 413 if there
    is more than max_bytes, 502 and 504 if it may be had later, as after a server's error and LATER.
    """
    if not hosts:
        raise RefusedError(f"links are off here (LINK_HOSTS names no host), the event has {seen(link)}", 403)
    url, names = _split(link)
    if names.isdisjoint(hosts):
        raise RefusedError(f"links may lead to {', '.join(hosts)} (LINK_HOSTS), this leads to {seen(url.netloc)}", 403)
    reply = _exchange(url, "GET", {"Accept": "image/*", "Accept-Encoding": "identity"}, b"", timeout_s, max_bytes)
    if reply.status != 200:
        where = f" to {seen(reply.location)}, and links must not redirect" if reply.location else ""
        status = 502 if reply.status >= 500 or reply.status in LATER else 400
        raise RefusedError(f"{seen(link)} must be answered with 200, was with {reply.status}{where}", status)
    if len(reply.body) > max_bytes:
        raise RefusedError(f"an image may have at most {max_bytes} bytes, the one behind {seen(link)} has more", 413)
    return reply.body


def deliver(sink: str, headers: Mapping[str, str], body: bytes, timeout_s: float) -> None:
    """POST an event. Raises RefusedError (502, 504) unless the sink takes it, so that the sender tries again."""
    reply = _exchange(urlsplit(sink), "POST", headers, body, timeout_s, 0)
    if not 200 <= reply.status < 300:
        raise RefusedError(f"the sink {sink} must answer with 2xx, did with {reply.status}", 502)


def _split(link: str) -> tuple[SplitResult, set[str]]:
    """And what LINK_HOSTS may call its host: with the port, and without where it is the scheme's."""
    if not re.fullmatch("[!-~]+", link):
        raise RefusedError(f"a link must be printable ASCII without spaces, was {seen(link)}")
    try:
        url = urlsplit(link)
        port = url.port
    except ValueError as error:
        raise RefusedError(f"a link must be a URL, was {seen(link)}: {error}") from error
    if url.scheme not in SCHEMES or not url.hostname or "@" in url.netloc:
        raise RefusedError(f"a link must be http(s)://HOST/..., without a user, was {seen(link)}")
    usual = SCHEMES[url.scheme]
    names = {f"{url.hostname}:{port or usual}"}
    return url, names | {url.hostname} if port in (None, usual) else names


def _exchange(
    url: SplitResult, method: str, headers: Mapping[str, str], body: bytes, timeout_s: float, max_bytes: int
) -> Reply:
    """One request; of the reply's body at most max_bytes + 1. Raises RefusedError."""
    deadline_s = time.monotonic() + timeout_s
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    ended = False

    def end(connected: socket.socket) -> None:  # a socket's own timeout begins anew with every byte
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
            if ended or (response.length and len(reply.body) <= max_bytes):  # read(n) takes an early end for the end
                raise http.client.IncompleteRead(reply.body, response.length)
        except (OSError, http.client.HTTPException, ValueError) as error:
            late = ended or isinstance(error, TimeoutError)
            text = f"nothing within {timeout_s:g} s" if late else f"{type(error).__name__}: {error}"
            raise RefusedError(f"{url.scheme}://{url.netloc} cannot be asked: {text}", 504 if late else 502) from error
    return reply


def _connected(url: SplitResult, timeout_s: float, deadline_s: float) -> http.client.HTTPConnection:
    """HTTPSConnection's own connect() would give the handshake all the time once more."""
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
    """Raises TimeoutError if there is nothing left."""
    left_s = deadline_s - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s
