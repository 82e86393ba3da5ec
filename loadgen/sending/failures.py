"""What an exception of the HTTP client means for a request."""

import errno
import ssl

import aiohttp
from aiohttp.http import HttpProcessingError

from loadgen.records import Failure, printable

# Errors that mean that this machine, not the server, ran out of files, ports or socket memory.
OWN_ERRORS = {errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM}


def kind_of(error: Exception, sent: bool) -> Failure:
    """Return the failure that an exception of the HTTP client means; sent: whether the request left this machine."""
    if isinstance(error, OSError) and error.errno in OWN_ERRORS:
        return Failure.LOCAL
    if _unparsable(error):
        return Failure.PROTOCOL
    kinds: tuple[tuple[type[Exception] | tuple[type[Exception], ...], Failure], ...] = (
        (TimeoutError, Failure.TIMEOUT),
        ((aiohttp.ClientSSLError, ssl.SSLError), Failure.TLS),
        (aiohttp.ClientConnectorError, Failure.CONNECT),
        ((aiohttp.ClientResponseError, aiohttp.InvalidURL), Failure.PROTOCOL),
        ((aiohttp.ClientError, OSError), Failure.CLOSED),
    )
    other = Failure.PROTOCOL if sent else Failure.LOCAL
    return next((failure for kind, failure in kinds if isinstance(error, kind)), other)


def _unparsable(error: Exception) -> bool:
    """Return whether the client refused to parse a body, and not merely missed its end."""
    cause = error.__cause__
    return (
        isinstance(error, aiohttp.ClientPayloadError)
        and isinstance(cause, HttpProcessingError)
        and "Not enough data" not in str(cause)
    )


def short(error: Exception) -> str:
    """Return type and text in one line, so that equal errors are counted together.

    The text of a ClientResponseError would contain the URL, and a status that the server never sent.
    """
    if isinstance(error, aiohttp.ClientResponseError):
        return printable(f"the response cannot be parsed: {error.message}", 160)
    words = str(error)
    return printable(f"{type(error).__name__}: {words}" if words else type(error).__name__, 160)
