"""How policies act on Knative: bounds, and how Knative itself removes the last pod."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler_tuning.policies.base import Policy, RevisionSettings
from autoscaler_tuning.policies.hpa.hpa import Hpa
from autoscaler_tuning.policies.kpa.kpa import Kpa, KpaConfig
from autoscaler_tuning.policies.scale_to_zero import (
    ScalesDeployment,
    ScaleToZero,
    knative_decides,
    scales_the_deployment,
    writes_bounds,
)
from autoscaler_tuning.types import Decision, Observation, PodPhase, PodSample, Second


@dataclass
class Wants:
    """A policy that wants a fixed number of pods."""

    pods: int = 0
    interval_s: float = 2.0

    def decide(self, obs: Observation) -> Decision:
        return Decision(self.pods, "fixed")


def own_kpa(kpa: Kpa | None = None) -> Policy:
    """Return Knative's own autoscaler on a Revision."""
    return knative_decides(kpa or Kpa(), RevisionSettings())


@dataclass
class FakeService:
    """Pods that are ready at once, and whole seconds with or without a request."""

    policy: Policy
    pods: int
    requested: list[bool] = field(default_factory=list)
    log: list[tuple[float, int]] = field(default_factory=list)

    def live(self, *requested: bool, then_s: int = 0) -> "FakeService":
        """Run these seconds, each with a request of 0.1 s or idle, then then_s idle ones; decide every 2 s."""
        for busy in (*requested, *([False] * then_s)):
            self.requested.append(busy)
            now_s = len(self.requested)
            if now_s % 2 == 0:
                past = tuple(Second(index, int(busy), 0.1 * busy) for index, busy in enumerate(self.requested))
                seen = Observation(float(now_s), self.pods, 0, seconds=past, arrived=sum(self.requested))
                self.pods = self.policy.decide(seen).pods
                self.log.append((now_s, self.pods))
        return self

    def zero_after_s(self) -> float:
        """Return the time from the last request until the first decision for zero pods."""
        last_s = max(second for second, busy in enumerate(self.requested) if busy)
        return next(now_s for now_s, pods in self.log if pods == 0 and now_s > last_s) - last_s


def test_knative_is_at_zero_soon_after_its_window_if_the_activator_was_always_in_the_path() -> None:
    """Timed on a real Knative: 65.0 s and 63.8 s after a single request."""
    service = FakeService(own_kpa(), 1).live(*([True] * 10), then_s=100)
    assert 60 <= service.zero_after_s() <= 65


def test_the_grace_period_counts_from_when_the_activator_entered_the_path() -> None:
    kpa = Kpa(KpaConfig(target_burst_capacity=0))
    service = FakeService(own_kpa(kpa), 1).live(*([True] * 10), then_s=120)
    assert 90 <= service.zero_after_s() <= 95


def test_a_policy_that_wants_zero_pods_keeps_one_until_knatives_window_is_over() -> None:
    service = FakeService(ScaleToZero(Wants(0)), 1).live(*([True] * 10), then_s=100)
    assert 60 <= service.zero_after_s() <= 65


def test_all_pods_but_one_stop_at_once() -> None:
    assert FakeService(ScaleToZero(Wants(0)), 5).live(True, True).pods == 1


def test_a_request_restarts_the_window() -> None:
    once = FakeService(ScaleToZero(Wants(0)), 1).live(*([True] * 4), then_s=50)
    assert 60 <= once.live(True, then_s=80).zero_after_s() <= 65


def test_a_shorter_window_scales_to_zero_sooner() -> None:
    service = FakeService(ScaleToZero(Wants(0), stable_window_s=10), 1).live(*([True] * 40), then_s=40)
    assert 10 <= service.zero_after_s() <= 15


def test_the_last_pod_stays_for_its_retention() -> None:
    service = FakeService(ScaleToZero(Wants(0), stable_window_s=10, retention_s=50), 1).live(*([True] * 10), then_s=90)
    assert 60 <= service.zero_after_s() <= 65


def test_wanted_pods_above_zero_are_set_whatever_knatives_own_autoscaler_desires() -> None:
    assert FakeService(ScaleToZero(Wants(4)), 1).live(*([True] * 10), then_s=100).pods == 4


def test_at_zero_knative_starts_one_pod_by_itself() -> None:
    policy = ScaleToZero(Wants(0))
    idle = tuple(Second(index, 0, 0.0) for index in range(100))
    assert policy.decide(Observation(100.0, 0, 0, seconds=idle)).pods == 0
    assert policy.decide(Observation(100.3, 0, 0, seconds=idle, arrived=1, waiting=1)).pods == 1


def test_at_zero_knatives_own_autoscaler_has_no_upper_bound() -> None:
    policy = own_kpa()
    assert policy.decide(Observation(100.3, 0, 0, arrived=1, waiting=1)).pods == 2  # one request at a target of 0.7


def test_at_zero_without_requests_no_pod_is_started() -> None:
    assert ScaleToZero(Wants(0)).decide(Observation(0.0, 0, 0)).pods == 0


def test_a_new_revision_without_a_metric_scales_up_to_min_scale_but_not_down_to_max_scale() -> None:
    """Scaling up was seen on a real Knative: 4 pods one second after the annotation."""
    assert ScaleToZero(Wants(4)).decide(Observation(0.0, 1, 0)).pods == 4
    assert ScaleToZero(Wants(2)).decide(Observation(0.0, 4, 0)).pods == 4


@pytest.mark.parametrize("policy", [ScaleToZero(Wants(2)), own_kpa()], ids=["bounds", "kpa"])
def test_with_the_default_burst_capacity_requests_wait_in_a_shared_queue(policy: Policy) -> None:
    assert not policy.decide(Observation(2.0, 2, 0, seconds=(Second(0, 1, 0.1),), arrived=1)).direct


def test_without_burst_capacity_requests_go_straight_to_ready_pods() -> None:
    policy = own_kpa(Kpa(KpaConfig(target_burst_capacity=0)))
    seconds = (Second(0, 1, 0.1), Second(1, 1, 0.1))
    assert policy.decide(Observation(2.0, 1, 0, seconds=seconds, arrived=2)).direct
    assert not policy.decide(Observation(4.0, 0, 1, seconds=seconds, arrived=2)).direct


def test_hpa_scales_the_deployment_itself_without_an_activator_and_never_to_zero() -> None:
    policy = scales_the_deployment(Hpa(), RevisionSettings())
    pods = (PodSample("a", PodPhase.READY, 0.0, 1.0, 0.0),)
    decisions = [policy.decide(Observation(15.0 * tick, 1, 0, pods=pods)) for tick in range(1, 40)]
    assert {(decision.pods, decision.direct) for decision in decisions} == {(1, True)}


def test_it_ticks_as_often_as_its_policy_and_gives_the_reason_for_which_a_pod_stays() -> None:
    policy = ScaleToZero(Wants(0, interval_s=7.0))
    assert policy.interval_s == 7.0
    assert policy.decide(Observation(12.0, 1, 0)).reason == "Knative sets 1 pods instead of 0 (fixed)"


def test_without_fresh_signals_the_current_pods_stay() -> None:
    assert own_kpa().decide(Observation(12.0, 3, 1, fresh=False)).pods == 4


@given(
    st.lists(
        st.tuples(
            *(st.floats(0, 200), st.floats(), st.integers(0, 50)),
            *(st.integers(0, 9), st.integers(0, 9), st.booleans(), st.integers(0, 9)),
        ),
        max_size=30,
    ),
    st.sampled_from(["bounds", "kpa", "kpa without activator", "hpa"]),
)
def test_any_history_gives_a_valid_decision(
    steps: list[tuple[float, float, int, int, int, bool, int]], name: str
) -> None:
    wants = Wants()
    policies: dict[str, Policy] = {
        "bounds": writes_bounds(wants, RevisionSettings()),
        "kpa": own_kpa(),
        "kpa without activator": own_kpa(Kpa(KpaConfig(target_burst_capacity=0, scale_down_delay_s=10))),
        "hpa": ScalesDeployment(Hpa()),
    }
    policy, now_s, arrived = policies[name], 0.0, 0
    for elapsed_s, concurrency, arrivals, ready, starting, fresh, pods in steps:
        now_s, arrived, wants.pods = now_s + elapsed_s, arrived + arrivals, pods
        past = (Second(int(now_s), arrivals, min(concurrency, 1e9)),)
        decision = policy.decide(Observation(now_s + 1, ready, starting, past, arrived, arrivals, fresh=fresh))
        assert isinstance(decision.pods, int)
        assert decision.pods >= 0
        assert decision.reason


@pytest.mark.parametrize("name", ["stable_window_s", "grace_s", "retention_s"])
@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_invalid_times_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} must be .* got {value}"):
        ScaleToZero(Wants(), **{name: value})  # type: ignore[arg-type]  # by name
