"""One connection before a run, so that a wrong address is one line and not a report full of errors."""

import socket
from urllib.parse import urlsplit

from loadgen.errors import UnreachableError

CONNECT_TIMEOUT_S = 5.0


def check_reachable(url: str) -> None:
    """Raises UnreachableError."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname or "", port), timeout=CONNECT_TIMEOUT_S).close()
    except (OSError, UnicodeError) as error:
        raise UnreachableError(f"{parts.hostname}:{port} cannot be reached: {error}") from error
