"""Stub pods: they serve by sleeping, misbehave on demand, and prove which request an answer belongs to.

`python -m tests.stubs.pod PORT[,PORT...] [--service-s 0.1] [--concurrency 1] [--log FILE]`: one pod per port. A pod
serves `concurrency` requests at once, oldest first, each for `service-s`, whether its client is still there or not.
An answer repeats X-Request-Id and has the size and the CRC-32 of the body. PUT /fault with {"kind": "hang",
"share": 0.1, "seed": 7} lets a tenth of the requests meet a fault from now on; GET /stats says how many were served.
With --log each served request is a line of FILE: its X-Request-Id.
"""

import argparse
import asyncio
import json
import signal
import zlib
from collections import deque
from collections.abc import Callable
from pathlib import Path
from random import Random

import uvloop

from tests.stubs.wire import Message, Serving, answer

Fault = Callable[[Serving, bytes], None]


def hang(_: Serving, __: bytes) -> None:
    """Never answer."""


def send_garbage(connection: Serving, _: bytes) -> None:
    """Answer with what is no HTTP."""
    connection.send(b"\x00\xff\x7fgarbage\r\n\r\n" * 3)
    connection.transport.close()


def cut(connection: Serving, whole: bytes) -> None:
    """Close the connection within the body."""
    connection.send(whole[:-10])
    connection.transport.close()


def cut_in_the_headers(connection: Serving, whole: bytes) -> None:
    """Close the connection within the headers."""
    connection.send(whole[:40])
    connection.transport.close()


def refuse(connection: Serving, _: bytes) -> None:
    """Answer 503, as a queue-proxy that is full does."""
    connection.send(answer(503, b'{"error": "stub: overloaded"}'))


def reset(connection: Serving, _: bytes) -> None:
    """Reset the connection."""
    connection.transport.abort()


FAULTS: dict[str, Fault] = {
    "hang": hang,
    "garbage": send_garbage,
    "cut": cut,
    "cut-head": cut_in_the_headers,
    "503": refuse,
    "reset": reset,
}


class StubPod:
    """One pod on one port."""

    def __init__(self, service_s: float, concurrency: int, log: Path | None) -> None:
        self._service_s, self._free = service_s, concurrency
        self._log = None if log is None else log.open("a", buffering=1)
        self._waiting: deque[tuple[Serving, Message]] = deque()
        self._fault, self._share, self._random = "", 0.0, Random()
        self._loop = asyncio.get_running_loop()
        self._served = self._broken = 0

    def handle(self, connection: Serving, message: Message) -> None:
        """Serve an inference; answer the stub's own paths at once."""
        method, target, _ = message.start.split(" ", 2)
        if method == "POST":
            self._waiting.append((connection, message))
            self._start()
        elif target == "/fault":
            asked = json.loads(message.body)
            self._fault, self._share = asked["kind"], asked["share"]
            self._random.seed(asked["seed"])
            connection.send(answer(200, b"{}"))
        else:
            stats = {"served": self._served, "broken": self._broken, "waiting": len(self._waiting)}
            connection.send(answer(200, json.dumps(stats).encode()))

    def _start(self) -> None:
        while self._free and self._waiting:
            self._free -= 1
            self._loop.call_later(self._service_s, self._finish, *self._waiting.popleft())

    def _finish(self, connection: Serving, message: Message) -> None:
        self._free += 1
        self._start()
        fault = FAULTS[self._fault] if self._share and self._random.random() < self._share else None
        whole = self._answer(message)
        if fault:
            self._broken += 1
            fault(connection, whole)
            return
        self._served += 1
        if self._log:
            self._log.write(message.headers.get("x-request-id", "") + "\n")
        connection.send(whole)

    def _answer(self, message: Message) -> bytes:
        request_id, body = message.headers.get("x-request-id", ""), message.body
        proof = {"prediction": "cat: 99.0%", "id": request_id, "bytes": len(body), "crc32": zlib.crc32(body)}
        timing = f"infer;dur={1000 * self._service_s:.1f}"
        return answer(200, json.dumps(proof).encode(), X_Pod="stub", Server_Timing=timing)


async def serve(ports: list[int], make: Callable[[], StubPod]) -> None:
    """Serve until SIGTERM."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    for port in ports:
        pod = make()
        await loop.create_server(lambda pod=pod: Serving(pod.handle), "127.0.0.1", port, backlog=4096)  # type: ignore[misc]
    await stop.wait()


def main() -> None:
    """Parse the arguments and serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("ports")
    parser.add_argument("--service-s", type=float, default=0.1)
    parser.add_argument("--concurrency", type=int, default=1)
    parser.add_argument("--log", type=Path)
    given = parser.parse_args()
    ports = [int(word) for word in given.ports.split(",")]
    uvloop.run(serve(ports, lambda: StubPod(given.service_s, given.concurrency, given.log)))


if __name__ == "__main__":
    main()
