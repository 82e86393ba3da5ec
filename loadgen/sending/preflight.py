"""One connection before a run, so that a wrong address is one line and not a report full of errors."""

import socket
import ssl
from urllib.parse import urlsplit

from loadgen.errors import InputError, UnreachableError
from loadgen.sending.transport import Target, tls

CONNECT_TIMEOUT_S = 5.0


def check_reachable(target: Target) -> None:
    """Connect once, with TLS where the URL says https.

    Raises UnreachableError, or InputError if the file of certificates cannot be used.
    """
    parts = urlsplit(target.url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    try:
        context = tls(target)
    except (OSError, ssl.SSLError) as error:
        raise InputError(f"--cacert {target.cacert}: {error}") from error
    try:
        with socket.create_connection((host, port), timeout=CONNECT_TIMEOUT_S) as connection:
            if parts.scheme == "https":
                context.wrap_socket(connection, server_hostname=host).close()
    except (OSError, UnicodeError) as error:
        raise UnreachableError(f"{host}:{port} cannot be reached: {error or type(error).__name__}") from error
