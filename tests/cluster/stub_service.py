"""A pod on plain sockets, for experiments on two cores: `python3 -I -S stub_service.py`.

It listens START_S after its start and serves one request in SERVICE_S, CPU_S of which is processor time. With a web
framework, forty pods that start at once would measure the framework.
"""

import os
import signal
import socket
import threading
import time

START_S, SERVICE_S, CPU_S = (float(os.environ[name]) for name in ("START_S", "SERVICE_S", "CPU_S"))
POD = os.environ.get("HOSTNAME", "pod")
serving = threading.Lock()


def read_head(connection: socket.socket) -> tuple[bytes, bytes]:
    """Return a request's head and what follows it so far; empty at the end of the connection."""
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = connection.recv(65536)
        if not chunk:
            return b"", b""
        data += chunk
    head, _, rest = data.partition(b"\r\n\r\n")
    return head, rest


def skip_body(connection: socket.socket, head: bytes, rest: bytes) -> None:
    """Read the rest of a request's body, which has a Content-Length or is chunked."""
    low = head.lower()
    if b"transfer-encoding: chunked" in low:
        while not rest.endswith(b"0\r\n\r\n"):
            rest = rest[-8:] + connection.recv(65536)
        return
    _, found, value = low.partition(b"content-length:")
    left = (int(value.split(b"\r\n", 1)[0]) if found else 0) - len(rest)
    while left > 0:
        left -= len(connection.recv(65536)) or left


def serve_one() -> None:
    """Spend SERVICE_S, CPU_S of it computing; requests of one pod follow each other."""
    with serving:
        began_s = time.monotonic()
        busy_until_s = time.thread_time() + CPU_S
        while time.thread_time() < busy_until_s:
            pass
        time.sleep(max(0.0, SERVICE_S - (time.monotonic() - began_s)))


def converse(connection: socket.socket) -> None:
    """Answer the requests of one connection; only POST takes time."""
    with connection:
        while True:
            head, rest = read_head(connection)
            if not head:
                return
            skip_body(connection, head, rest)
            if head.startswith(b"POST"):
                serve_one()
            body = b'{"prediction": "stub: 100.0%"}'
            connection.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Pod: " + POD.encode() + b"\r\n"
                b"Content-Length: %d\r\n\r\n" % len(body) + body
            )


def main() -> None:
    """Wait START_S, then serve until SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    time.sleep(START_S)
    with socket.create_server(("", int(os.environ["PORT"])), backlog=128) as server:
        while True:
            connection, _ = server.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=converse, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    main()
