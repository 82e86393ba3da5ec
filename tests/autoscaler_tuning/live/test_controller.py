"""The control loop, with fakes for the dispatcher and the pods, and time as an argument."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from autoscaler_tuning.live.controller import Controller, ControllerConfig, ControllerMetrics, NamedPolicy, Recorder
from autoscaler_tuning.live.signals import ScrapeError, Signals
from autoscaler_tuning.live.targets import TargetState
from autoscaler_tuning.types import Decision, Observation, PodPhase, PodSample

QUIET = Signals(100.0, (), 0, 0, 0, 0.0, 0.0, None)


@dataclass
class Source:
    """A dispatcher that returns the signals it is given and records the announced capacity."""

    now: Signals | None = QUIET
    announced: list[tuple[int, tuple[str, ...] | None]] = field(default_factory=list)

    def signals(self) -> Signals:
        if self.now is None:
            raise ScrapeError("connection refused")
        return self.now

    def announce(self, ready_pods: int, concurrency: int, valid_s: float, backends: tuple[str, ...] | None) -> None:
        self.announced.append((ready_pods, backends))


@dataclass
class Pods:
    """Pods that are ready as soon as they are wanted."""

    wanted: list[int] = field(default_factory=list)
    broken: bool = False

    def poll(self) -> TargetState:
        if self.broken:
            raise ConnectionError("the API does not answer")
        count = self.wanted[-1] if self.wanted else 0
        samples = tuple(PodSample(f"pod-{i}", PodPhase.READY, 1.0, 2.0) for i in range(count))
        return TargetState(samples, tuple(f"http://pod-{i}" for i in range(count)), count)

    def scale_to(self, pods: int) -> None:
        self.wanted.append(pods)

    def close(self) -> None: ...


@dataclass
class Scripted:
    """A policy that follows a rule and records its observations."""

    rule: Callable[[Observation], int]
    seen: list[Observation] = field(default_factory=list)
    interval_s: float = 2.0

    def decide(self, obs: Observation) -> Decision:
        self.seen.append(obs)
        return Decision(self.rule(obs), "scripted")


@dataclass
class World:
    """A controller with its fakes."""

    policy: Scripted
    source: Source = field(default_factory=Source)
    pods: Pods = field(default_factory=Pods)
    record: Path | None = None
    made: int = 0

    def __post_init__(self) -> None:
        self.registry = CollectorRegistry()
        self.controller = Controller(
            NamedPolicy("scripted", self._make),
            self.source,
            self.pods,
            ControllerConfig(),
            ControllerMetrics(self.registry),
            Recorder(self.record),
        )

    def _make(self) -> Scripted:
        self.made += 1
        return self.policy

    def run(self, *times_s: float) -> None:
        for now_s in times_s:
            if self.source.now:
                self.source.now = replace(self.source.now, now_s=100.0 + now_s)
            self.controller.step(now_s, unix_s=1000.0 + now_s)


def test_it_decides_at_the_interval_of_the_policy_and_scales() -> None:
    world = World(Scripted(lambda obs: 3))
    world.run(0.0, 0.5, 1.9, 2.0)
    assert len(world.policy.seen) == 2
    assert world.pods.wanted == [3, 3]


def test_a_request_that_was_refused_at_zero_pods_triggers_a_decision_at_once() -> None:
    world = World(Scripted(lambda obs: min(1, obs.arrived)))
    world.source.now = QUIET
    world.run(0.0, 0.2)
    assert world.pods.wanted == [0]
    world.source.now = replace(QUIET, arrived=1)
    world.run(0.4)
    assert world.pods.wanted == [0, 1]


def test_a_waiting_request_at_zero_pods_triggers_a_decision_at_once() -> None:
    world = World(Scripted(lambda obs: min(1, obs.waiting)))
    world.run(0.0)
    world.source.now = replace(QUIET, waiting=1)
    world.run(0.2)
    assert world.pods.wanted == [0, 1]


def test_the_capacity_is_announced_when_pods_change_and_again_before_it_expires() -> None:
    world = World(Scripted(lambda obs: 2))
    world.run(0.0, 0.1, 0.2, 0.3)
    assert world.source.announced == [(0, ()), (2, ("http://pod-0", "http://pod-1"))]
    world.run(3.0)
    assert len(world.source.announced) == 3


def test_signals_become_stale_and_not_zero_if_the_dispatcher_stops_responding() -> None:
    world = World(Scripted(lambda obs: 1 if obs.fresh else 7))
    world.run(0.0)
    world.source.now = None
    world.run(4.0, 6.1)
    assert [obs.fresh for obs in world.policy.seen] == [True, True, False]
    assert world.policy.seen[-1].now_s == pytest.approx(106.1)


def test_without_any_signals_there_is_no_decision() -> None:
    world = World(Scripted(lambda obs: 1), source=Source(now=None))
    world.run(0.0, 3.0)
    assert world.pods.wanted == []


def test_a_restarted_dispatcher_causes_a_new_instance_of_the_policy() -> None:
    world = World(Scripted(lambda obs: 1))
    world.run(0.0)
    world.source.now = replace(QUIET, now_s=0.0)
    world.controller.step(0.5, 0.0)
    assert world.made == 2


def test_times_of_pods_are_on_the_dispatchers_clock() -> None:
    world = World(Scripted(lambda obs: 1))
    world.run(50.0, 52.0)
    assert world.policy.seen[-1].pods[0].started_s == pytest.approx(101.0)


def test_a_failed_step_is_logged_and_retried_after_a_second(caplog: pytest.LogCaptureFixture) -> None:
    world = World(Scripted(lambda obs: 1))
    world.pods.broken = True
    world.run(0.0)
    world.pods.broken = False
    world.run(0.5)
    assert world.pods.wanted == []
    world.run(1.0)
    assert world.pods.wanted == [1]
    assert "the API does not answer" in caplog.text
    assert world.registry.get_sample_value("autoscaler_failed_ticks_total", {"step": "step"}) == 1


def test_the_record_integrates_pod_seconds(tmp_path: Path) -> None:
    world = World(Scripted(lambda obs: 2), record=tmp_path / "record.jsonl")
    world.run(0.0, 1.0, 2.0, 3.0)
    last = json.loads((tmp_path / "record.jsonl").read_text().splitlines()[-1])
    assert last["pod_seconds"] == pytest.approx(2 * 2 + 2)
    assert (last["ready"], last["wanted_pods"], last["unix_s"]) == (2, 2, 1003.0)
