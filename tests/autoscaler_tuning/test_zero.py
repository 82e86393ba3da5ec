"""Down to zero as Knative does it: window, then grace; and who pays for it."""

from dataclasses import dataclass

from autoscaler_tuning.policies.zero import ScaleToZero
from autoscaler_tuning.types import Decision, Observation


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
