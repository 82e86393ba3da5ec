"""peak: pods for the busiest of the last ten seconds."""

import pytest

from autoscaler_tuning.policies.peak import Peak, PeakConfig
from autoscaler_tuning.types import Observation, Second


def seen(now_s: float, counts: list[int], **changes: float | bool) -> Observation:
    """Return an observation with these counts in the newest seconds up to now."""
    first = int(now_s) - len(counts)
    seconds = tuple(Second(first + index, count, 0.0) for index, count in enumerate(counts))
    base = {"now_s": now_s, "ready_pods": 1, "starting_pods": 0, "arrived": sum(counts), "service_time_s": 0.1}
    return Observation(**{**base, "seconds": seconds, **changes})  # type: ignore[arg-type]  # rows of a table


@pytest.mark.parametrize(
    ("counts", "pods"),
    [
        pytest.param([17], 2, id="17/s of 0.1 s fill 2 pods to 85 %"),
        pytest.param([18], 3, id="one request per second more needs a third"),
        pytest.param([40] + [5] * 9, 5, id="the busiest of ten seconds counts"),
        pytest.param([40] + [5] * 10, 1, id="older seconds do not count"),
        pytest.param([1], 1, id="one pod while there is traffic"),
    ],
)
def test_it_wants_pods_for_the_busiest_second(counts: list[int], pods: int) -> None:
    assert Peak().decide(seen(20.0, counts)).pods == pods


def test_it_scales_to_zero_after_an_idle_time_and_wants_no_pod_before_the_first_request() -> None:
    policy = Peak(PeakConfig(zero_after_s=5))
    assert policy.decide(seen(1.0, [0])).pods == 0
    assert policy.decide(seen(2.0, [3])).pods == 1
    assert policy.decide(seen(6.9, [0], arrived=3)).pods == 1
    assert policy.decide(seen(7.0, [0], arrived=3)).pods == 0


def test_without_fresh_signals_it_keeps_the_current_pods() -> None:
    assert Peak().decide(seen(20.0, [500], fresh=False, ready_pods=3, starting_pods=1)).pods == 4


def test_without_a_measured_service_time_it_assumes_first_service_time_s() -> None:
    obs = seen(20.0, [17], service_time_s=None)  # type: ignore[arg-type]  # None is allowed
    assert Peak(PeakConfig(first_service_time_s=0.2)).decide(obs).pods == 4
