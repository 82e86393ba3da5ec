"""The only requests that a pod makes: an image behind an event's link, and an event to the sink.

No redirect is followed, no proxy used, and everything together ends within a time.
"""

import http.client
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from threading import Timer
from typing import Final
from urllib.parse import SplitResult, urlsplit

from function.protocols import RefusedError, seen

SCHEMES: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Reply:
    """What the other side said."""

    status: int
    body: bytes
    location: str | None


def fetch(link: str, hosts: tuple[str, ...], timeout_s: float, max_bytes: int) -> bytes:
    """The body behind a link whose host (with its port, unless it is the scheme's) is one of hosts.

    Raises RefusedError: 403 if links are off or the host is none of these, 400 if the link cannot be had, 413 if there
    is more than max_bytes, 502 and 504 if it may be had later.
    """
    if not hosts:
        raise RefusedError(f"links are off here (LINK_HOSTS names no host), the event has {seen(link)}", 403)
    url, host = _split(link)
    if host not in hosts:
        raise RefusedError(f"links may lead to {', '.join(hosts)} (LINK_HOSTS), this leads to {seen(host)}", 403)
    reply = _exchange(url, "GET", {"Accept": "image/*", "Accept-Encoding": "identity"}, b"", timeout_s, max_bytes)
    if reply.status != 200:
        where = f" to {seen(reply.location)}, and links must not redirect" if reply.location else ""
        status = 502 if reply.status >= 500 else 400
        raise RefusedError(f"{seen(link)} must be answered with 200, was with {reply.status}{where}", status)
    if len(reply.body) > max_bytes:
        raise RefusedError(f"an image may have at most {max_bytes} bytes, the one behind {seen(link)} has more", 413)
    return reply.body


def deliver(sink: str, headers: Mapping[str, str], body: bytes, timeout_s: float) -> None:
    """POST an event. Raises RefusedError (502, 504) unless the sink takes it, so that the sender tries again."""
    reply = _exchange(urlsplit(sink), "POST", headers, body, timeout_s, 0)
    if not 200 <= reply.status < 300:
        raise RefusedError(f"the sink {sink} must answer with 2xx, did with {reply.status}", 502)


def _split(link: str) -> tuple[SplitResult, str]:
    try:
        url = urlsplit(link)
        port = url.port
    except ValueError as error:
        raise RefusedError(f"a link must be a URL, was {seen(link)}: {error}") from error
    if url.scheme not in SCHEMES or not url.hostname or "@" in url.netloc:
        raise RefusedError(f"a link must be http(s)://HOST/..., without a user, was {seen(link)}")
    return url, url.hostname if port in (None, SCHEMES[url.scheme]) else f"{url.hostname}:{port}"


def _exchange(
    url: SplitResult, method: str, headers: Mapping[str, str], body: bytes, timeout_s: float, max_bytes: int
) -> Reply:
    """One request; of the reply's body at most max_bytes + 1. Raises RefusedError."""
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    connection = kind(url.hostname or "", url.port, timeout=timeout_s)
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    ended = False

    def end(connected: socket.socket) -> None:  # a socket's own timeout begins anew with every byte
        nonlocal ended
        ended = True
        with suppress(OSError):
            connected.shutdown(socket.SHUT_RDWR)

    timer: Timer | None = None
    try:
        connection.connect()
        timer = Timer(timeout_s, end, [connection.sock])
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
    finally:
        if timer:
            timer.cancel()
        connection.close()
    return reply
