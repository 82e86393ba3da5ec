"""A server of negligible cost, so that a benchmark measures the client: it answers every POST with a fixed body.

`python -m tests.benchmarks.fast_server PORT [AT_S STALL_S [FILE]]` stalls once for STALL_S, AT_S after the first
request. At SIGTERM it writes the times at which requests were complete to FILE, as JSON, in seconds of the monotonic
clock.
"""

import asyncio
import json
import signal
import sys
import time
from pathlib import Path
from typing import cast

import uvloop

BODY = b'{"prediction": "cat: 99.0%", "label": "cat", "confidence": 0.99}'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)


class Stall:
    """Blocks the whole server once, when its time has come."""

    def __init__(self, at_s: float, length_s: float) -> None:
        self._at_s, self._length_s, self._began_s = at_s, length_s, 0.0

    def __call__(self) -> None:
        """Block if it is time; called at each request."""
        now_s = time.monotonic()
        self._began_s = self._began_s or now_s
        if self._length_s and now_s - self._began_s >= self._at_s:
            time.sleep(self._length_s)
            self._length_s = 0.0


class Answers(asyncio.Protocol):
    """Counts the bytes of requests with a Content-Length; parses nothing else."""

    def __init__(self, stall: Stall, arrived_s: list[float]) -> None:
        self._stall, self._arrived_s, self._head, self._missing_bytes = stall, arrived_s, b"", 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transport is not a subclass

    def data_received(self, data: bytes) -> None:
        """Respond once a request is complete."""
        if self._missing_bytes:
            self._missing_bytes -= len(data)
        else:
            self._head += data
            head, found, rest = self._head.partition(b"\r\n\r\n")
            if not found:
                return
            length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
            self._head, self._missing_bytes = b"", int(length or 0) - len(rest)
        if self._missing_bytes == 0:
            self._arrived_s.append(time.monotonic())
            self._stall()
            self._transport.write(ANSWER)


async def serve(port: int, stall: Stall, arrived_s: list[float]) -> None:
    """Serve until SIGTERM."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    await loop.create_server(lambda: Answers(stall, arrived_s), "127.0.0.1", port, backlog=4096)
    await stop.wait()


if __name__ == "__main__":
    at_s, length_s = (float(word) for word in (sys.argv[2:4] or ("0", "0")))
    arrivals_s: list[float] = []
    uvloop.run(serve(int(sys.argv[1]), Stall(at_s, length_s), arrivals_s))
    for out in sys.argv[4:]:
        Path(out).write_text(json.dumps(arrivals_s))
