"""The burst buffer: who goes on, who waits, who is turned away."""

import random

import pytest

from dispatcher.backends import Backends
from dispatcher.buffer import Action, BufferConfig, BurstBuffer, Capacity, Deliver, Forward, Outcome, Reason, Reject

FOR_EVER = float("inf")


def buffer(*, urls: int = 1, concurrency: int = 1, **config: object) -> BurstBuffer:
    names = [f"http://pod-{index}" for index in range(urls)]
    return BurstBuffer(BufferConfig(**config), Backends(names, [concurrency] * urls))  # type: ignore[arg-type]


def sent(actions: list[Action]) -> list[int]:
    return [action.request_id for action in actions if isinstance(action, Forward)]


def answered(held: BurstBuffer, request_id: int, now_s: float, service_time_s: float = 0.1) -> list[Action]:
    return held.finish(request_id, now_s, Outcome.ANSWERED, service_time_s)


def test_a_free_slot_takes_a_request_at_once() -> None:
    assert buffer().arrive(1, 0.0) == [Forward(1, "http://pod-0", 1)]


def test_a_busy_slot_makes_it_wait_until_the_answer() -> None:
    held = buffer()
    held.arrive(1, 0.0)
    assert held.arrive(2, 0.0) == []
    assert answered(held, 1, 0.1) == [Deliver(1), Forward(2, "http://pod-0", 1)]


def test_no_limit_sends_everything_on() -> None:
    held = buffer(concurrency=0)
    assert all(sent(held.arrive(request, 0.0)) == [request] for request in range(50))


def test_the_least_busy_backend_is_picked_and_equals_take_turns() -> None:
    held = buffer(urls=2, concurrency=2)
    picked = [action.backend for r in range(4) for action in held.arrive(r, 0.0) if isinstance(action, Forward)]
    assert picked == ["http://pod-0", "http://pod-1", "http://pod-0", "http://pod-1"]


def test_capacity_holds_back_until_it_lapses_and_then_everything_goes() -> None:
    held = buffer(concurrency=0)
    held.set_capacity(Capacity(1, valid_until_s=5.0), 0.0)
    held.arrive(1, 0.0)
    assert sent([action for r in (2, 3) for action in held.arrive(r, 0.0)]) == []
    assert held.next_event_s(0.0) == 5.0
    assert sent(held.tick(4.999)) == []
    assert sent(held.tick(5.0)) == [2, 3]


def test_without_hold_capacity_means_nothing() -> None:
    held = buffer(concurrency=0, hold=False)
    held.set_capacity(Capacity(0, FOR_EVER), 0.0)
    assert sent(held.arrive(1, 0.0)) == [1]


def test_zero_capacity_waits_and_a_raise_releases() -> None:
    held = buffer(concurrency=0)
    held.set_capacity(Capacity(0, FOR_EVER), 0.0)
    assert sent([action for r in range(3) for action in held.arrive(r, 0.0)]) == []
    assert sent(held.set_capacity(Capacity(2, FOR_EVER), 1.0)) == [0, 1]


def test_capacity_lowered_under_load_takes_nothing_away_but_sends_nothing_more() -> None:
    held = buffer(concurrency=0)
    for request in range(3):
        held.arrive(request, 0.0)
    held.set_capacity(Capacity(1, FOR_EVER), 0.0)
    held.arrive(3, 0.0)
    assert sent(answered(held, 0, 0.1)) == []
    assert sent(answered(held, 1, 0.1)) == []
    assert sent(answered(held, 2, 0.1)) == [3]


def test_from_no_backend_a_burst_waits_and_named_backends_take_it() -> None:
    held = BurstBuffer(BufferConfig(), Backends((), ()))
    assert not [action for r in range(100) for action in held.arrive(r, 0.0)]
    assert sent(held.set_backends(["http://a", "http://b"], 1, 1.0)) == [0, 1]


def test_a_backend_that_leaves_finishes_what_it_has() -> None:
    held = BurstBuffer(BufferConfig(), Backends((), ()))
    held.set_backends(["http://a"], 1, 0.0)
    held.arrive(1, 0.0)
    held.arrive(2, 0.0)
    assert held.set_backends([], 1, 0.0) == []
    assert answered(held, 1, 0.1) == [Deliver(1)]
    assert sent(held.set_backends(["http://a"], 1, 0.2)) == [2]


def test_the_full_queue_refuses_the_newest() -> None:
    held = buffer(queue_limit=2)
    for request in range(3):
        held.arrive(request, 0.0)
    assert held.arrive(3, 0.0) == [Reject(3, Reason.FULL)]
    assert held.waiting == 2


def test_the_slo_refuses_nobody() -> None:
    held = buffer(slo_s=0.5)
    held.arrive(1, 0.0)
    held.arrive(2, 0.0)
    assert held.tick(100.0) == []
    assert sent(answered(held, 1, 100.0)) == [2]


def test_by_deadline_the_oldest_that_can_still_be_in_time_goes_first_then_the_expired() -> None:
    held = buffer(slo_s=0.5)
    held.arrive(0, 0.0)
    held.arrive(1, 0.0)
    held.arrive(2, 9.7)
    held.arrive(3, 9.8)
    assert sent(answered(held, 0, 10.0)) == [2]
    assert sent(answered(held, 2, 10.1)) == [3]
    assert sent(answered(held, 3, 10.2)) == [1]


def test_at_the_very_moment_a_request_still_counts_as_in_time() -> None:
    held = buffer(slo_s=0.5)
    held.arrive(0, 0.0)
    answered(held, 0, 0.25, service_time_s=0.25)
    held.arrive(1, 1.0)
    held.arrive(2, 1.0)
    held.arrive(3, 1.25)
    assert sent(answered(held, 1, 1.25, service_time_s=0.25)) == [2]


def test_first_come_first_served_when_asked() -> None:
    held = buffer(slo_s=0.5, order="fifo")
    for request, now_s in [(0, 0.0), (1, 0.0), (2, 9.9)]:
        held.arrive(request, now_s)
    assert sent(answered(held, 0, 10.0)) == [1]


def test_the_expired_are_not_starved() -> None:
    held = buffer(slo_s=0.5)
    held.arrive(0, 0.0)
    held.arrive(1, 0.0)
    for request in range(2, 30):
        held.arrive(request, 9.9)
    order = [0]
    while 1 not in order and len(order) < 15:
        order += sent(answered(held, order[-1], 10.0))
    assert 1 in order


def test_a_clients_own_deadline_is_refused_when_it_cannot_be_met() -> None:
    held = buffer()
    held.arrive(0, 0.0)
    held.arrive(1, 0.0, client_deadline_s=0.3)
    assert held.next_event_s(0.0) == 0.3
    assert held.tick(0.29) == []
    assert held.tick(0.3) == [Reject(1, Reason.DEADLINE)]


def test_a_shorter_deadline_goes_first() -> None:
    held = buffer(slo_s=0.5)
    held.arrive(0, 0.0)
    held.arrive(1, 0.0)
    held.arrive(2, 0.0, client_deadline_s=0.4)
    assert sent(answered(held, 0, 0.1)) == [2]


def test_nobody_waits_longer_than_the_time_limit() -> None:
    held = buffer(timeout_s=10.0)
    held.arrive(0, 0.0)
    held.arrive(1, 0.0)
    assert held.tick(10.0) == [Reject(1, Reason.TIMEOUT)]


def test_what_failed_goes_back_to_its_place_and_the_backend_rests() -> None:
    held = buffer()
    held.arrive(1, 0.0)
    held.arrive(2, 0.1)
    assert held.finish(1, 0.2, Outcome.FAILED, 0.1) == []
    assert held.next_event_s(0.2) == pytest.approx(0.3)
    assert held.tick(0.29) == []
    assert held.tick(0.31) == [Forward(1, "http://pod-0", 2)]


def test_attempts_are_bounded() -> None:
    held = buffer(attempts=2)
    held.arrive(1, 0.0)
    held.finish(1, 0.0, Outcome.FAILED, 0.1)
    held.tick(1.0)
    assert held.finish(1, 1.0, Outcome.FAILED, 0.1) == [Reject(1, Reason.EXHAUSTED)]


def test_what_never_reached_its_backend_used_up_no_attempt() -> None:
    held = buffer(attempts=1)
    held.arrive(1, 0.0)
    for now_s in range(1, 20):
        assert held.finish(1, now_s, Outcome.UNREACHED, 0.0) == []
        assert held.tick(now_s + 2.0) == [Forward(1, "http://pod-0", 1)]


def test_a_failed_backend_leaves_the_work_to_the_others() -> None:
    held = buffer(urls=2)
    held.arrive(1, 0.0)
    assert held.finish(1, 0.0, Outcome.FAILED, 0.1) == [Forward(1, "http://pod-1", 2)]


def test_a_client_that_hangs_up_while_waiting_leaves_the_queue() -> None:
    held = buffer()
    for request in range(3):
        held.arrive(request, 0.0)
    assert held.cancel(1, 0.0) == []
    assert sent(answered(held, 0, 0.1)) == [2]
    assert held.waiting == 0


def test_a_client_that_hangs_up_in_flight_keeps_its_slot_until_the_answer() -> None:
    held = buffer()
    held.arrive(1, 0.0)
    held.arrive(2, 0.0)
    assert held.cancel(1, 0.0) == []
    assert answered(held, 1, 0.1) == [Forward(2, "http://pod-0", 1)]


def test_an_end_without_a_start_is_a_fault() -> None:
    held = buffer()
    held.arrive(0, 0.0)
    held.arrive(1, 0.0)
    with pytest.raises(RuntimeError, match="without being in flight"):
        answered(held, 1, 0.0)


def test_the_feasible_backlog_is_the_work_that_can_still_be_in_time() -> None:
    held = buffer(slo_s=0.5)
    held.arrive(0, 0.0)
    answered(held, 0, 0.1, service_time_s=0.1)
    for request, now_s in [(1, 1.0), (2, 1.0), (3, 5.0)]:
        held.arrive(request, now_s)
    assert held.feasible_backlog_s(5.0) == pytest.approx(0.1)
    assert held.oldest_wait_s(5.0) == pytest.approx(4.0)


@pytest.mark.parametrize("seed", range(30))
def test_whatever_happens_every_request_ends_exactly_once(seed: int) -> None:  # noqa: C901, PLR0915  one long story
    """Random events; the actions are checked against a plain account of what is where."""
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
        account(held.arrive(request, now_s, rng.choice([None, None, now_s + rng.uniform(0.01, 2)])))
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


def test_less_busy_counts_more_than_picked_longer_ago() -> None:
    held = buffer(urls=2, concurrency=3)
    held.arrive(1, 0.0)
    held.arrive(2, 0.0)
    answered(held, 2, 0.1)
    assert held.arrive(3, 0.2) == [Forward(3, "http://pod-1", 1)]
