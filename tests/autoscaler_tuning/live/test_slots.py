"""containerConcurrency above 1: policies that know one request a pod are asked about slots."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from autoscaler_tuning.live.serve import ServeConfig, ServedService, live_policy
from autoscaler_tuning.live.slots import Slots
from autoscaler_tuning.policies.registry import policy_named
from autoscaler_tuning.policies.shadow import Shadow, ShadowConfig
from autoscaler_tuning.types import Decision, Observation, Second


class Wants:
    """A policy that wants a number of pods, and keeps what it saw."""

    interval_s = 0.5

    def __init__(self, pods: int, record: Mapping[str, float] | None = None) -> None:
        self.pods, self.record = pods, record or {}
        self.seen: list[Observation] = []

    def decide(self, obs: Observation) -> Decision:
        self.seen.append(obs)
        return Decision(self.pods, "wanted", self.record)


@pytest.mark.parametrize(("slots", "pods"), [(0, 0), (1, 1), (10, 1), (11, 2), (35, 4)])
def test_a_pod_of_ten_requests_is_ten_slots_and_a_part_of_one_is_a_pod(slots: int, pods: int) -> None:
    policy = Wants(slots)
    assert Slots(policy).decide(Observation(0.0, 3, 2, concurrency=10)).pods == pods
    assert (policy.seen[0].ready_pods, policy.seen[0].starting_pods) == (30, 20)


def test_the_figures_behind_a_decision_are_in_pods_again() -> None:
    policy = Wants(9, {"stock_pods": 13.0, "overspent_pod_seconds": -10.0, "level_rps": 7.5, "service_time_s": 0.2})
    assert Slots(policy).decide(Observation(0.0, 3, 2, concurrency=4)).record == {
        "stock_pods": 4.0,
        "overspent_pod_seconds": -2.5,
        "level_rps": 7.5,
        "service_time_s": 0.2,
    }


def test_elastic_compares_itself_with_the_pods_that_stock_kpa_would_want() -> None:
    policy = Slots(policy_named("elastic").make())
    for tick in range(240):
        now_s = 0.5 * tick
        seconds = tuple(Second(index, 200, 20.0) for index in range(max(0, int(now_s) - 60), int(now_s)))
        obs = Observation(now_s, 8, 0, seconds, int(200 * now_s), 0, 20, 0.0, 0.0, 0.1, concurrency=4)
        decision = policy.decide(obs)
    assert 5 <= decision.record["stock_pods"] <= 10  # at its target of 0.7, 20 busy slots of 4 are 7.1 pods


def test_a_shadow_service_serves_no_more_requests_than_there_are_slots() -> None:
    late = {}
    for concurrency in (1, 10):
        policy = Slots(Shadow(Wants(10), ShadowConfig()))
        for tick in range(40):
            now_s = 0.5 * tick
            pods, arrived = 10 // concurrency, int(200 * now_s)
            obs = Observation(now_s, pods, 0, arrived=arrived, service_time_s=0.1, concurrency=concurrency)
            late[concurrency] = policy.decide(obs).record["live_late"]
    assert late[10] == late[1] > 0  # 200 requests of 0.1 s a second need 20 slots


def test_with_one_request_a_pod_nothing_changes() -> None:
    policy, obs = Wants(7), Observation(0.0, 3, 2)
    assert Slots(policy).decide(obs) == Decision(7, "wanted")
    assert policy.seen == [obs]


@pytest.mark.parametrize("name", ["elastic", "peak", "kpa"])
def test_steady_traffic_needs_a_fraction_of_the_pods(name: str) -> None:
    wanted = {}
    for concurrency in (1, 10):
        policy = Slots(policy_named(name).make())
        for tick in range(240):
            now_s, pods = 0.5 * tick, 40 // concurrency
            seconds = tuple(Second(index, 200, 20.0) for index in range(max(0, int(now_s) - 60), int(now_s)))
            arrived = int(200 * now_s)
            obs = Observation(now_s, pods, 0, seconds, arrived, 0, 20, 0.0, 0.0, 0.1, concurrency=concurrency)
            wanted[concurrency] = policy.decide(obs).pods
    assert 20 <= wanted[1] <= 40  # 200 requests of 0.1 s keep 20 busy
    assert wanted[1] / 10 <= wanted[10] <= wanted[1] / 10 + 1


def test_the_controller_sizes_for_the_concurrency_of_the_pods_that_it_finds() -> None:
    service = ServedService("resnet18", ("http://127.0.0.1:8011",))
    spec = policy_named("peak[utilization=1]")
    folder = Path()
    config = ServeConfig("knative", spec, (service,), None, "", 8002, 50, None, None, 0.0, folder, folder, "default")
    policy = live_policy(config)
    seconds = tuple(Second(index, 200, 20.0) for index in range(10))
    for concurrency, pods in ((1, 20), (10, 2), (1, 20)):
        obs = Observation(10.0, 20, 0, seconds, 2000, 0, 20, service_time_s=0.1, concurrency=concurrency)
        assert policy.decide(obs).pods == pods
