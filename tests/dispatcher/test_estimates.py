"""The expected service time: learned only from what holds no waiting, and not swayed by one freak."""

import pytest

from dispatcher.backends import Backends
from dispatcher.buffer import BufferConfig, BurstBuffer, Capacity, Outcome
from dispatcher.estimates import SERVICE_TIMES_KEPT, ServiceTimes

ROUTE = "http://route"


def times(*values: float) -> ServiceTimes:
    kept = ServiceTimes()
    for value in values:
        kept.add(value)
    return kept


def route(*, concurrency: int = 0) -> BurstBuffer:
    return BurstBuffer(BufferConfig(), Backends((ROUTE,), (concurrency,)))


def served(held: BurstBuffer, request_id: int, sent_s: float, end_s: float, pod_s: float | None = None) -> None:
    """Send a request and answer it."""
    held.arrive(request_id, sent_s)
    held.finish(request_id, end_s, Outcome.ANSWERED, end_s - sent_s, pod_s)


def test_there_is_no_estimate_before_the_first_sample() -> None:
    empty = ServiceTimes()
    assert (empty.mean_s(), empty.spread_s(), empty.p95_s(), empty.least_s(), len(empty)) == (None, None, None, 0.0, 0)


def test_mean_and_spread_are_those_of_the_samples_with_the_largest_one_cut_to_the_next() -> None:
    kept = times(0.1, 0.2, 0.3, 9.0)
    assert kept.mean_s() == pytest.approx((0.1 + 0.2 + 0.3 + 0.3) / 4)
    assert kept.spread_s() == pytest.approx((((0.125**2) + 0.025**2 + 2 * 0.075**2) / 4) ** 0.5)
    assert kept.least_s() == pytest.approx(0.225 - kept.spread_s())  # type: ignore[operator]


def test_the_95th_percentile_is_by_nearest_rank() -> None:
    assert times(*(hundredths / 100 for hundredths in range(1, 101))).p95_s() == pytest.approx(0.95)


def test_old_samples_are_dropped() -> None:
    kept = times(*[9.0] * 10, *[1.0] * SERVICE_TIMES_KEPT)
    assert kept.mean_s() == pytest.approx(1.0)
    assert len(kept) == SERVICE_TIMES_KEPT
    assert kept.spread_s() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("before", [2, 5, 50, 250])
def test_a_single_freak_moves_the_mean_little(before: int) -> None:
    assert times(*[0.1] * before, 1.0).mean_s() == pytest.approx(0.1, rel=0.05)


def test_slow_requests_that_come_again_count_in_full() -> None:
    assert times(*[0.1] * 180, *[1.0] * 20).mean_s() == pytest.approx(0.19, rel=0.01)


def test_a_slower_model_is_learned_within_the_window() -> None:
    assert times(*[0.1] * SERVICE_TIMES_KEPT, *[1.0] * SERVICE_TIMES_KEPT).mean_s() == pytest.approx(1.0)


def test_what_the_pod_reports_always_counts() -> None:
    held = route()
    served(held, 1, 0.0, 3.5, pod_s=0.1)
    assert held.service_times.mean_s() == 0.1


def test_requests_that_waited_behind_a_cold_route_are_no_service_times() -> None:
    """The story of issue 16: five requests unheld, 3.5 s each for the first pod, and then 0.1 s each."""
    held = route()
    for request in range(5):
        held.arrive(request, 0.1 * request)
    held.set_capacity(Capacity(1, 6.0), 1.1)
    for request in range(5):
        held.finish(request, 3.5 + 0.1 * request, Outcome.ANSWERED, 3.5)
    assert held.service_times.mean_s() is None
    for request in range(5, 15):
        held.set_capacity(Capacity(1, request + 5.0), request)
        served(held, request, request, request + 0.1)
    assert held.service_times.mean_s() == pytest.approx(0.1)


def test_under_a_steady_capacity_a_response_counts() -> None:
    held = route()
    held.set_capacity(Capacity(1, 100.0), 0.0)
    served(held, 1, 1.0, 1.2)
    assert held.service_times.mean_s() == pytest.approx(0.2)


@pytest.mark.parametrize(("rises_s", "counts"), [(3.5, True), (4.5, False), (5.1, False)])
def test_a_capacity_that_rose_just_before_or_during_the_request_may_hold_a_start(rises_s: float, counts: bool) -> None:
    held = route()
    held.set_capacity(Capacity(1, 100.0), 0.0)
    if rises_s < 5.0:
        held.set_capacity(Capacity(2, 100.0), rises_s)
    held.arrive(1, 5.0)
    if rises_s > 5.0:
        held.set_capacity(Capacity(2, 100.0), rises_s)
    held.finish(1, 5.2, Outcome.ANSWERED, 0.2)
    assert (held.service_times.mean_s() is not None) == counts


def test_a_request_beyond_the_capacity_does_not_count() -> None:
    held = route()
    held.arrive(1, 0.0)
    held.arrive(2, 0.0)
    held.set_capacity(Capacity(2, 100.0), 1.0)
    held.set_capacity(Capacity(1, 100.0), 1.5)
    held.finish(1, 3.0, Outcome.ANSWERED, 3.0)
    held.finish(2, 3.0, Outcome.ANSWERED, 3.0)
    assert held.service_times.mean_s() is None


def test_at_a_lapsed_capacity_a_request_counts_only_alone_at_a_backend_that_is_awake() -> None:
    held = route()
    served(held, 1, 0.0, 3.0)
    assert held.service_times.mean_s() is None
    served(held, 2, 3.5, 3.6)
    assert held.service_times.mean_s() == pytest.approx(0.1)
    held.arrive(3, 4.0)
    served(held, 4, 4.0, 9.0)
    assert len(held.service_times) == 1
    held.finish(3, 9.0, Outcome.ANSWERED, 0.3)
    assert len(held.service_times) == 2
    served(held, 5, 19.5, 23.0)
    assert len(held.service_times) == 2


def test_a_bounded_backend_that_is_awake_needs_no_request_to_be_alone() -> None:
    held = route(concurrency=2)
    served(held, 1, 0.0, 3.0)
    held.arrive(2, 3.5)
    served(held, 3, 3.5, 3.6)
    assert held.service_times.mean_s() == pytest.approx(0.1)


def test_failures_are_no_service_times() -> None:
    held = route()
    held.set_capacity(Capacity(1, 100.0), 0.0)
    held.arrive(1, 2.0)
    held.finish(1, 2.1, Outcome.FAILED, 0.1, 0.1)
    assert held.service_times.mean_s() is None
