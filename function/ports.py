"""A check of the port before gunicorn starts, so that a port in use gives one clear line and no retries."""

import errno
import socket
import sys

# Source: knative/serving pkg/networking/constants.go. Knative's webhook refuses them too, but later, and not for a
# port that an image sets.
KNATIVE_PORTS = (8012, 8013, 8022, 9090, 9091)


def refuse_taken_port(program: str, host: str, port: str) -> None:
    """Exit with 2 and one line unless the port can be bound; name the process that listens on it if it is visible."""
    if not port.isdecimal() or not 0 < int(port) < 65536:
        _exit(program, f"PORT must be an integer from 1 to 65535, got {port!r}")
    if int(port) in KNATIVE_PORTS:
        listed = ", ".join(str(reserved) for reserved in KNATIVE_PORTS)
        _exit(program, f"PORT must not be one of {listed}, on which Knative's queue-proxy listens in a pod, got {port}")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            reason = _holder(int(port)) if taken else error.strerror
            _exit(program, f"cannot bind {host}:{port}: {reason}")


def _exit(program: str, text: str) -> None:
    sys.stderr.write(f"{program}: {text}\n")
    raise SystemExit(2)


def _holder(port: int) -> str:
    """Describe the process that listens on the port."""
    import psutil  # noqa: PLC0415  only a failing start needs it

    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
            return f"process {connection.pid} ({psutil.Process(connection.pid).name()}) is listening on it"
    return "another process is listening on it (not visible from here)"
