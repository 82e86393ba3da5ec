"""How policies act on Knative: bounds, Knative's own way to zero, and who pays for it."""

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
    """A policy that wants what it is told to want."""

    pods: int = 0
    interval_s: float = 2.0

    def decide(self, obs: Observation) -> Decision:
        return Decision(self.pods, "told")


def own(kpa: Kpa | None = None) -> Policy:
    """Knative's own autoscaler on a Revision."""
    return knative_decides(kpa or Kpa(), RevisionSettings())


@dataclass
class Service:
    """Pods that are ready at once, and whole seconds in which requests came or not."""

    policy: Policy
    pods: int
    asked: list[bool] = field(default_factory=list)
    log: list[tuple[float, int]] = field(default_factory=list)

    def live(self, *asked: bool, then_s: int = 0) -> "Service":
        """Go through these seconds, each with a request of 0.1 s or idle, and then_s idle ones; decide every 2 s."""
        for busy in (*asked, *([False] * then_s)):
            self.asked.append(busy)
            now_s = len(self.asked)
            if now_s % 2 == 0:
                past = tuple(Second(index, int(was), 0.1 * was) for index, was in enumerate(self.asked))
                seen = Observation(float(now_s), self.pods, 0, seconds=past, arrived=sum(self.asked))
                self.pods = self.policy.decide(seen).pods
                self.log.append((now_s, self.pods))
        return self

    def zero_after_s(self) -> float:
        """From the last request until the first decision for no pods."""
        last_s = max(second for second, busy in enumerate(self.asked) if busy)
        return next(now_s for now_s, pods in self.log if pods == 0 and now_s > last_s) - last_s


def test_knative_is_at_zero_soon_after_its_window_where_the_activator_stood_in_the_path_all_the_time() -> None:
    """Timed on a real one: 65.0 s and 63.8 s after a single request."""
    service = Service(own(), 1).live(*([True] * 10), then_s=100)
    assert 60 <= service.zero_after_s() <= 65


def test_the_grace_period_counts_from_when_the_activator_came_into_the_path() -> None:
    kpa = Kpa(KpaConfig(target_burst_capacity=0))
    service = Service(own(kpa), 1).live(*([True] * 10), then_s=120)
    assert 90 <= service.zero_after_s() <= 95


def test_a_policy_that_wants_zero_leaves_it_to_knative_and_pays_for_its_window() -> None:
    service = Service(ScaleToZero(Wants(0)), 1).live(*([True] * 10), then_s=100)
    assert 60 <= service.zero_after_s() <= 65


def test_all_pods_but_one_go_at_once() -> None:
    assert Service(ScaleToZero(Wants(0)), 5).live(True, True).pods == 1


def test_a_request_starts_the_wait_anew() -> None:
    once = Service(ScaleToZero(Wants(0)), 1).live(*([True] * 4), then_s=50)
    assert 60 <= once.live(True, then_s=80).zero_after_s() <= 65


def test_a_shorter_window_brings_it_down_sooner() -> None:
    service = Service(ScaleToZero(Wants(0), stable_window_s=10), 1).live(*([True] * 40), then_s=40)
    assert 10 <= service.zero_after_s() <= 15


def test_the_last_pod_stays_for_its_retention() -> None:
    service = Service(ScaleToZero(Wants(0), stable_window_s=10, retention_s=50), 1).live(*([True] * 10), then_s=90)
    assert 60 <= service.zero_after_s() <= 65


def test_wishes_above_zero_are_pinned_whatever_knatives_own_autoscaler_says() -> None:
    assert Service(ScaleToZero(Wants(4)), 1).live(*([True] * 10), then_s=100).pods == 4


def test_at_zero_knative_wakes_one_pod_by_itself() -> None:
    policy = ScaleToZero(Wants(0))
    idle = tuple(Second(index, 0, 0.0) for index in range(100))
    assert policy.decide(Observation(100.0, 0, 0, seconds=idle)).pods == 0
    assert policy.decide(Observation(100.3, 0, 0, seconds=idle, arrived=1, waiting=1)).pods == 1


def test_at_zero_knatives_own_autoscaler_is_bound_by_nobody() -> None:
    policy = own()
    assert policy.decide(Observation(100.3, 0, 0, arrived=1, waiting=1)).pods == 2  # one request at a target of 0.7


def test_no_pod_is_started_to_be_kept() -> None:
    assert ScaleToZero(Wants(0)).decide(Observation(0.0, 0, 0)).pods == 0


def test_a_fresh_revision_without_a_metric_takes_a_higher_bound_but_not_a_lower_one() -> None:
    """The first as seen on a real Knative, 4 pods a second after the annotation."""
    assert ScaleToZero(Wants(4)).decide(Observation(0.0, 1, 0)).pods == 4
    assert ScaleToZero(Wants(2)).decide(Observation(0.0, 4, 0)).pods == 4


@pytest.mark.parametrize("policy", [ScaleToZero(Wants(2)), own()], ids=["bounds", "kpa"])
def test_with_the_default_burst_capacity_requests_wait_in_front_of_all_pods(policy: Policy) -> None:
    assert not policy.decide(Observation(2.0, 2, 0, seconds=(Second(0, 1, 0.1),), arrived=1)).direct


def test_without_burst_capacity_requests_go_straight_to_the_pods_there_are() -> None:
    policy = own(Kpa(KpaConfig(target_burst_capacity=0)))
    seconds = (Second(0, 1, 0.1), Second(1, 1, 0.1))
    assert policy.decide(Observation(2.0, 1, 0, seconds=seconds, arrived=2)).direct
    assert not policy.decide(Observation(4.0, 0, 1, seconds=seconds, arrived=2)).direct


def test_hpa_scales_the_deployment_itself_with_nobody_in_the_path_and_never_to_zero() -> None:
    policy = scales_the_deployment(Hpa(), RevisionSettings())
    pods = (PodSample("a", PodPhase.READY, 0.0, 1.0, 0.0),)
    decisions = [policy.decide(Observation(15.0 * tick, 1, 0, pods=pods)) for tick in range(1, 40)]
    assert {(decision.pods, decision.direct) for decision in decisions} == {(1, True)}


def test_it_is_asked_as_often_as_its_policy_and_says_why_a_pod_stays() -> None:
    policy = ScaleToZero(Wants(0, interval_s=7.0))
    assert policy.interval_s == 7.0
    assert policy.decide(Observation(12.0, 1, 0)).reason == "Knative keeps 1 (told)"


def test_without_fresh_signals_what_there_is_stays() -> None:
    assert own().decide(Observation(12.0, 3, 1, fresh=False)).pods == 4


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
def test_it_never_returns_nonsense(steps: list[tuple[float, float, int, int, int, bool, int]], name: str) -> None:
    wants = Wants()
    policies: dict[str, Policy] = {
        "bounds": writes_bounds(wants, RevisionSettings()),
        "kpa": own(),
        "kpa without activator": own(Kpa(KpaConfig(target_burst_capacity=0, scale_down_delay_s=10))),
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
def test_impossible_times_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} must be .* was {value}"):
        ScaleToZero(Wants(), **{name: value})  # type: ignore[arg-type]  # by name
