"""Backends: the least loaded first, ejected when they fail, probed back; retries within a budget."""

import pytest

from dispatcher.actions import Outcome
from dispatcher.backends import LEAST_RETRIES_RPS, RETRY_WINDOW_S, Backends, RetryBudget, Slot

A, B = "http://a", "http://b"


def two(concurrency: int = 0) -> Backends:
    return Backends((A, B), (concurrency, concurrency))


def take(backends: Backends, now_s: float = 0.0, avoid: str | None = None) -> Slot:
    slot = backends.take(now_s, avoid)
    assert slot is not None
    return slot


def fail(backends: Backends, now_s: float, outcome: Outcome = Outcome.FAILED) -> None:
    backends.release(take(backends, now_s), now_s, outcome)


def test_the_least_loaded_goes_first_and_of_equals_the_least_recently_used() -> None:
    backends = two()
    assert [take(backends).url for _ in range(3)] == [A, B, A]
    backends.release(Slot(A, False), 0.0, Outcome.ANSWERED)
    backends.release(Slot(A, False), 0.0, Outcome.ANSWERED)
    assert [take(backends).url for _ in range(2)] == [A, B]


def test_a_retry_goes_elsewhere_unless_there_is_only_the_backend_that_failed() -> None:
    backends = two()
    assert take(backends, avoid=A).url == B
    assert take(backends, avoid=A).url == B
    assert take(Backends((A,), (0,)), avoid=A).url == A


def test_a_full_backend_is_not_taken() -> None:
    backends = two(concurrency=1)
    assert {take(backends).url for _ in range(2)} == {A, B}
    assert backends.take(0.0) is None
    assert not backends.free(0.0)
    assert backends.slots() == 2


def test_a_backend_that_cannot_be_reached_is_ejected_at_once_and_longer_each_time() -> None:
    backends = Backends((A,), (0,))
    now_s = 0.0
    waits_s = []
    for _ in range(7):
        fail(backends, now_s, Outcome.UNREACHED)
        assert backends.take(now_s) is None
        (opens_s,) = backends.backoff_ends_s()
        waits_s.append(opens_s - now_s)
        now_s = opens_s
    assert waits_s == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0])


def test_a_broken_answer_ejects_only_after_another_one() -> None:
    backends = Backends((A,), (0,))
    fail(backends, 0.0)
    backends.release(take(backends), 0.0, Outcome.ANSWERED)
    fail(backends, 0.0)
    assert backends.free(0.0)
    fail(backends, 0.0)
    assert not backends.free(0.0)


def test_after_the_back_off_one_request_probes_and_its_success_readmits() -> None:
    backends = Backends((A,), (0,))
    fail(backends, 0.0, Outcome.UNREACHED)
    assert backends.take(0.09) is None
    probe = take(backends, 0.1)
    assert probe == Slot(A, True)
    assert backends.take(0.2) is None
    assert backends.backoff_ends_s() == []
    backends.release(probe, 0.2, Outcome.ANSWERED)
    assert [take(backends, 0.2) for _ in range(2)] == [Slot(A, False)] * 2


def test_only_the_success_of_the_probe_readmits() -> None:
    backends = Backends((A,), (0,))
    early = take(backends)
    fail(backends, 0.0, Outcome.UNREACHED)
    backends.release(early, 0.05, Outcome.ANSWERED)
    assert backends.take(0.05) is None


def test_failures_from_before_the_ejection_do_not_lengthen_the_back_off() -> None:
    backends = Backends((A,), (0,))
    for slot in [take(backends) for _ in range(5)]:
        backends.release(slot, 0.0, Outcome.UNREACHED)
    assert backends.backoff_ends_s() == [pytest.approx(0.1)]


def test_an_eager_request_goes_to_an_ejected_backend_if_all_are_ejected() -> None:
    backends = two()
    fail(backends, 0.0, Outcome.UNREACHED)
    assert backends.take(0.0, eager=True) == Slot(B, False)
    backends.release(Slot(B, False), 0.0, Outcome.UNREACHED)
    assert backends.take(0.0) is None
    assert backends.take(0.0, eager=True) is not None


def test_metadata_picks_a_healthy_backend_and_occupies_nothing() -> None:
    backends = two(concurrency=1)
    take(backends)
    assert [backends.pick(0.0) for _ in range(2)] == [B, B]
    take(backends)
    assert backends.pick(0.0) == A
    assert Backends((), ()).pick(0.0) is None


def test_metadata_picks_no_ejected_backend() -> None:
    backends = Backends((A,), (0,))
    fail(backends, 0.0, Outcome.UNREACHED)
    assert backends.pick(0.0) is None
    assert backends.pick(0.1) == A


def test_a_backend_named_again_keeps_what_is_in_flight_there() -> None:
    backends = two(concurrency=1)
    slot = take(backends)
    backends.replace([B], 1)
    backends.replace([A, B], 1)
    assert take(backends).url == B
    backends.release(slot, 0.0, Outcome.ANSWERED)
    assert take(backends).url == A


def test_retries_are_a_share_of_the_requests_beyond_a_floor() -> None:
    floor = LEAST_RETRIES_RPS * RETRY_WINDOW_S
    budget = RetryBudget(ratio=0.2)
    for _ in range(50):
        budget.release(0.0)
    assert [budget.take(1.0) for _ in range(floor + 11)] == [True] * (floor + 10) + [False]


def test_the_budget_forgets_after_its_window() -> None:
    budget = RetryBudget(ratio=0.0)
    assert [budget.take(0.5) for _ in range(101)].count(True) == 100
    assert not budget.take(RETRY_WINDOW_S - 0.1)
    assert budget.take(RETRY_WINDOW_S + 0.0)
