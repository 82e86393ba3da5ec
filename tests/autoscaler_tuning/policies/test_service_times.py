"""Service times that a policy acts on, and those that it doubts."""

import pytest

from autoscaler_tuning.policies.service_times import BelievedServiceTime
from autoscaler_tuning.types import Observation


def tick(now_s: float, measured_s: float | None, arrived: int = 0, ready: int = 0, in_flight: int = 0) -> Observation:
    return Observation(now_s, ready, 0, arrived=arrived, in_flight=in_flight, service_time_s=measured_s)


def test_the_assumed_time_holds_until_one_is_measured() -> None:
    assert BelievedServiceTime(0.1).update(tick(0.0, None)) == 0.1


def test_measured_times_are_followed() -> None:
    services = BelievedServiceTime(0.1)
    assert [services.update(tick(float(at), time_s)) for at, time_s in enumerate((0.2, 0.25, 1.0))] == [0.2, 0.25, 1.0]
    assert services.doubted_s is None


def test_the_last_time_measured_holds_while_none_is_known() -> None:
    services = BelievedServiceTime(0.1)
    services.update(tick(0.0, 0.3))
    assert services.update(tick(1.0, None)) == 0.3


def test_a_time_above_ten_times_the_last_one_is_doubted() -> None:
    services = BelievedServiceTime(0.1)
    services.update(tick(0.0, 0.1))
    assert services.update(tick(1.0, 1.01)) == 0.1
    assert services.doubted_s == 1.01


def test_a_first_time_above_five_times_the_assumed_one_is_doubted() -> None:
    services = BelievedServiceTime(0.1)
    assert services.update(tick(0.0, 0.51)) == 0.1
    assert services.doubted_s == 0.51


def test_a_doubted_time_that_falls_is_doubted_until_it_is_near_the_last_one_believed() -> None:
    """Five requests waited 3.5 s for pods; the mean falls as requests are answered that did not wait."""
    services = BelievedServiceTime(0.1)
    services.update(tick(0.0, 0.1))
    used_s = [services.update(tick(1.0 + at, time_s)) for at, time_s in enumerate((3.47, 2.1, 1.4, 1.0, 0.5, 0.2))]
    assert used_s == pytest.approx([0.1, 0.1, 0.1, 0.1, 0.1, 0.2])
    assert services.doubted_s is None


def test_busy_pods_are_evidence_for_a_slow_model() -> None:
    """Two pods are always busy, and a request leaves every 2.5 s: a request takes 5 s."""
    services = BelievedServiceTime(0.1)
    for second in range(11):
        used_s = services.update(
            tick(float(second), 5.0 if second >= 5 else None, arrived=2 + second * 2 // 5, ready=2, in_flight=2)
        )
    assert used_s == 5.0


def test_a_wait_without_a_ready_pod_is_no_evidence() -> None:
    services = BelievedServiceTime(0.1)
    for second in range(10):
        services.update(tick(float(second), None, arrived=5, in_flight=5))
    assert services.update(tick(10.0, 3.5, arrived=5, ready=3)) == 0.1


def test_without_evidence_a_time_is_believed_after_all_pods_were_busy_for_half_a_minute() -> None:
    """Requests that are rejected look like completed ones, so the evidence is far too low."""
    services = BelievedServiceTime(0.1)
    used_s = [
        services.update(tick(float(second), 5.0, arrived=100 * second, ready=1, in_flight=1)) for second in range(40)
    ]
    assert used_s[20] < 1
    assert used_s[-1] == 5.0
