"""Down to zero as Knative does it: window, then grace; and who pays for it."""

from dataclasses import dataclass

import pytest

from autoscaler_tuning.policies.kpa import Kpa
from autoscaler_tuning.policies.zero import ScaleToZero
from autoscaler_tuning.types import Decision, Observation, Second


@dataclass
class Wants:
    """A policy that wants what it is told to want."""

    pods: int = 0
    interval_s: float = 2.0

    def decide(self, obs: Observation) -> Decision:
        return Decision(self.pods, "told")


def test_one_pod_stays_for_the_window_and_the_grace_period() -> None:
    policy = ScaleToZero(Wants(0), stable_window_s=60, grace_s=30)
    assert policy.decide(Observation(0.0, 3, 0, arrived=5)).pods == 1
    assert policy.decide(Observation(89.9, 1, 0, arrived=5)).pods == 1
    assert policy.decide(Observation(90.0, 1, 0, arrived=5)).pods == 0


def test_a_request_starts_the_wait_anew() -> None:
    policy = ScaleToZero(Wants(0), stable_window_s=60, grace_s=30)
    policy.decide(Observation(0.0, 1, 0, arrived=5))
    policy.decide(Observation(50.0, 1, 0, arrived=6))
    assert policy.decide(Observation(100.0, 1, 0, arrived=6)).pods == 1
    assert policy.decide(Observation(140.0, 1, 0, arrived=6)).pods == 0


def test_a_longer_retention_counts_instead_of_the_grace_period() -> None:
    policy = ScaleToZero(Wants(0), stable_window_s=60, grace_s=30, retention_s=100)
    policy.decide(Observation(0.0, 1, 0))
    assert policy.decide(Observation(159.0, 1, 0)).pods == 1
    assert policy.decide(Observation(160.0, 1, 0)).pods == 0


def test_wishes_above_zero_pass_and_no_pod_is_started_to_be_kept() -> None:
    assert ScaleToZero(Wants(4)).decide(Observation(0.0, 1, 0)).pods == 4
    assert ScaleToZero(Wants(0)).decide(Observation(0.0, 0, 0)).pods == 0


def test_a_grace_period_longer_than_the_retention_counts() -> None:
    policy = ScaleToZero(Wants(0), stable_window_s=6, grace_s=30, retention_s=10)
    policy.decide(Observation(0.0, 1, 0))
    assert policy.decide(Observation(35.9, 1, 0)).pods == 1
    assert policy.decide(Observation(36.0, 1, 0)).pods == 0


@pytest.mark.parametrize(("waiting", "in_flight"), [(1, 0), (0, 1)], ids=["waiting", "in flight"])
def test_a_request_that_is_still_here_is_no_silence(waiting: int, in_flight: int) -> None:
    policy = ScaleToZero(Wants(0), stable_window_s=60, grace_s=30)
    policy.decide(Observation(0.0, 1, 0, arrived=1))
    here = Observation(100.0, 1, 0, arrived=1, waiting=waiting, in_flight=in_flight)
    assert policy.decide(here).pods == 1
    assert policy.decide(Observation(189.0, 1, 0, arrived=1)).pods == 1
    assert policy.decide(Observation(190.0, 1, 0, arrived=1)).pods == 0


def test_a_pod_that_starts_is_kept_too() -> None:
    assert ScaleToZero(Wants(0)).decide(Observation(0.0, 0, 1)).pods == 1


def test_a_counter_that_began_again_is_traffic() -> None:
    policy = ScaleToZero(Wants(0), stable_window_s=60, grace_s=30)
    policy.decide(Observation(0.0, 1, 0, arrived=500))
    policy.decide(Observation(80.0, 1, 0, arrived=3))
    assert policy.decide(Observation(100.0, 1, 0, arrived=3)).pods == 1


def test_it_is_asked_as_often_as_its_policy_and_says_why_a_pod_stays() -> None:
    policy = ScaleToZero(Wants(0, interval_s=7.0))
    assert policy.interval_s == 7.0
    policy.decide(Observation(0.0, 1, 0))
    assert policy.decide(Observation(12.0, 1, 0)).reason == "to zero: one pod stays, idle for 12 s (told)"


def test_knative_as_a_whole_is_at_zero_ninety_seconds_after_the_last_request() -> None:
    policy = ScaleToZero(Kpa())
    pods, log = 1, []
    for now_s in range(2, 110, 2):
        past = tuple(Second(index, 0, 1.0 if index < 10 else 0.0) for index in range(now_s))
        pods = policy.decide(Observation(float(now_s), pods, 0, seconds=past, arrived=min(now_s, 10))).pods
        log.append((now_s, pods))
    assert next(now_s for now_s, pods in log if pods == 0) == 100


@pytest.mark.parametrize("name", ["stable_window_s", "grace_s", "retention_s"])
@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_impossible_times_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least 0 s and finite, was {value}"):
        ScaleToZero(Wants(), **{name: value})
