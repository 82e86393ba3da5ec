"""The relay: its timer misses nothing while the event loop is busy, and no pod waits for the clients of its answers."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from dispatcher.backends import Backends
from dispatcher.buffer import Action, BufferConfig, BurstBuffer, Reason
from dispatcher.exchange import BodyRest, Exchange, PodAnswer
from dispatcher.headers import RawHeaders
from dispatcher.metrics import DispatcherMetrics
from dispatcher.relay import ClientRequest, Relay
from dispatcher.terms import Terms

pytestmark = pytest.mark.integration


class SlowBuffer(BurstBuffer):
    """A buffer on a machine that is busy elsewhere for 50 ms after each arrival."""

    def arrive(self, request_id: int, now_s: float, terms: Terms = Terms()) -> list[Action]:  # noqa: B008
        actions = super().arrive(request_id, now_s, terms)
        time.sleep(0.05)
        return actions


async def refused() -> Reason | None:
    buffer = SlowBuffer(BufferConfig(), Backends((), ()))
    relay = Relay(buffer, Exchange(None), DispatcherMetrics(CollectorRegistry(), slo_s=0.5), timeout_s=60)
    async with asyncio.timeout(15):
        answer = await relay.handle(ClientRequest("POST", "/predict", (), b"x"), Terms(relay.now_s() + 0.02))
    return answer.reason


def test_a_deadline_that_passes_before_the_timer_is_set_is_still_refused() -> None:
    assert asyncio.run(refused()) is Reason.DEADLINE


class Recording(Exchange):
    """Pods that answer at once, and what happened in which order."""

    def __init__(self) -> None:
        super().__init__(None)
        self.events: list[str] = []

    async def send(
        self, url: str, start: tuple[str, str], headers: RawHeaders, body: bytes, whole_bytes: int
    ) -> PodAnswer:
        """Answer with the request's body."""
        self.events.append(f"{body.decode()} sent")
        await asyncio.sleep(0)
        return PodAnswer(200, "OK", (), body)


async def order_of_two() -> list[str]:
    exchange = Recording()
    buffer = BurstBuffer(BufferConfig(), Backends(("http://pod",), (1,)))
    relay = Relay(buffer, exchange, DispatcherMetrics(CollectorRegistry(), slo_s=0.5), timeout_s=60)

    async def ask(name: str) -> None:
        answer = await relay.handle(ClientRequest("POST", "/predict", (), name.encode()), Terms())
        exchange.events.append(f"{answer.body.decode()} answered")

    async with asyncio.timeout(15):
        await asyncio.gather(ask("first"), ask("second"))
    return exchange.events


def test_the_next_request_goes_to_the_pod_before_the_client_of_the_last_one_is_answered() -> None:
    assert asyncio.run(order_of_two()) == ["first sent", "second sent", "first answered", "second answered"]


class LongAnswer(Exchange):
    """A pod whose first answer is long, and whose later ones are short; `leave` is called before the first is delivered."""

    def __init__(self, status: int = 200) -> None:
        super().__init__(None)
        self.status, self.asked, self.aborted = status, 0, False
        self.leave: Callable[[], object] = lambda: None

    def abort(self) -> None:
        """End the connection of the long answer."""
        self.aborted = True

    async def send(
        self, url: str, start: tuple[str, str], headers: RawHeaders, body: bytes, whole_bytes: int
    ) -> PodAnswer:
        """Answer with the first byte of a body, or with a whole one."""
        self.asked += 1
        if self.asked > 1:
            return PodAnswer(200, "OK", (), b"short")
        asyncio.get_running_loop().call_soon(self.leave)
        connection: Any = self
        payload: Any = None
        return PodAnswer(self.status, "OK", (), b"l", BodyRest(payload, connection))


def relay_to(exchange: Exchange, timeout_s: float) -> tuple[Relay, BurstBuffer]:
    """Return a relay with a pod that takes one request at a time."""
    buffer = BurstBuffer(BufferConfig(), Backends(("http://pod",), (1,)))
    return Relay(buffer, exchange, DispatcherMetrics(CollectorRegistry(), slo_s=0.5), timeout_s), buffer


@pytest.mark.parametrize("kept", [False, True])
def test_a_long_answer_that_is_read_for_too_long_is_cut_counts_as_answered_and_frees_its_slot(kept: bool) -> None:
    async def story() -> None:
        exchange = LongAnswer()
        relay, buffer = relay_to(exchange, timeout_s=0.05)
        request = ClientRequest("POST", "/predict", (), b"x")
        async with asyncio.timeout(15):
            first = await relay.handle(request, Terms(kept=kept))
            assert (first.status, first.body) == (200, b"l")
            second = await relay.handle(request, Terms(kept=True))
        assert (second.status, second.body) == (200, b"short")
        assert exchange.aborted
        assert (exchange.asked, relay.retried, buffer.in_flight, buffer.waiting) == (2, 0, 0, 0)

    asyncio.run(story())


def test_a_client_that_leaves_at_the_moment_of_a_long_answer_frees_its_slot() -> None:
    async def story() -> None:
        exchange = LongAnswer()
        relay, buffer = relay_to(exchange, timeout_s=60)
        request = ClientRequest("POST", "/predict", (), b"x")
        first = asyncio.create_task(relay.handle(request, Terms()))
        exchange.leave = first.cancel
        await asyncio.sleep(0)
        async with asyncio.timeout(15):
            second = await relay.handle(request, Terms())
        assert second.body == b"short"
        assert first.cancelled()
        assert exchange.aborted
        assert buffer.in_flight == 0

    asyncio.run(story())


def test_a_long_failure_of_what_does_not_queue_ends_its_connection() -> None:
    async def story() -> None:
        exchange = LongAnswer(status=503)
        relay, _ = relay_to(exchange, timeout_s=60)
        answer = await relay.look_up(ClientRequest("GET", "/v2/models/cats", (), b""))
        assert answer is not None
        assert answer.body == b"short"
        assert exchange.aborted

    asyncio.run(story())
