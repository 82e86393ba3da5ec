"""Ports of this machine: find a free one, and name the process that listens on a taken one."""

import errno
import socket
from collections.abc import Collection

import psutil


def free_port(taken: Collection[int] = frozenset()) -> int:
    """Return a port of 127.0.0.1 that no process is listening on at the moment and that is not in taken."""
    while True:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = int(listener.getsockname()[1])
        if port not in taken:
            return port


def port_holder(port: int) -> str:
    """Return a clause for an error message that names the process listening on the port, if it is visible."""
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
            return f"process {connection.pid} ({psutil.Process(connection.pid).name()}) is listening on it"
    return "another process is listening on it (not visible from here)"


def bind_failure(host: str, port: int, error: OSError) -> str:
    """Return the error message for an address that cannot be bound."""
    cause = port_holder(port) if error.errno == errno.EADDRINUSE else str(error)
    return f"cannot bind {host}:{port}: {cause}"
