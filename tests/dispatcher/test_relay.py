"""The relay's timer: what becomes due while the event loop is busy is acted on all the same."""

import asyncio
import time

import pytest
from prometheus_client import CollectorRegistry

from dispatcher.backends import Backends
from dispatcher.buffer import Action, BufferConfig, BurstBuffer, Reason
from dispatcher.exchange import Exchange
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
    relay = Relay(buffer, Exchange(None), DispatcherMetrics(CollectorRegistry()), timeout_s=60)
    async with asyncio.timeout(15):
        answer = await relay.handle(ClientRequest("POST", "/predict", (), b"x"), Terms(relay.now_s() + 0.02))
    return answer.reason


def test_a_deadline_that_passes_before_the_timer_is_set_is_still_refused() -> None:
    assert asyncio.run(refused()) is Reason.DEADLINE
