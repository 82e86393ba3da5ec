"""A clear end when the port is taken, instead of a traceback or a retry."""

import socket
import sys

# Source: knative/serving pkg/networking/constants.go. Its webhook refuses them as well, but late, and not for images.
KNATIVE_PORTS = (8012, 8013, 8022, 9090, 9091)


def refuse_taken_port(program: str, host: str, port: str) -> None:
    """Exit with 2 and one line that names the port, and the process on it where that can be seen."""
    if not port.isdecimal() or not 0 < int(port) < 65536:
        _exit(program, f"PORT must be a whole number from 1 to 65535, was {port!r}")
    if int(port) in KNATIVE_PORTS:
        listed = ", ".join(str(taken) for taken in KNATIVE_PORTS)
        _exit(program, f"PORT must be none of {listed}, where Knative's own queue-proxy listens in a pod, was {port}")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError as error:
            _exit(program, f"port {port} of {host} cannot be had ({error.strerror}); {_holder(int(port))}")


def _exit(program: str, text: str) -> None:
    sys.stderr.write(f"{program}: {text}\n")
    raise SystemExit(2)


def _holder(port: int) -> str:
    import psutil  # noqa: PLC0415  only a start that fails pays for it

    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
            return f"process {connection.pid} ({psutil.Process(connection.pid).name()}) listens on it"
    return "which process has it cannot be seen from here"
