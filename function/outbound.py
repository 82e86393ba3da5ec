"""The only requests that a pod sends: fetching the image behind an event's link, and delivering an event to the sink.

Redirects are not followed, proxies are not used, and one timeout covers the whole exchange but the name's resolution.
A link's name is resolved once, and the addresses that were checked are those that are used, so that a name cannot be
pointed at another machine in between (DNS rebinding).
"""

import http.client
import ipaddress
import re
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from threading import Timer
from typing import Final
from urllib.parse import SplitResult, urlsplit

from function.config import bracketed
from function.protocols import RefusedError, shortened

SCHEMES: Final = {"http": 80, "https": 443}
# Names that may have private addresses: those of Kubernetes' own Services, and the domain that is reserved for it.
PRIVATE_NAMES: Final = (".svc", ".cluster.local", ".internal")
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
    where = checked_addresses(url)
    headers = {"Accept": "image/*", "Accept-Encoding": "identity"}
    reply = _exchange(url, where, ("GET", headers, b""), timeout_s, max_bytes)
    if reply.status != 200:
        moved = f" to {shortened(reply.location)}; redirects are not followed" if reply.location else ""
        status = 502 if reply.status >= 500 or reply.status in RETRYABLE else 400
        raise RefusedError(f"the response from {shortened(link)} must be 200, got {reply.status}{moved}", status)
    if len(reply.body) > max_bytes:
        raise RefusedError(f"an image may have at most {max_bytes} bytes, got more from {shortened(link)}", 413)
    return reply.body


def deliver(sink: str, headers: Mapping[str, str], body: bytes, timeout_s: float) -> None:
    """POST an event to the sink. Raise RefusedError (502, 504) if it fails, so that the sender retries."""
    url = urlsplit(sink)
    reply = _exchange(url, (url.hostname or "",), ("POST", headers, body), timeout_s, 0)
    if not 200 <= reply.status < 300:
        raise RefusedError(f"the response from the sink {sink} must be 2xx, got {reply.status}", 502)


def is_allowed(name: str, address: str) -> bool:
    """Return whether a link with this host name may lead to this address.

    A host of LINK_HOSTS that is an address itself, or localhost, is meant as it is. Any other name must have public
    addresses; names of the cluster may also have private ones, but never those of this machine or of its network
    segment, where clouds serve credentials (169.254.169.254).
    """
    found = ipaddress.ip_address(address.partition("%")[0])
    found = getattr(found, "ipv4_mapped", None) or found
    if name == "localhost":
        return found.is_loopback
    if found.is_multicast:
        return False
    own = found.is_loopback or found.is_link_local or found.is_unspecified or found.is_reserved
    inside = "." not in name or name.endswith(PRIVATE_NAMES)
    return found.is_global or (inside and found.is_private and not own)


def checked_addresses(url: SplitResult) -> tuple[str, ...]:
    """Return the addresses of a link's host. Raise RefusedError: 403 if none is allowed, 502 if there are none."""
    name = (url.hostname or "").rstrip(".")
    try:
        ipaddress.ip_address(name)
    except ValueError:
        pass
    else:
        return (name,)
    try:
        rows = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise RefusedError(f"cannot resolve {shortened(name)}: {error}", 502) from error
    addresses = tuple(dict.fromkeys(str(row[4][0]) for row in rows))
    allowed = tuple(address for address in addresses if is_allowed(name, address))
    if not allowed:
        raise RefusedError(
            f"the name of a link must have a public address, or end with {', '.join(PRIVATE_NAMES)} for a private one,"
            f" got {shortened(name)} with {', '.join(addresses[:4])}",
            403,
        )
    return allowed


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
    url: SplitResult,
    addresses: Sequence[str],
    request: tuple[str, Mapping[str, str], bytes],
    timeout_s: float,
    max_bytes: int,
) -> Reply:
    """Send one request and read at most max_bytes + 1 of the response's body. Raise RefusedError if it fails.

    addresses: where to connect. request: method, header fields and body.
    """
    method, headers, body = request
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
            connection = cleanup.enter_context(closing(_connected(url, addresses, deadline_s)))
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


def _connected(url: SplitResult, addresses: Sequence[str], deadline_s: float) -> http.client.HTTPConnection:
    """Connect to the first address that answers. HTTPSConnection.connect() would resolve the name once more."""
    host, port = url.hostname or "", url.port or SCHEMES[url.scheme]
    with ExitStack() as failed:
        sock = failed.enter_context(_socket(addresses, port, deadline_s))
        sock.settimeout(_left_s(deadline_s))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = http.client.HTTPConnection(host, port)
        connection.sock = sock
        if url.scheme == "https":
            connection.default_port = SCHEMES["https"]
            connection.sock = ssl.create_default_context().wrap_socket(sock, server_hostname=host)
        failed.pop_all()
    return connection


def _socket(addresses: Sequence[str], port: int, deadline_s: float) -> socket.socket:
    for address in addresses[:-1]:
        with suppress(OSError):
            return socket.create_connection((address, port), timeout=_left_s(deadline_s) / len(addresses))
    return socket.create_connection((addresses[-1], port), timeout=_left_s(deadline_s))


def _left_s(deadline_s: float) -> float:
    """Return the seconds until the deadline. Raise TimeoutError if it has passed."""
    left_s = deadline_s - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s
