"""Overload in virtual time: four pods, hops of some milliseconds on every way, and far too many requests."""

from heapq import heappop, heappush
from random import Random

import pytest

from dispatcher.actions import Action, Deliver, Forward, Outcome
from dispatcher.backends import Backends
from dispatcher.buffer import BufferConfig, BurstBuffer, Capacity
from dispatcher.terms import Terms

PODS, SERVICE_S, SLO_S, HOP_S, PATIENCE_S = 4, 0.1, 0.5, 0.002, 10.0
PODS_RPS = PODS / (SERVICE_S + 2 * HOP_S)
# One release in forty goes to an expired request.
BEST_RATIO = 39 / 40


class World:
    """Clients that never come back, the buffer, and pods that say how long they took."""

    def __init__(self, reports: bool) -> None:
        urls = tuple(f"http://pod-{number}" for number in range(PODS))
        self._buffer = BurstBuffer(BufferConfig(slo_s=SLO_S, queue_limit=400), Backends(urls, (1,) * PODS))
        self._pod_s = SERVICE_S if reports else None
        self._random = Random(1)
        self._events: list[tuple[float, int, str]] = []
        self._sent_s: dict[int, float] = {}
        self._due_s: dict[int, float] = {}
        self.answered: dict[int, bool] = {}

    def run(self, warm_up_s: float, seconds: float, times: float) -> float:
        """Return the answers in time a second, of requests that came after the warm-up at half the rate of the pods."""
        begin_s, end_s, at_s = warm_up_s, warm_up_s + seconds, 0.0
        while (at_s := at_s + self._random.expovariate(PODS_RPS * (0.5 if at_s < begin_s else times))) < end_s:
            number = len(self._due_s)
            self._due_s[number] = at_s + SLO_S
            heappush(self._events, (at_s + self._hop_s(), number, "arrive"))
            heappush(self._events, (at_s + PATIENCE_S, number, "hang up"))
        self._buffer.set_capacity(Capacity(PODS, 1e9), 0.0)
        while self._events:
            self._happen(*heappop(self._events))
        good = sum(in_time and self._due_s[number] - SLO_S >= begin_s for number, in_time in self.answered.items())
        return good / seconds

    def _hop_s(self) -> float:
        return self._random.expovariate(1 / HOP_S)

    def _happen(self, now_s: float, number: int, event: str) -> None:
        if event == "arrive":
            terms = Terms(promise_key=str(number).encode())
            self._perform(self._buffer.arrive(number, now_s, terms), now_s)
        elif event == "finish":
            response_s = now_s - self._sent_s[number]
            self._perform(self._buffer.finish(number, now_s, Outcome.ANSWERED, response_s, self._pod_s), now_s)
        else:
            self._perform(self._buffer.cancel(number, now_s), now_s)

    def _perform(self, actions: list[Action], now_s: float) -> None:
        for action in actions:
            if isinstance(action, Forward):
                self._sent_s[action.request_id] = now_s
                end_s = now_s + self._hop_s() + SERVICE_S + self._hop_s()
                heappush(self._events, (end_s, action.request_id, "finish"))
            elif isinstance(action, Deliver):
                self.answered[action.request_id] = now_s + self._hop_s() <= self._due_s[action.request_id]


@pytest.mark.parametrize("reports", [True, False], ids=["pods report their time", "pods report nothing"])
@pytest.mark.parametrize(("times", "seconds"), [(2, 25), (10, 8)])
def test_overload_leaves_the_goodput_where_it_was(times: float, seconds: float, reports: bool) -> None:
    """Milliseconds of hops must not make the answers late, and promises to absent clients must keep no place from others."""
    assert World(reports).run(4, seconds, times) >= (0.97 if reports else 0.93) * BEST_RATIO * PODS_RPS
