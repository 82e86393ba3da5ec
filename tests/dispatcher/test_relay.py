"""The relay: its timer misses nothing while the event loop is busy, and a pod does not wait for a client's answer."""

import asyncio
import time

import pytest
from prometheus_client import CollectorRegistry

from dispatcher.backends import Backends
from dispatcher.buffer import Action, BufferConfig, BurstBuffer, Reason
from dispatcher.exchange import Exchange, PodAnswer
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
