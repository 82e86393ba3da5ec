"""Who listens on a port."""

import psutil


def holder(port: int) -> str:
    """For an error message: the process on it, where that can be seen."""
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
            return f"process {connection.pid} ({psutil.Process(connection.pid).name()}) listens on it"
    return "which process has it cannot be seen from here"
