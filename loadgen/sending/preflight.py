"""Opens one connection before a run, so that a wrong address gives one line instead of a report full of errors."""

import socket
import ssl
from urllib.parse import urlsplit

from loadgen.errors import InputError, UnreachableError
from loadgen.sending.transport import Target, tls

CONNECT_TIMEOUT_S = 5.0


def check_reachable(target: Target) -> None:
    """Connect once, with TLS for an https URL.

    Raises UnreachableError, or InputError if the certificate file cannot be used.
    """
    parts = urlsplit(target.url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    try:
        context = tls(target)
    except (OSError, ssl.SSLError) as error:
        raise InputError(f"--cacert must be a readable PEM file, got {target.cacert}: {error}") from error
    try:
        with socket.create_connection((host, port), timeout=CONNECT_TIMEOUT_S) as connection:
            if parts.scheme == "https":
                context.wrap_socket(connection, server_hostname=host).close()
    except (OSError, UnicodeError) as error:
        raise UnreachableError(f"cannot connect to {host}:{port}: {error or type(error).__name__}") from error
