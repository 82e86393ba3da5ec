"""Back-off: a dead pod is replaced at once the first time, then after increasing delays."""

import pytest

from knative.backoff import MAX_DELAY_S, SETTLED_S, Backoff, delay_s


@pytest.mark.parametrize(
    ("failures", "wait_s"), [(0, 0.0), (1, 0.0), (2, 1.0), (3, 2.0), (4, 4.0), (6, 16.0), (7, 30.0), (5000, 30.0)]
)
def test_the_delay_doubles_up_to_a_limit(failures: int, wait_s: float) -> None:
    assert delay_s(failures) == wait_s <= MAX_DELAY_S


def test_each_failed_round_delays_the_next_start() -> None:
    backoff, now_s, starts_s = Backoff(), 0.0, []
    for _ in range(4):
        started_s = now_s
        now_s += 0.1
        backoff = backoff.died(now_s, started_s, ready_s=None)
        starts_s.append(round(backoff.next_start_s - now_s, 9))
        now_s = backoff.next_start_s
    assert starts_s == [0.0, 1.0, 2.0, 4.0]


def test_pods_that_start_together_and_die_together_count_as_one_failure() -> None:
    backoff = Backoff().died(10.0, started_s=9.0, ready_s=None)
    assert backoff.died(10.1, started_s=9.0, ready_s=None) == backoff


def test_a_settled_pod_that_dies_is_replaced_at_once() -> None:
    assert Backoff().died(10.0, started_s=1.0, ready_s=10.0 - SETTLED_S) == Backoff()
    assert Backoff().died(10.0, started_s=1.0, ready_s=10.1 - SETTLED_S) != Backoff()


def test_a_newer_pod_that_settles_resets_the_back_off() -> None:
    failed = Backoff().died(10.0, started_s=9.0, ready_s=None)
    assert failed.settled(20.0, started_s=11.0, ready_s=20.0 - SETTLED_S).failures == 0


@pytest.mark.parametrize(
    ("started_s", "ready_s"),
    [pytest.param(9.0, 9.5, id="older than the last failure"), pytest.param(11.0, 16.0, id="ready only just now")],
)
def test_other_pods_do_not_reset_the_back_off(started_s: float, ready_s: float) -> None:
    failed = Backoff().died(10.0, started_s=9.0, ready_s=None)
    assert failed.settled(20.0, started_s, ready_s) == failed
