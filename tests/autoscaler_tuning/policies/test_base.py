"""Bounded keeps any policy within min-scale and max-scale."""

from dataclasses import dataclass

import pytest

from autoscaler_tuning.policies.base import Bounded
from autoscaler_tuning.types import Decision, Observation

NOTHING = Observation(now_s=0.0, ready_pods=0, starting_pods=0)


@dataclass(frozen=True)
class Always:
    """A policy that always wants the same number of pods."""

    pods: int
    interval_s: float = 2.0

    def decide(self, obs: Observation) -> Decision:
        return Decision(self.pods, "because")


@pytest.mark.parametrize(("wanted", "pods"), [(0, 1), (3, 3), (9, 5)])
def test_wanted_pods_are_kept_within_the_bounds(wanted: int, pods: int) -> None:
    bounded = Bounded(Always(wanted), min_pods=1, max_pods=5)
    assert bounded.decide(NOTHING) == Decision(pods, "because")
    assert bounded.interval_s == 2.0


@pytest.mark.parametrize(("least", "most"), [(3, 2), (-1, 2), (0, 0)])
def test_invalid_bounds_are_refused(least: int, most: int) -> None:
    with pytest.raises(ValueError, match=f"bounds must be .*, got {least}, {most}"):
        Bounded(Always(1), least, most)
