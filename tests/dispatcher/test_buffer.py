"""The burst buffer: which requests are forwarded, wait or are rejected."""

import random

import pytest

from dispatcher.backends import LEAST_RETRIES_RPS, RETRY_WINDOW_S, Backends
from dispatcher.buffer import (
    EXPIRED_SHARE,
    Action,
    BufferConfig,
    BurstBuffer,
    Capacity,
    Deliver,
    Forward,
    Outcome,
    Reason,
    Reject,
)
from dispatcher.terms import Priority, Terms
from dispatcher.waiting import QueueRow

FOR_EVER = float("inf")


def buffer(*, urls: int = 1, concurrency: int = 1, **config: object) -> BurstBuffer:
    names = [f"http://pod-{index}" for index in range(urls)]
    return BurstBuffer(BufferConfig(**config), Backends(names, [concurrency] * urls))  # type: ignore[arg-type]


def sent(actions: list[Action]) -> list[int]:
    return [action.request_id for action in actions if isinstance(action, Forward)]


def rejected(actions: list[Action]) -> dict[int, Reason]:
    return {action.request_id: action.reason for action in actions if isinstance(action, Reject)}


def answered(held: BurstBuffer, request_id: int, now_s: float, service_time_s: float = 0.1) -> list[Action]:
    return held.finish(request_id, now_s, Outcome.ANSWERED, service_time_s, service_time_s)


def test_a_request_is_forwarded_at_once_if_a_slot_is_free() -> None:
    assert buffer().arrive(1, 0.0) == [Forward(1, "http://pod-0", 1)]


def test_a_request_waits_for_a_busy_slot_until_the_response() -> None:
    held = buffer()
    held.arrive(1, 0.0)
    assert held.arrive(2, 0.0) == []
    assert answered(held, 1, 0.1) == [Deliver(1), Forward(2, "http://pod-0", 1)]


def test_without_a_limit_every_request_is_forwarded() -> None:
    held = buffer(concurrency=0)
    assert all(sent(held.arrive(request, 0.0)) == [request] for request in range(50))


def test_the_least_busy_backend_is_picked_and_equals_take_turns() -> None:
    held = buffer(urls=2, concurrency=2)
    picked = [action.backend for r in range(4) for action in held.arrive(r, 0.0) if isinstance(action, Forward)]
    assert picked == ["http://pod-0", "http://pod-1", "http://pod-0", "http://pod-1"]


def test_a_capacity_holds_requests_back_until_it_expires() -> None:
    held = buffer(concurrency=0)
    held.set_capacity(Capacity(1, valid_until_s=5.0), 0.0)
    held.arrive(1, 0.0)
    assert sent([action for r in (2, 3) for action in held.arrive(r, 0.0)]) == []
    assert held.next_event_s(0.0) == 5.0
    assert sent(held.tick(4.999)) == []
    assert sent(held.tick(5.0)) == [2, 3]


def test_without_hold_the_capacity_is_ignored() -> None:
    held = buffer(concurrency=0, hold=False)
    held.set_capacity(Capacity(0, FOR_EVER), 0.0)
    assert sent(held.arrive(1, 0.0)) == [1]


def test_requests_wait_at_zero_capacity_and_are_released_when_it_rises() -> None:
    held = buffer(concurrency=0)
    held.set_capacity(Capacity(0, FOR_EVER), 0.0)
    assert sent([action for r in range(3) for action in held.arrive(r, 0.0)]) == []
    assert sent(held.set_capacity(Capacity(2, FOR_EVER), 1.0)) == [0, 1]


def test_lowering_the_capacity_under_load_cancels_nothing_and_forwards_no_more() -> None:
    held = buffer(concurrency=0)
    for request in range(3):
        held.arrive(request, 0.0)
    held.set_capacity(Capacity(1, FOR_EVER), 0.0)
    held.arrive(3, 0.0)
    assert sent(answered(held, 0, 0.1)) == []
    assert sent(answered(held, 1, 0.1)) == []
    assert sent(answered(held, 2, 0.1)) == [3]


def test_a_burst_waits_until_the_first_backends_are_named() -> None:
    held = BurstBuffer(BufferConfig(), Backends((), ()))
    assert not [action for r in range(100) for action in held.arrive(r, 0.0)]
    assert sent(held.set_backends(["http://a", "http://b"], 1, 1.0)) == [0, 1]


def test_a_removed_backend_finishes_its_requests() -> None:
    held = BurstBuffer(BufferConfig(), Backends((), ()))
    held.set_backends(["http://a"], 1, 0.0)
    held.arrive(1, 0.0)
    held.arrive(2, 0.0)
    assert held.set_backends([], 1, 0.0) == []
    assert answered(held, 1, 0.1) == [Deliver(1)]
    assert sent(held.set_backends(["http://a"], 1, 0.2)) == [2]


def test_a_full_queue_rejects_the_newest_request() -> None:
    held = buffer(queue_limit=2)
    for request in range(3):
        held.arrive(request, 0.0)
    assert held.arrive(3, 0.0) == [Reject(3, Reason.FULL, retry_after_s=0.5)]
    assert held.waiting == 2


def test_the_slo_rejects_no_request() -> None:
    held = buffer(slo_s=0.5)
    held.arrive(1, 0.0)
    held.arrive(2, 0.0)
    assert held.tick(100.0) == []
    assert sent(answered(held, 1, 100.0)) == [2]


def test_in_deadline_order_requests_that_can_be_in_time_go_before_expired_ones() -> None:
    held = buffer(slo_s=0.5)
    held.arrive(0, 0.0)
    held.arrive(1, 0.0)
    held.arrive(2, 9.7)
    held.arrive(3, 9.8)
    assert sent(answered(held, 0, 10.0)) == [2]
    assert sent(answered(held, 2, 10.1)) == [3]
    assert sent(answered(held, 3, 10.2)) == [1]


def test_a_request_that_can_be_answered_exactly_at_its_deadline_is_in_time() -> None:
    held = buffer(slo_s=0.5)
    held.arrive(0, 0.0)
    answered(held, 0, 0.25, service_time_s=0.25)
    held.arrive(1, 1.0)
    held.arrive(2, 1.0)
    held.arrive(3, 1.25)
    assert sent(answered(held, 1, 1.25, service_time_s=0.25)) == [2]


def test_in_fifo_order_the_oldest_request_goes_first() -> None:
    held = buffer(slo_s=0.5, order="fifo")
    for request, now_s in [(0, 0.0), (1, 0.0), (2, 9.9)]:
        held.arrive(request, now_s)
    assert sent(answered(held, 0, 10.0)) == [1]


def test_expired_requests_are_not_starved() -> None:
    held = buffer(slo_s=0.5)
    held.arrive(0, 0.0)
    held.arrive(1, 0.0)
    for request in range(2, 60):
        held.arrive(request, 9.9)
    order = [0]
    while 1 not in order and len(order) < 60:
        order += sent(answered(held, order[-1], 10.0))
    # the first release was request 0 at time 0
    assert order.index(1) == EXPIRED_SHARE - 1


def test_a_request_is_rejected_when_its_client_deadline_cannot_be_met() -> None:
    held = buffer()
    held.arrive(0, 0.0)
    held.arrive(1, 0.0, Terms(deadline_s=0.3))
    assert held.next_event_s(0.0) == 0.3
    assert held.tick(0.29) == []
    assert held.tick(0.3) == [Reject(1, Reason.DEADLINE)]


def test_a_request_is_rejected_when_too_little_time_is_left_to_serve_it() -> None:
    held = buffer()
    held.service_times.add(0.125)
    held.arrive(0, 0.0)
    held.arrive(1, 0.0, Terms(deadline_s=0.5))
    assert held.next_event_s(0.0) == 0.375
    assert held.tick(0.374) == []
    assert held.tick(0.375) == [Reject(1, Reason.DEADLINE)]


def test_a_request_with_a_shorter_deadline_goes_first() -> None:
    held = buffer(slo_s=0.5)
    held.arrive(0, 0.0)
    held.arrive(1, 0.0)
    held.arrive(2, 0.0, Terms(deadline_s=0.4))
    assert sent(answered(held, 0, 0.1)) == [2]


def test_no_request_waits_longer_than_the_timeout() -> None:
    held = buffer(timeout_s=10.0)
    held.arrive(0, 0.0)
    held.arrive(1, 0.0)
    assert held.tick(10.0) == [Reject(1, Reason.TIMEOUT)]


def test_the_first_retry_goes_at_once_and_later_ones_wait_for_the_back_off() -> None:
    held = buffer()
    held.arrive(1, 0.0)
    held.arrive(2, 0.1)
    assert held.finish(1, 0.2, Outcome.FAILED, 0.1) == [Forward(1, "http://pod-0", 2)]
    assert held.finish(1, 0.3, Outcome.FAILED, 0.1) == []
    assert held.next_event_s(0.3) == pytest.approx(0.4)
    assert held.tick(0.39) == []
    assert held.tick(0.41) == [Forward(1, "http://pod-0", 3)]


def test_attempts_are_bounded() -> None:
    held = buffer(attempts=2)
    held.arrive(1, 0.0)
    held.finish(1, 0.0, Outcome.FAILED, 0.1)
    held.tick(1.0)
    assert held.finish(1, 1.0, Outcome.FAILED, 0.1) == [Reject(1, Reason.EXHAUSTED)]


def test_an_attempt_that_never_reached_its_backend_does_not_count() -> None:
    held = buffer(attempts=1)
    held.arrive(1, 0.0)
    assert held.finish(1, 0.0, Outcome.UNREACHED, 0.0) == [Forward(1, "http://pod-0", 1)]
    for now_s in range(0, 60, 3):
        assert held.finish(1, now_s, Outcome.UNREACHED, 0.0) == []
        assert held.tick(now_s + 2.0) == [Forward(1, "http://pod-0", 1)]


def test_after_a_failure_the_request_goes_to_another_backend() -> None:
    held = buffer(urls=2)
    held.arrive(1, 0.0)
    assert held.finish(1, 0.0, Outcome.FAILED, 0.1) == [Forward(1, "http://pod-1", 2)]


def test_a_waiting_request_whose_client_disconnects_leaves_the_queue() -> None:
    held = buffer()
    for request in range(3):
        held.arrive(request, 0.0)
    assert held.cancel(1, 0.0) == []
    assert sent(answered(held, 0, 0.1)) == [2]
    assert held.waiting == 0


def test_a_request_in_flight_whose_client_disconnects_keeps_its_slot_until_the_response() -> None:
    held = buffer()
    held.arrive(1, 0.0)
    held.arrive(2, 0.0)
    assert held.cancel(1, 0.0) == []
    assert answered(held, 1, 0.1) == [Forward(2, "http://pod-0", 1)]


def test_finishing_a_request_that_is_not_in_flight_raises_an_error() -> None:
    held = buffer()
    held.arrive(0, 0.0)
    held.arrive(1, 0.0)
    with pytest.raises(RuntimeError, match="without being in flight"):
        answered(held, 1, 0.0)


def test_the_feasible_backlog_is_the_waiting_work_that_can_still_be_in_time() -> None:
    held = buffer(slo_s=0.5)
    held.arrive(0, 0.0)
    answered(held, 0, 0.1, service_time_s=0.1)
    for request, now_s in [(1, 1.0), (2, 1.0), (3, 5.0)]:
        held.arrive(request, now_s)
    assert held.feasible_backlog_s(5.0) == pytest.approx(0.1)
    assert held.oldest_wait_s(5.0) == pytest.approx(4.0)


@pytest.mark.parametrize("seed", range(30))
def test_whatever_happens_every_request_ends_exactly_once(seed: int) -> None:  # noqa: C901, PLR0915  one long sequence
    """Random events; the actions are checked against a simple record of where each request is."""
    rng = random.Random(seed)
    held = BurstBuffer(
        BufferConfig(queue_limit=8, attempts=2, timeout_s=5.0, order=rng.choice(["deadline", "fifo"])),
        Backends((), ()),
    )
    now_s, capacity, flying, waiting, ended = 0.0, 10**9, set[int](), set[int](), list[int]()
    pods = [f"http://pod-{index}" for index in range(4)]

    def account(actions: list[Action]) -> None:
        for action in actions:
            waiting.discard(action.request_id)
            if isinstance(action, Forward):
                flying.add(action.request_id)
                assert len(flying) <= capacity
            else:
                ended.append(action.request_id)

    for request in range(300):
        now_s += rng.expovariate(10)
        waiting.add(request)
        account(held.arrive(request, now_s, Terms(rng.choice([None, None, now_s + rng.uniform(0.01, 2)]))))
        if rng.random() < 0.3:
            capacity = rng.randrange(5)
            flown_before = len(flying)
            capacity = max(capacity, flown_before)
            account(held.set_capacity(Capacity(capacity, FOR_EVER), now_s))
        if rng.random() < 0.3:
            account(held.set_backends(rng.sample(pods, rng.randrange(5)), rng.randrange(1, 3), now_s))
        if waiting and rng.random() < 0.1:
            gone = rng.choice(sorted(waiting))
            waiting.discard(gone)
            ended.append(gone)
            account(held.cancel(gone, now_s))
        while flying and rng.random() < 0.6:
            done = rng.choice(sorted(flying))
            flying.discard(done)
            waiting.add(done)
            account(held.finish(done, now_s, rng.choice(list(Outcome)), rng.uniform(0.01, 0.2)))
        assert (held.waiting, held.in_flight) == (len(waiting), len(flying))
    capacity = 10**9
    account(held.set_capacity(Capacity(capacity, FOR_EVER), now_s))
    account(held.set_backends(pods, 2, now_s))
    while flying or waiting:
        now_s += 0.5
        account(held.tick(now_s))
        for done in sorted(flying):
            flying.discard(done)
            account(held.finish(done, now_s, Outcome.ANSWERED, 0.1))
    assert sorted(ended) == list(range(300))


def test_fewer_requests_in_flight_count_more_than_being_picked_less_recently() -> None:
    held = buffer(urls=2, concurrency=3)
    held.arrive(1, 0.0)
    held.arrive(2, 0.0)
    answered(held, 2, 0.1)
    assert held.arrive(3, 0.2) == [Forward(3, "http://pod-1", 1)]


def drained(held: BurstBuffer, first: int, requests: int, now_s: float) -> list[int]:
    """Answer what is in flight, from `first` on, one after the other; return the order of release."""
    order = [first]
    while len(order) < requests:
        order += sent(answered(held, order[-1], now_s))
    return order[1:]


def test_classes_go_before_deadlines() -> None:
    held = buffer(slo_s=10.0)
    held.arrive(0, 0.0)
    held.arrive(1, 0.0, Terms(priority=Priority.LOW, deadline_s=5.0))
    held.arrive(2, 0.0)
    held.arrive(3, 0.1, Terms(priority=Priority.HIGH))
    assert drained(held, 0, 4, 0.1) == [3, 2, 1]


def test_of_expired_requests_the_higher_class_goes_first_and_each_after_all_feasible_ones() -> None:
    held = buffer(slo_s=0.5)
    held.arrive(0, 0.0)
    held.arrive(1, 0.0, Terms(priority=Priority.LOW))
    held.arrive(2, 0.1)
    held.arrive(3, 9.9, Terms(priority=Priority.LOW))
    assert drained(held, 0, 4, 10.0) == [3, 2, 1]


def test_in_fifo_order_classes_and_deadlines_count_for_nothing() -> None:
    held = buffer(order="fifo")
    held.arrive(0, 0.0)
    held.arrive(1, 0.0, Terms(priority=Priority.LOW))
    held.arrive(2, 0.0, Terms(priority=Priority.HIGH, deadline_s=5.0))
    assert drained(held, 0, 3, 1.0) == [1, 2]


def test_kept_requests_outlast_deadline_and_timeout() -> None:
    held = buffer(timeout_s=10.0, expired="drop")
    held.arrive(0, 0.0)
    held.arrive(1, 0.0, Terms(kept=True, deadline_s=1.0))
    assert held.tick(100.0) == []
    assert sent(answered(held, 0, 100.0)) == [1]


def test_with_expired_dropped_a_request_is_rejected_when_the_slo_has_passed() -> None:
    held = buffer(slo_s=0.5, expired="drop")
    held.service_times.add(0.1)
    held.arrive(0, 0.0)
    held.arrive(1, 0.0)
    assert held.next_event_s(0.0) == pytest.approx(0.401)
    assert held.tick(0.399) == []
    assert rejected(held.tick(0.401)) == {1: Reason.EXPIRED}


def test_with_expired_dropped_a_model_slower_than_the_slo_is_still_served() -> None:
    held = buffer(slo_s=0.5, expired="drop")
    held.service_times.add(5.0)
    held.arrive(0, 0.0)
    held.arrive(1, 0.0)
    assert sent(answered(held, 0, 5.0)) == [1]


def test_waiting_ends_with_another_reason_if_no_pod_became_ready() -> None:
    held = buffer(timeout_s=10.0, concurrency=0)
    held.set_capacity(Capacity(0, FOR_EVER), 0.0)
    held.arrive(0, 0.0)
    assert held.tick(10.0) == [Reject(0, Reason.NO_POD)]


def test_a_backend_that_is_never_reached_is_no_ready_pod() -> None:
    held = buffer(timeout_s=10.0)
    held.arrive(0, 0.0)
    held.finish(0, 0.0, Outcome.UNREACHED, 0.0)
    held.finish(0, 9.9, Outcome.UNREACHED, 0.0)
    assert rejected(held.tick(10.0)) == {} or held.in_flight == 1
    assert rejected(held.finish(0, 10.0, Outcome.UNREACHED, 0.0)) == {0: Reason.NO_POD}


def test_a_capacity_that_was_ready_meanwhile_makes_it_a_timeout() -> None:
    held = buffer(timeout_s=10.0, concurrency=0)
    held.set_capacity(Capacity(1, FOR_EVER), 0.0)
    held.arrive(0, 0.0)
    held.arrive(1, 0.0)
    answered(held, 0, 0.5)
    held.arrive(2, 0.6)
    held.set_capacity(Capacity(0, FOR_EVER), 0.7)
    held.finish(1, 0.8, Outcome.FAILED, 0.3)
    assert rejected(held.tick(10.7)) == {1: Reason.TIMEOUT, 2: Reason.TIMEOUT}


def test_a_failure_over_the_retry_budget_ends_the_request_but_not_a_kept_one() -> None:
    held = buffer(retry_ratio=0.0)
    for request in range(LEAST_RETRIES_RPS * RETRY_WINDOW_S):
        held.arrive(request, 0.0)
        assert sent(held.finish(request, 0.0, Outcome.FAILED, 0.1)) == [request]
        answered(held, request, 0.0)
    held.arrive(1000, 0.0, Terms(kept=True))
    assert sent(held.finish(1000, 0.0, Outcome.FAILED, 0.1)) == [1000]
    answered(held, 1000, 0.0)
    held.arrive(1001, 0.0)
    assert held.finish(1001, 0.0, Outcome.FAILED, 0.1) == [Reject(1001, Reason.EXHAUSTED)]


def test_a_request_is_not_retried_once_its_deadline_cannot_be_met() -> None:
    held = buffer()
    held.service_times.add(0.2)
    held.arrive(0, 0.0, Terms(deadline_s=0.5))
    assert rejected(held.finish(0, 0.31, Outcome.FAILED, 0.31)) == {0: Reason.DEADLINE}


def test_where_pods_are_announced_the_first_retry_does_not_wait_for_a_back_off() -> None:
    held = buffer(urls=2)
    held.set_capacity(Capacity(2, FOR_EVER), 0.0)
    held.arrive(0, 0.0)
    held.arrive(1, 0.0)
    assert sent(held.finish(0, 0.0, Outcome.UNREACHED, 0.0)) == [0]
    assert sent(held.finish(1, 0.0, Outcome.UNREACHED, 0.0)) == [1]
    assert sent(held.finish(0, 0.01, Outcome.UNREACHED, 0.0)) == []


def test_pods_are_known_ready_by_a_fresh_capacity_or_a_recent_answer() -> None:
    held = buffer()
    assert not held.pods_known_ready(0.0)
    held.arrive(0, 0.0)
    answered(held, 0, 1.0)
    assert [held.pods_known_ready(now_s) for now_s in (1.0, 11.0, 11.1)] == [True, True, False]
    held.set_capacity(Capacity(0, 5.0), 1.0)
    assert [held.pods_known_ready(now_s) for now_s in (1.0, 5.0)] == [False, True]
    held.set_capacity(Capacity(1, 50.0), 20.0)
    assert [held.pods_known_ready(now_s) for now_s in (20.0, 50.0)] == [True, False]


def test_the_queue_is_shown_by_class() -> None:
    held = buffer(slo_s=0.5)
    held.arrive(0, 0.0)
    held.arrive(1, 0.0, Terms(priority=Priority.LOW, kept=True))
    held.arrive(2, 4.0)
    held.arrive(3, 4.8)
    assert held.queue(5.0) == [
        QueueRow(Priority.HIGH, 0, 0, 0, 0, 0.0, None),
        QueueRow(Priority.NORMAL, 2, 1, 1, 0, 1.0, pytest.approx(0.3)),  # type: ignore[arg-type]
        QueueRow(Priority.LOW, 1, 0, 1, 1, 5.0, None),
    ]
