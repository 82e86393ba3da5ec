"""Start times of pods, learned while the policy runs."""

import pytest

from autoscaler_tuning.policies.start_times import StartTimes
from autoscaler_tuning.types import PodPhase, PodSample


def pod(name: str, took_s: float | None) -> PodSample:
    phase = PodPhase.STARTING if took_s is None else PodPhase.READY
    return PodSample(name, phase, started_s=10.0, ready_s=None if took_s is None else 10.0 + took_s)


def test_the_first_assumption_holds_until_a_pod_has_started() -> None:
    starts = StartTimes(3.0)
    starts.update([pod("a", None)])
    assert starts.mean_s == 3.0


def test_each_pod_counts_once() -> None:
    starts = StartTimes(3.0)
    for _ in range(3):
        starts.update([pod("a", 2.0)])
    starts.update([pod("a", 2.0), pod("b", 6.0)])
    assert starts.mean_s == pytest.approx(4.0)


def test_a_pod_that_was_ready_from_the_beginning_is_ignored() -> None:
    starts = StartTimes(3.0)
    starts.update([pod("a", 0.0)])
    assert starts.mean_s == 3.0


@pytest.mark.parametrize("took_s", [7200.0, 601.0, float("nan"), float("inf"), -3.0])
def test_a_time_that_cannot_be_that_of_a_start_is_ignored(took_s: float) -> None:
    starts = StartTimes(3.0)
    starts.update([pod("restarted", took_s)])
    assert starts.mean_s == 3.0


def test_the_more_pods_start_the_sooner_the_first_few_are_ready() -> None:
    starts = StartTimes(3.0)
    starts.update([pod(str(index), 2.0 + index) for index in range(5)])
    assert starts.until_ready_s(2, 2) > starts.until_ready_s(2, 4) > starts.until_ready_s(2, 8)
    # the smallest of three draws lies at a quarter of the range from 2 to 6 s
    assert starts.until_ready_s(1, 3) == pytest.approx(3.0)
