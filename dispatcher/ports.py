"""The error message for an address that cannot be bound."""

import errno
import socket

import psutil


class BindError(Exception):
    """A port cannot be bound; the message says why."""


def bind_failure(host: str, port: int, error: OSError) -> str:
    """Return the error message for an address that cannot be bound."""
    cause = _holder(port) if error.errno == errno.EADDRINUSE else str(error)
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        cause += "; HOST must be an address of this machine: unset it if a shell or conda has set it"
    return f"cannot bind {f'[{host}]' if ':' in host else host}:{port}: {cause}"


def _holder(port: int) -> str:
    """Return a clause that names the process listening on the port, if it is visible from this process."""
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
            return f"process {connection.pid} ({psutil.Process(connection.pid).name()}) is listening on it"
    return "another process is listening on it (not visible from here)"
