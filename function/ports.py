"""A check of the port before gunicorn starts, so that a port in use gives one clear line and no retries."""

import errno
import socket
import sys
from collections.abc import Mapping
from typing import NoReturn

# Source: knative/serving pkg/networking/constants.go. Knative's webhook refuses them too, but later, and not for a
# port that an image sets.
KNATIVE_PORTS = (8012, 8013, 8022, 9090, 9091)


def address(env: Mapping[str, str]) -> tuple[str, str]:
    """Return HOST, an IPv6 address without brackets, and PORT; a name or address that is empty counts as not set."""
    host = env.get("HOST") or "0.0.0.0"
    return host.removeprefix("[").removesuffix("]") if ":" in host else host, env.get("PORT") or "8000"


def bind_address(host: str, port: str) -> str:
    """Return what gunicorn binds: HOST:PORT, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def refuse_taken_port(program: str, host: str, port: str) -> None:
    """Exit with 2 and one line unless the port can be bound; name the process that listens on it if it is visible."""
    if not (port.isascii() and port.isdecimal()) or not 0 < int(port[:6]) < 65536:
        _exit(program, f"PORT must be an integer from 1 to 65535, got {port!r}")
    if int(port) in KNATIVE_PORTS:
        listed = ", ".join(str(reserved) for reserved in KNATIVE_PORTS)
        _exit(program, f"PORT must not be one of {listed}, on which Knative's queue-proxy listens in a pod, got {port}")
    try:
        family, _, _, _, target = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(target)
    except (OSError, UnicodeError) as error:  # UnicodeError: a label of the name is empty or too long
        _exit(program, f"cannot bind {bind_address(host, port)}: {_reason(error, host, int(port))}")


def _reason(error: OSError | UnicodeError, host: str, port: int) -> str:
    """Return why the address cannot be bound; HOST is to blame if this machine has no such address."""
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.EADDRINUSE:
        return _holder(port)
    text = error.strerror if isinstance(error, OSError) else str(error)
    if number in (errno.EACCES, errno.EPERM):
        return str(text)
    return f"{text}; HOST must be an address of this machine, got {host!r}: unset it if a shell or conda has set it"


def _exit(program: str, text: str) -> NoReturn:
    sys.stderr.write(f"{program}: {text}\n")
    raise SystemExit(2)


def _holder(port: int) -> str:
    """Describe the process that listens on the port."""
    import psutil  # noqa: PLC0415  only a failing start needs it

    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
            return f"process {connection.pid} ({psutil.Process(connection.pid).name()}) is listening on it"
    return "another process is listening on it (not visible from here)"
