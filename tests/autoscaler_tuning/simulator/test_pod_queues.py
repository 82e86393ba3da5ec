"""Requests that go straight to pods: round robin, the pods' own queues, and switching the shared queue on and off."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler_tuning.policies.hpa.hpa import Hpa
from autoscaler_tuning.policies.scale_to_zero import ScalesDeployment
from autoscaler_tuning.simulator.pod_queues import PodQueues
from autoscaler_tuning.simulator.servers import Servers
from autoscaler_tuning.simulator.simulate import simulate
from autoscaler_tuning.simulator.world import SimConfig
from tests.effort import effort

WORLD = SimConfig(service_time_s=0.1, service_cv=0.0, gateway_workers=1)


def direct(arrivals_s: list[float], pods: int, service_s: float = 0.1, world: SimConfig = WORLD) -> Servers:
    """Return servers with pods that are ready from the start and no shared queue."""
    servers = Servers(np.array(arrivals_s), np.full(len(arrivals_s), service_s), world)
    for pod in range(pods):
        servers.add(pod, 0.0)
    servers.set_direct(True, 0.0)
    return servers


def test_pods_take_turns_even_if_one_is_busy_and_the_other_free() -> None:
    servers = direct([1.0, 1.01, 1.02, 1.15], pods=2)
    servers.advance(10)
    assert servers.done_s == pytest.approx([1.1, 1.11, 1.2, 1.25])
    assert servers.work_s == pytest.approx([0.2, 0.2])


def test_each_ingress_worker_has_its_own_round_robin() -> None:
    queues = PodQueues(concurrency=1, workers=2)
    for pod in range(3):
        queues.add(pod, 0.0, [0.0])
    queues.first_ready_s(0.0, 1.0)
    assert [queues.next_pod(worker) for worker in (0, 0, 1, 0, 1)] == [1, 2, 1, 0, 2]


def test_the_ingress_worker_of_a_request_is_random() -> None:
    arrivals_s = [float(second) for second in range(400)]
    one, four = (direct(arrivals_s, 2, world=SimConfig(gateway_workers=workers)) for workers in (1, 4))
    for servers in (one, four):
        servers.advance(1000)
    assert one.work_s[0] == pytest.approx(one.work_s[1])
    assert four.work_s[0] != pytest.approx(four.work_s[1], rel=1e-6)


def test_a_queue_proxy_queues_ten_requests_beside_the_one_in_service_and_refuses_more() -> None:
    servers = direct([1.0] * 13, pods=1)
    servers.advance(10)
    assert (servers.served, servers.refused) == (11, 2)
    assert np.isnan(servers.done_s[11:]).all()


def test_requests_that_have_ended_free_their_places_in_the_queue() -> None:
    servers = direct([1.0] * 11 + [1.1], pods=1)
    servers.advance(10)
    assert servers.refused == 0


def test_a_pod_serves_as_many_requests_at_a_time_as_its_concurrency() -> None:
    servers = direct([1.0, 1.0, 1.0], pods=1, world=SimConfig(concurrency=2, service_cv=0.0, gateway_workers=1))
    servers.advance(10)
    assert servers.done_s == pytest.approx([1.1, 1.1, 1.2])


def test_without_a_ready_pod_requests_wait_for_the_first_one_and_none_is_refused() -> None:
    servers = Servers(np.full(30, 1.0), np.full(30, 0.1), WORLD)
    servers.set_direct(True, 0.0)
    servers.advance(2.0)
    assert servers.waiting(2.0) == 30
    servers.add(0, 5.0)
    servers.advance(4.9)
    assert servers.waiting(4.9) == 30
    servers.advance(20.0)
    assert (servers.served, servers.refused) == (30, 0)
    assert (min(servers.done_s), max(servers.done_s)) == pytest.approx((5.1, 8.0))


def test_a_removed_pod_finishes_its_queue_and_gets_no_further_requests() -> None:
    servers = direct([1.0, 1.0, 1.0, 1.05], pods=1)
    servers.advance(1.0)
    assert servers.remove({0}, 1.0) == {0: pytest.approx(1.3)}
    servers.advance(10)
    assert servers.served == 3
    assert servers.waiting(10) == 1


def test_requests_that_wait_when_the_activator_leaves_the_path_go_to_the_first_free_slot() -> None:
    servers = Servers(np.array([1.0, 1.0, 1.02]), np.array([0.1, 0.3, 0.1]), WORLD)
    servers.add(0, 0.0)
    servers.add(1, 0.0)
    servers.advance(1.05)
    servers.set_direct(True, 1.05)
    servers.advance(10)
    assert servers.done_s == pytest.approx([1.1, 1.3, 1.2])


def test_requests_that_wait_for_a_pod_can_go_to_one_that_starts_later() -> None:
    servers = Servers(np.full(30, 1.0), np.full(30, 0.1), WORLD)
    servers.set_direct(True, 0.0)
    servers.add(0, 5.0)
    servers.advance(6.0)
    assert servers.waiting(6.0) == pytest.approx(20, abs=1)
    servers.add(1, 6.0)
    servers.advance(10.0)
    assert max(servers.done_s) < 7.2  # 8.0 if all had gone to the first


def test_pods_keep_the_requests_in_their_queues_when_the_activator_enters_the_path() -> None:
    servers = direct([1.0, 1.0, 1.01, 1.02], pods=2)
    servers.advance(1.0)
    servers.set_direct(False, 1.0)
    servers.advance(10)
    assert sorted(servers.done_s) == pytest.approx([1.1, 1.1, 1.2, 1.2])


def test_requests_that_stay_in_pod_queues_are_counted_once() -> None:
    servers = direct([1.0, 1.0], pods=1)
    servers.advance(1.0)
    servers.set_direct(False, 1.0)
    assert len(servers.in_flight(1.0)) == 2
    assert servers.request_seconds(1.05) == pytest.approx(0.1)


@settings(max_examples=effort(25, ci=60), deadline=None)
@given(
    st.lists(st.floats(0, 20), min_size=1, max_size=80),
    st.integers(1, 3),
    st.integers(1, 2),
    st.lists(st.tuples(st.floats(0.05, 25), st.booleans()), min_size=1, max_size=12),
)
def test_switching_the_path_neither_loses_requests_nor_counts_them_twice(
    times_s: list[float], pods: int, concurrency: int, turns: list[tuple[float, bool]]
) -> None:
    """Little's law as a sum, checked at every moment at which the path may change."""
    arrivals_s = np.sort(np.array(times_s))
    servers = Servers(arrivals_s, np.full(len(times_s), 0.3), SimConfig(service_time_s=0.3, concurrency=concurrency))
    for pod in range(pods):
        servers.add(pod, 0.7 * pod)
    for now_s, to_pods in sorted(turns):
        servers.advance(now_s)
        ends_s = np.array(servers.done_s)
        refused = np.isnan(ends_s) & (np.arange(len(ends_s)) < len(ends_s) - servers.waiting(1e9))
        ends_s[np.isnan(ends_s)] = np.inf
        ends_s[refused] = arrivals_s[refused]
        spent_s = np.clip(np.minimum(ends_s, now_s) - arrivals_s, 0, None)
        assert servers.request_seconds(now_s) == pytest.approx(spent_s.sum(), abs=1e-6)
        inside = np.sum((arrivals_s <= now_s) & (ends_s > now_s))
        assert servers.waiting(now_s) + len(servers.in_flight(now_s)) == inside
        servers.set_direct(to_pods, now_s)


def test_the_concurrency_of_a_pod_includes_its_waiting_requests() -> None:
    servers = direct([1.5, 1.5, 1.5, 1.95], pods=2)
    servers.advance(3.0)
    assert servers.concurrency_by_pod(1.0, 2.0) == pytest.approx((0.1 + 0.05, 0.1 + 0.2))
    assert servers.concurrency_by_pod(2.0, 3.0) == pytest.approx((0.05, 0.0))
    servers.set_direct(False, 3.0)
    assert servers.concurrency_by_pod(3.0, 4.0) == ()


def test_the_concurrencies_of_the_pods_sum_to_that_of_the_service() -> None:
    arrivals_s = np.sort(np.random.default_rng(3).uniform(0, 20, 300))
    servers = direct(arrivals_s.tolist(), pods=3)
    for second in range(1, 22):
        before = servers.request_seconds(second - 1.0)
        servers.advance(float(second))
        of_pods = sum(servers.concurrency_by_pod(second - 1.0, float(second)))
        assert of_pods == pytest.approx(servers.request_seconds(float(second)) - before, abs=1e-6)


def test_in_a_burst_hpa_loses_requests_that_a_shared_queue_would_have_kept() -> None:
    arrivals_s = np.sort(np.random.default_rng(1).uniform(10, 20, 400))
    row = simulate("hpa", ScalesDeployment(Hpa()), arrivals_s, SimConfig(initial_pods=1, service_cv=0.0), 0).row
    assert row.lost > 100
