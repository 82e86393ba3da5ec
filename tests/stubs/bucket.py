"""A plain token bucket in front of pods, to compare the dispatcher with: admits at a rate, refuses the rest with 503.

`python -m tests.stubs.bucket PORT RATE_RPS BURST POD_PORT[,POD_PORT...]`: an admitted request goes to the pod with the
fewest in flight. It has to be told the capacity, and has no queue of its own.
"""

import asyncio
import signal
import sys
import time

import uvloop

from tests.stubs.wire import Message, Pool, Serving, WireError, answer

REFUSED = answer(503, b'{"error": "no token"}', Retry_After="1")


class Bucket:
    """Tokens, refilled as time passes, at most `burst` of them."""

    def __init__(self, rate_rps: float, burst: float) -> None:
        self._rate_rps, self._burst = rate_rps, burst
        self._tokens, self._at_s = burst, 0.0

    def take(self, now_s: float) -> bool:
        """Take a token; return whether there was one."""
        self._tokens = min(self._burst, self._tokens + (now_s - self._at_s) * self._rate_rps)
        self._at_s = now_s
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class TokenBucketProxy:
    """Passes the admitted requests on."""

    def __init__(self, bucket: Bucket, pods: list[Pool]) -> None:
        self._bucket, self._pods = bucket, pods
        self._in_flight = dict.fromkeys(pods, 0)
        self._tasks: set[asyncio.Task[None]] = set()

    def handle(self, connection: Serving, message: Message) -> None:
        """Admit or refuse a request."""
        if not self._bucket.take(time.monotonic()):
            connection.send(REFUSED)
            return
        task = asyncio.get_running_loop().create_task(self._pass_on(connection, message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _pass_on(self, connection: Serving, message: Message) -> None:
        pod = min(self._pods, key=self._in_flight.__getitem__)
        self._in_flight[pod] += 1
        head = "\r\n".join([message.start, *(f"{name}: {value}" for name, value in message.headers.items())])
        try:
            got = await pod.ask(head.encode("latin-1") + b"\r\n\r\n" + message.body)
            connection.send(answer(got.status, got.body))
        except (WireError, OSError):
            connection.send(answer(502, b'{"error": "the pod failed"}'))
        finally:
            self._in_flight[pod] -= 1


async def serve(port: int, rate_rps: float, burst: float, pod_ports: list[int]) -> None:
    """Serve until SIGTERM."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    proxy = TokenBucketProxy(Bucket(rate_rps, burst), [Pool(pod) for pod in pod_ports])
    await loop.create_server(lambda: Serving(proxy.handle), "127.0.0.1", port, backlog=4096)
    await stop.wait()


if __name__ == "__main__":
    uvloop.run(
        serve(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]), [int(p) for p in sys.argv[4].split(",")])
    )
