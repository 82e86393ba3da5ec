"""Dispatcher and simulator must order their queues alike: both release the same random histories in the same order."""

from dataclasses import dataclass, field

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from autoscaler_tuning.simulator.servers import EXPIRED_SHARE as SIMULATED_SHARE
from autoscaler_tuning.simulator.servers import Servers
from autoscaler_tuning.simulator.world import SimConfig
from dispatcher.backends import Backends
from dispatcher.buffer import EXPIRED_SHARE, Action, BufferConfig, BurstBuffer, Capacity, Forward, Order, Outcome

SLO_S, SERVICE_S = 0.5, 0.125
BACKEND = "http://pod"

# Time at which a request was sent to a pod, in seconds, and its number.
Release = tuple[float, int]


@dataclass
class Dispatcher:
    """The dispatcher's buffer with pods that serve a request in SERVICE_S; records each release."""

    order: Order
    released: list[Release] = field(default_factory=list)
    ends: list[tuple[float, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        config = BufferConfig(slo_s=SLO_S, order=self.order, queue_limit=100_000, timeout_s=1e6)
        self.buffer = BurstBuffer(config, Backends((BACKEND,), (0,)))
        self.buffer.service_times.add(SERVICE_S)
        self.buffer.set_capacity(Capacity(0, 1e9), 0.0)

    def perform(self, actions: list[Action], now_s: float) -> None:
        for action in actions:
            if isinstance(action, Forward):
                self.released.append((round(now_s, 6), action.request_id))
                self.ends.append((now_s + SERVICE_S, action.request_id))

    def until(self, now_s: float) -> None:
        """Finish the requests that end up to and including now_s."""
        while self.ends and self.ends[0][0] <= now_s:
            end_s, request = self.ends.pop(0)
            self.perform(self.buffer.finish(request, end_s, Outcome.ANSWERED, SERVICE_S), end_s)


def dispatcher_releases(arrivals_s: list[float], pods: int, ready_s: float, order: Order) -> list[Release]:
    dispatcher = Dispatcher(order)
    became_ready = False
    for request, arrival_s in enumerate([*arrivals_s, 1e6]):
        if not became_ready and arrival_s > ready_s:
            became_ready = True
            dispatcher.perform(dispatcher.buffer.set_capacity(Capacity(pods, 1e9), ready_s), ready_s)
        dispatcher.until(arrival_s)
        if request < len(arrivals_s):
            dispatcher.perform(dispatcher.buffer.arrive(request, arrival_s), arrival_s)
    return sorted(dispatcher.released)


def simulator_releases(arrivals_s: list[float], pods: int, ready_s: float, order: Order) -> list[Release]:
    config = SimConfig(service_time_s=SERVICE_S, slo_s=SLO_S, order=order)
    servers = Servers(np.array(arrivals_s), np.full(len(arrivals_s), SERVICE_S), config)
    for pod in range(pods):
        servers.add(pod, ready_s)
    servers.advance(1e6)
    return sorted((round(done_s - SERVICE_S, 6), request) for request, done_s in enumerate(servers.done_s))


@given(
    gaps=st.lists(st.integers(1, 400), min_size=1, max_size=120),
    pods=st.integers(1, 4),
    late_start=st.integers(0, 3000),
    order=st.sampled_from(["deadline", "fifo"]),
)
@example(gaps=[1] * 80, pods=1, late_start=0, order="deadline")  # an overload in which most requests expire
@example(
    gaps=[1] * 30 + [124] * 90, pods=1, late_start=0, order="deadline"
)  # feasible ones all along: turns of 1 in 40
@example(gaps=[1] * 80, pods=3, late_start=2000, order="deadline")  # a burst at zero pods, served after a cold start
def test_dispatcher_and_simulator_release_requests_in_the_same_order(
    gaps: list[int], pods: int, late_start: int, order: Order
) -> None:
    # Whole milliseconds plus different offsets: no two events coincide, so the two need no common rule for ties.
    arrivals_s = (np.cumsum(gaps) / 1000 + 0.0001).tolist()
    ready_s = late_start / 1000 + 0.00005
    simulated = simulator_releases(arrivals_s, pods, ready_s, order)
    assert dispatcher_releases(arrivals_s, pods, ready_s, order) == simulated


def test_expired_requests_get_the_same_share_of_releases_in_both() -> None:
    assert SIMULATED_SHARE == EXPIRED_SHARE
