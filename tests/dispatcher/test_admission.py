"""Admission: bounds in requests and bytes, deadlines that cannot be met, and whose place a newer request takes."""

import pytest

from dispatcher.admission import PACE
from dispatcher.backends import Backends
from dispatcher.buffer import Action, BufferConfig, BurstBuffer, Capacity, Forward, Outcome, Reason, Reject
from dispatcher.signals import TrafficLog
from dispatcher.terms import Priority, Terms

FOR_EVER = float("inf")


def buffer(*, concurrency: int = 1, **config: object) -> BurstBuffer:
    return BurstBuffer(BufferConfig(**config), Backends(["http://pod"], [concurrency]))  # type: ignore[arg-type]


def sent(actions: list[Action]) -> list[int]:
    return [action.request_id for action in actions if isinstance(action, Forward)]


def rejected(actions: list[Action]) -> dict[int, Reason]:
    return {action.request_id: action.reason for action in actions if isinstance(action, Reject)}


def answered(held: BurstBuffer, request_id: int, now_s: float) -> list[Action]:
    return held.finish(request_id, now_s, Outcome.ANSWERED, 0.1, 0.1)


def test_a_feasible_arrival_displaces_the_oldest_expired_request_of_the_lowest_class() -> None:
    held = buffer(slo_s=0.5, queue_limit=3)
    held.arrive(0, 0.0)
    held.arrive(1, 0.0)
    held.arrive(2, 0.1, Terms(priority=Priority.LOW))
    held.arrive(3, 0.2, Terms(priority=Priority.LOW))
    assert rejected(held.arrive(4, 5.0)) == {2: Reason.DISPLACED}
    assert rejected(held.arrive(5, 5.0)) == {3: Reason.DISPLACED}
    assert rejected(held.arrive(6, 5.0)) == {1: Reason.DISPLACED}
    assert rejected(held.arrive(7, 5.0)) == {7: Reason.FULL}


def test_a_request_displaces_none_of_a_higher_class() -> None:
    held = buffer(slo_s=0.5, queue_limit=1)
    held.arrive(0, 0.0)
    held.arrive(1, 0.0)
    assert rejected(held.arrive(2, 5.0, Terms(priority=Priority.LOW))) == {2: Reason.FULL}


def test_kept_requests_are_not_displaced() -> None:
    held = buffer(slo_s=0.5, queue_limit=1)
    held.arrive(0, 0.0)
    held.arrive(1, 0.0, Terms(priority=Priority.LOW, kept=True))
    assert rejected(held.arrive(2, 5.0)) == {2: Reason.FULL}


def test_a_request_that_returned_when_it_was_told_to_keeps_its_place() -> None:
    held = buffer(slo_s=0.5, queue_limit=1)
    held.arrive(0, 0.0)
    held.arrive(1, 0.0)
    assert rejected(held.arrive(2, 0.0, Terms(promise_key=b"a"))) == {2: Reason.FULL}
    held.cancel(1, 0.5)
    held.arrive(3, 1.5, Terms(promise_key=b"a"))
    assert held.waiting == 1
    assert rejected(held.arrive(4, 9.0)) == {4: Reason.FULL}


def test_a_newcomer_does_not_take_the_place_of_a_client_that_is_due() -> None:
    held = buffer(queue_limit=1)
    held.arrive(0, 0.0)
    held.arrive(1, 0.0)
    held.arrive(2, 0.0, Terms(promise_key=b"a"))
    held.cancel(1, 1.5)
    assert rejected(held.arrive(3, 1.5, Terms(promise_key=b"b"))) == {3: Reason.FULL}
    assert held.arrive(4, 1.6, Terms(promise_key=b"a")) == []
    assert held.waiting == 1


def test_when_the_queue_is_full_a_request_that_would_be_late_displaces_none() -> None:
    held = buffer(slo_s=0.5, queue_limit=3)
    held.service_times.add(0.2)
    held.arrive(0, 0.0)
    held.arrive(1, 0.0)
    held.arrive(2, 5.0)
    held.arrive(3, 5.0)
    # two feasible ones go before it: 0.4 s of work, and 0.2 s of its own
    assert rejected(held.arrive(4, 5.0)) == {4: Reason.FULL}


def test_the_bodies_of_unfinished_requests_and_of_those_being_read_are_bounded() -> None:
    held = buffer(queue_bytes=100)
    assert sent(held.arrive(0, 0.0, Terms(size_bytes=60))) == [0]
    assert held.reading(40)
    assert not held.reading(1)
    held.reading(-1)
    assert rejected(held.arrive(1, 0.0, Terms(size_bytes=1))) == {1: Reason.FULL}
    held.reading(-40)
    assert held.arrive(2, 0.0, Terms(size_bytes=40)) == []
    answered(held, 0, 0.1)
    assert held.reading(60)


def test_as_many_expired_requests_are_displaced_as_make_room_for_the_body() -> None:
    held = buffer(slo_s=0.5, queue_bytes=100)
    held.arrive(0, 0.0)
    for request in (1, 2, 3):
        held.arrive(request, 0.1 * request, Terms(size_bytes=30))
    assert rejected(held.arrive(4, 5.0, Terms(size_bytes=50))) == {1: Reason.DISPLACED, 2: Reason.DISPLACED}
    assert rejected(held.arrive(5, 5.0, Terms(size_bytes=101))) == {5: Reason.FULL}
    assert held.waiting == 2


def test_none_is_displaced_if_that_does_not_make_enough_room() -> None:
    held = buffer(slo_s=0.5, queue_bytes=100)
    held.arrive(0, 0.0, Terms(size_bytes=60))
    held.arrive(1, 0.0, Terms(size_bytes=30))
    assert rejected(held.arrive(2, 5.0, Terms(size_bytes=50))) == {2: Reason.FULL}
    assert held.waiting == 1


def test_a_deadline_shorter_than_the_service_time_is_refused_without_a_promise() -> None:
    held = buffer()
    held.service_times.add(0.3)
    assert held.arrive(0, 0.0, Terms(deadline_s=0.2)) == [Reject(0, Reason.DEADLINE)]
    assert sent(held.arrive(1, 0.0, Terms(deadline_s=0.31))) == [1]


def test_a_deadline_is_refused_only_by_what_is_certain_mean_less_spread() -> None:
    held = buffer()
    for _ in range(10):
        held.service_times.add(0.1)
        held.service_times.add(0.5)
    assert rejected(held.arrive(0, 0.0, Terms(deadline_s=0.05))) == {0: Reason.DEADLINE}
    assert sent(held.arrive(1, 0.0, Terms(deadline_s=0.15))) == [1]


def test_a_deadline_that_the_requests_before_it_make_impossible_is_refused_with_a_promise() -> None:
    held = buffer(slo_s=10.0)
    held.service_times.add(0.2)
    for request in range(4):
        assert not rejected(held.arrive(request, 0.0, Terms(deadline_s=0.78)))
    # 3 requests of 0.2 s wait before it
    (refused,) = held.arrive(4, 0.0, Terms(deadline_s=0.79))
    assert refused == Reject(4, Reason.DEADLINE, retry_after_s=pytest.approx(0.2 / PACE))  # type: ignore[arg-type]
    assert held.arrive(5, 0.0, Terms(deadline_s=0.79, priority=Priority.HIGH)) == []


def test_at_zero_pods_a_deadline_is_refused_once_the_start_time_is_known() -> None:
    held = buffer(concurrency=0)
    held.set_capacity(Capacity(0, FOR_EVER), 0.0)
    assert held.arrive(0, 0.0, Terms(deadline_s=1.0)) == []
    held.tick(1.0)
    held.set_capacity(Capacity(1, FOR_EVER), 3.0)
    held.set_capacity(Capacity(0, FOR_EVER), 10.0)
    assert rejected(held.arrive(1, 10.0, Terms(deadline_s=12.9))) == {1: Reason.DEADLINE}
    assert held.arrive(2, 10.0, Terms(deadline_s=13.1)) == []
    # the pod was asked for at 10 s: what is left of its start is shorter now
    assert held.arrive(3, 12.0, Terms(deadline_s=13.5)) == []


def test_a_refusal_counts_as_demand() -> None:
    held, traffic = buffer(queue_limit=1), TrafficLog()
    for request in range(10):
        traffic.arrive(0.0)
        if rejected(held.arrive(request, 0.0)):
            traffic.leave(0.0)
    assert traffic.per_second(1.0).arrivals == (10,)


def test_looking_at_the_promise_makes_none() -> None:
    held = buffer(queue_limit=1)
    held.service_times.add(0.5)
    assert held.retry_after_s(0.0) == held.retry_after_s(0.0) == pytest.approx(1.0)
    held.arrive(0, 0.0)
    held.arrive(1, 0.0)
    assert held.arrive(2, 0.0) == [Reject(2, Reason.FULL, retry_after_s=1.0)]
    assert held.retry_after_s(0.0) == pytest.approx(2.0)
