"""Any policy: whatever it observes, it wants a sensible number of pods and says why."""

from math import inf, nan

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler_tuning.policies.base import Policy
from autoscaler_tuning.policies.registry import POLICIES, policy_named
from autoscaler_tuning.types import Observation, PodPhase, PodSample, Second
from tests.effort import effort

NUMBERS = st.one_of(st.sampled_from([0.0, nan, inf, -inf, 1e300, -1.0, 1e-300]), st.floats(0, 1e4))
TIMES_S = st.one_of(st.sampled_from([0.0, nan, inf, 1e9, -5.0]), st.floats(0, 200))
COUNTS = st.one_of(st.sampled_from([0, -1, 10**9, 10**40]), st.integers(0, 200))
PODS = st.builds(
    PodSample, st.sampled_from("abcdef"), st.sampled_from(PodPhase), TIMES_S, st.none() | TIMES_S, st.none() | NUMBERS
)
SECONDS = st.builds(Second, st.integers(0, 200), COUNTS, NUMBERS, st.lists(NUMBERS, max_size=3).map(tuple))
SEEN = st.builds(
    Observation,
    now_s=TIMES_S,
    ready_pods=st.integers(-1, 40),
    starting_pods=st.integers(-1, 40),
    seconds=st.lists(SECONDS, max_size=4, unique_by=lambda one: one.index).map(
        lambda found: tuple(sorted(found, key=lambda one: one.index))
    ),
    arrived=COUNTS,
    waiting=COUNTS,
    in_flight=COUNTS,
    oldest_wait_s=NUMBERS,
    feasible_backlog_s=NUMBERS,
    service_time_s=st.none() | NUMBERS,
    pods=st.lists(PODS, max_size=4, unique_by=lambda one: one.name).map(tuple),
    fresh=st.booleans(),
)
NAMES = [entry.name for entry in POLICIES]


def steps_of(policy: Policy, observations: list[Observation]) -> None:
    for obs in observations:
        decision = policy.decide(obs)
        assert isinstance(decision.pods, int)
        assert decision.pods >= 0
        assert decision.reason


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=effort(everyday=25, ci=300))
@given(st.lists(SEEN, min_size=1, max_size=12))
def test_no_policy_fails_on_impossible_observations(name: str, observations: list[Observation]) -> None:
    spec = policy_named(name)
    steps_of(spec.make(), observations)
    steps_of(spec.on_knative(), observations)


@pytest.mark.parametrize("name", NAMES)
def test_impossible_observations_do_not_spoil_the_decisions_that_follow(name: str) -> None:
    """At 10 requests a second of 0.1 s, which keep one pod busy."""
    policy = policy_named(name).make()
    bad = [
        Observation(50.0, 1, 0, arrived=10**9, service_time_s=1e-9),
        Observation(nan, 1, 0, service_time_s=inf),
        Observation(1e9, 1, 0, arrived=0, feasible_backlog_s=inf, seconds=(Second(50, 0, nan),)),
    ]
    for obs in bad:
        policy.decide(obs)
    pods = [PodSample(f"pod-{number}", PodPhase.READY, 0.0, 3.0) for number in range(2)]
    for tick in range(800):
        now_s = 51.0 + tick / 2
        seconds = tuple(Second(index, 10, 1.0) for index in range(51, int(now_s)))[-60:]
        samples = tuple(PodSample(one.name, one.phase, 0.0, 3.0, 0.5 * (now_s - 50)) for one in pods)
        decision = policy.decide(
            Observation(now_s, 2, 0, seconds, arrived=5 * tick, in_flight=1, service_time_s=0.1, pods=samples)
        )
    assert 1 <= decision.pods <= 12
