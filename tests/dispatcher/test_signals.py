"""Traffic statistics: exact arithmetic over events."""

import pytest

from dispatcher.signals import SECONDS_KEPT, TrafficLog


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
