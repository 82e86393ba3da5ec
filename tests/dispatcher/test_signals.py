"""Traffic statistics: exact arithmetic over events."""

import pytest

from dispatcher.signals import SECONDS_KEPT, ServiceTimes, TrafficLog


def test_only_whole_seconds_are_reported() -> None:
    log = TrafficLog()
    log.arrive(0.2)
    assert log.per_second(0.9).arrivals == ()
    assert log.per_second(1.0).arrivals == (1,)


def test_concurrency_is_weighted_by_time() -> None:
    log = TrafficLog()
    log.arrive(0.5)
    log.arrive(0.75)
    log.leave(1.25)
    log.leave(2.0)
    assert log.per_second(3.0).concurrency == pytest.approx((0.75, 1.25, 0.0))


def test_idle_seconds_are_reported_as_zero() -> None:
    log = TrafficLog()
    log.arrive(0.0)
    log.leave(0.0)
    log.arrive(4.5)
    assert log.per_second(5.0).arrivals == (1, 0, 0, 0, 1)


def test_the_oldest_seconds_are_dropped_and_the_start_is_reported() -> None:
    log = TrafficLog()
    seconds = log.per_second(SECONDS_KEPT + 30.0)
    assert (seconds.since_s, len(seconds.arrivals)) == (30, SECONDS_KEPT)


def test_service_times_have_a_mean_and_a_95th_percentile() -> None:
    times = ServiceTimes()
    assert (times.mean_s(), times.p95_s()) == (None, None)
    for hundredths in range(1, 101):
        times.add(hundredths / 100)
    assert times.mean_s() == pytest.approx(0.505)
    assert times.p95_s() == pytest.approx(0.95)


def test_old_service_times_are_dropped() -> None:
    times = ServiceTimes()
    for value in [9.0] * 10 + [1.0] * 256:
        times.add(value)
    assert times.mean_s() == pytest.approx(1.0)
