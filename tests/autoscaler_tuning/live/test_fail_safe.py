"""The controller with a Knative Service in memory: what the dispatchers are told and what the Revision has, in trouble.

Each case is the story of a public bug report, rebuilt: in the worst one, requests waited for ever.
"""

from dataclasses import dataclass, field

import pytest
from prometheus_client import CollectorRegistry

from autoscaler_tuning.live.controller import Controller, ControllerConfig, NamedPolicy
from autoscaler_tuning.live.knative_target import KnativeTarget
from autoscaler_tuning.live.recording import ControllerMetrics, Recorder
from autoscaler_tuning.live.signals import ScrapeError, Signals
from autoscaler_tuning.live.sources import AnnouncedCapacity
from autoscaler_tuning.policies.base import Policy
from autoscaler_tuning.policies.registry import policy_named
from autoscaler_tuning.types import Second
from tests.autoscaler_tuning.live.knative_world import (
    FIRST,
    LED,
    KnativeWorld,
    cluster,
    refuse_revisions,
)
from tests.knative.fake_api import pod_json, ready

OWN = {"min-scale": "1", "max-scale": "20"}


@dataclass
class Dispatcher:
    """A dispatcher with these requests a second; held_until_s is when its last announcement expires."""

    rate_rps: int = 0
    arrived: int = 0
    waiting: int = 0
    away: bool = False
    started_s: float = 0.0
    now_s: float = 0.0
    held_until_s: float = float("-inf")
    announced: list[int] = field(default_factory=list)

    def signals(self) -> Signals:
        if self.away:
            raise ScrapeError("connection refused")
        now_s = self.now_s - self.started_s
        seconds = tuple(Second(int(now_s) - 60 + n, self.rate_rps, self.rate_rps * 0.1) for n in range(60))
        return Signals(now_s, seconds, self.arrived, self.waiting, 0, 0.0, 0.0, 0.1)

    def announce(self, capacity: AnnouncedCapacity, valid_s: float) -> None:
        self.announced.append(capacity.ready_pods)
        self.held_until_s = self.now_s + valid_s

    @property
    def holds(self) -> bool:
        return self.now_s < self.held_until_s


class Story:
    """A controller, its dispatcher and a cluster without an autoscaler: pods are what the test says."""

    def __init__(self, world: KnativeWorld, dispatcher: Dispatcher, policy: str = "elastic") -> None:
        self.world, self.dispatcher, self._policy = world, dispatcher, policy
        self.target: KnativeTarget
        self.controller: Controller
        self.start("first")

    def start(self, name: str) -> None:
        """Start a controller; the last one is simply not used any more, as after a kill."""

        def make() -> Policy:
            return policy_named(self._policy).make()

        self.target = self.world.controller(name)
        self.registry = CollectorRegistry()
        self.controller = Controller(
            NamedPolicy(self._policy, make),
            self.dispatcher,
            self.target,
            ControllerConfig(),
            ControllerMetrics(self.registry),
            Recorder(None),
        )

    def run(self, for_s: float) -> None:
        """Let time pass, with traffic, in steps of the controller."""
        for _ in range(round(for_s * 10)):
            self.world.now_s += 0.1
            self.dispatcher.now_s = self.world.now_s
            self.dispatcher.arrived += self.dispatcher.rate_rps // 10
            self.controller.step(self.world.now_s, self.world.now_s)

    def shows_that_it_announces(self) -> bool:
        """Return whether the metric says that capacity is announced."""
        samples = (sample for metric in self.registry.collect() for sample in metric.samples)
        return any(sample.value for sample in samples if sample.name == "autoscaler_announcing")

    def pods(self, count: int) -> None:
        """Set the number of ready pods."""
        self.world.api.pod_list[:] = [pod_json(f"pod-{n}", FIRST, ready()) for n in range(count)]


def story(pods: int = 2, rate_rps: int = 20, policy: str = "elastic") -> Story:
    made = Story(KnativeWorld(cluster(min_scale="1", max_scale="20")), Dispatcher(rate_rps), policy)
    made.pods(pods)
    return made


def test_what_cannot_be_scaled_is_not_held_back() -> None:
    it = story(pods=0, rate_rps=0)
    it.world.api.refuse = refuse_revisions
    it.dispatcher.waiting = it.dispatcher.arrived = 1
    it.run(30)
    assert it.dispatcher.announced == []
    assert not it.controller.ready


def test_once_writes_are_refused_requests_are_let_go_within_5_s() -> None:
    it = story()
    it.run(5)
    assert it.dispatcher.holds
    it.world.api.refuse = refuse_revisions
    it.dispatcher.rate_rps = 100
    it.run(8)
    assert not it.dispatcher.holds


def test_a_request_that_waits_while_knative_starts_no_pod_is_let_go() -> None:
    it = story(pods=0, rate_rps=0)
    it.run(5)
    assert it.dispatcher.holds
    it.dispatcher.waiting = it.dispatcher.arrived = 1
    it.run(7)
    assert not it.dispatcher.holds
    it.pods(1)
    it.run(1)
    assert it.dispatcher.announced[-1] == 1


@pytest.mark.parametrize("policy", ["elastic", "kpa", "peak"])
def test_blind_the_wish_stays_and_after_30_s_the_revision_has_its_own_bounds(policy: str) -> None:
    it = story(pods=6, rate_rps=40, policy=policy)
    it.run(10)
    wish = it.world.bounds()[0]
    assert wish is not None
    assert int(wish) > 1
    it.dispatcher.away = True
    for pods in (5, 4, 2, 1, 0):
        it.pods(pods)
        it.run(5)
        assert it.world.bounds() == (wish, "20")
    assert not it.dispatcher.holds
    it.run(6)
    assert it.world.api.annotations(FIRST) == OWN
    it.dispatcher.away = False
    it.pods(4)
    it.run(3)
    assert it.world.api.annotations(FIRST)["window"] == "6s"
    assert it.dispatcher.holds


@pytest.mark.parametrize("policy", ["elastic", "peak"])
def test_a_dispatcher_that_restarts_under_load_costs_no_pod(policy: str) -> None:
    it = story(pods=6, rate_rps=40, policy=policy)
    it.run(35)  # longer than a silence that counts as knowledge
    wish = it.world.bounds()[0]
    it.dispatcher.started_s, it.dispatcher.arrived, it.dispatcher.rate_rps = it.world.now_s, 0, 0
    it.run(2)
    assert it.world.bounds() == (wish, "20")
    it.dispatcher.rate_rps = 40
    it.run(2)
    assert int(it.world.bounds()[0] or 0) > 1


def test_a_controller_that_restarts_before_any_request_costs_no_pod() -> None:
    it = story(pods=6, rate_rps=0)
    it.run(5)
    assert it.world.bounds() == ("6", "20")
    it.run(40)
    assert it.world.bounds() == ("1", "20")


def test_an_api_server_that_is_away_for_two_minutes_is_survived() -> None:
    it = story()
    it.run(5)
    assert it.shows_that_it_announces()
    it.world.api.away = True
    it.run(120)
    assert not it.dispatcher.holds
    assert not it.shows_that_it_announces()
    it.world.api.away = False
    it.run(30)
    assert it.dispatcher.holds
    assert it.shows_that_it_announces()
    assert it.world.api.annotations(FIRST) | LED == it.world.api.annotations(FIRST)
    it.target.close()
    assert it.world.api.annotations(FIRST) == OWN


@pytest.mark.parametrize("killed_after_s", [0.1, 0.3, 0.5, 0.7, 1.0, 2.0, 4.9, 5.0, 5.1, 9.0, 35.0, 60.0])
def test_killed_at_any_moment_the_next_controller_has_healed_the_bounds_within_30_s_of_its_lead(
    killed_after_s: float,
) -> None:
    it = story()
    it.run(min(5.0, killed_after_s))
    it.dispatcher.rate_rps = 0
    it.run(killed_after_s - min(5.0, killed_after_s))
    assert it.world.bounds()[1] == "20"
    it.dispatcher.away = True
    announced = len(it.dispatcher.announced)
    it.start("next")
    it.run(18)  # until the Lease has expired and that was seen
    assert "window" not in it.world.api.annotations(FIRST)
    it.run(30)
    assert it.world.api.annotations(FIRST) == OWN
    assert len(it.dispatcher.announced) == announced
