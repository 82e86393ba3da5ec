"""The control loop, with fakes for the dispatcher and the pods, and time as an argument."""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from autoscaler_tuning.live.controller import Controller, ControllerConfig, Moment, NamedPolicy
from autoscaler_tuning.live.operator import Operator
from autoscaler_tuning.live.recording import ControllerMetrics, Recorder, RecordError
from autoscaler_tuning.live.signals import ScrapeError, Signals
from autoscaler_tuning.live.sources import AnnouncedCapacity
from autoscaler_tuning.live.targets import TargetState
from autoscaler_tuning.types import Decision, Observation, PodPhase, PodSample
from knative.errors import UnreachableError

QUIET = Signals(100.0, (), 0, 0, 0, 0.0, 0.0, None)


@dataclass
class Source:
    """A dispatcher that returns the signals it is given and records the announced capacity."""

    now: Signals | None = QUIET
    announced: list[tuple[int, tuple[str, ...] | None]] = field(default_factory=list)
    concurrency: int | None = None
    problem: str | None = None

    def signals(self) -> Signals:
        if self.now is None:
            raise ScrapeError("connection refused")
        return self.now

    def announce(self, capacity: AnnouncedCapacity, valid_s: float) -> None:
        self.announced.append((capacity.ready_pods, capacity.backends))
        self.concurrency, self.problem = capacity.concurrency, capacity.problem


@dataclass
class Pods:
    """Pods that are ready as soon as they are wanted."""

    wanted: list[int] = field(default_factory=list)
    broken: Exception | None = None
    running: int | None = None
    confirmed: bool = True
    concurrency: int | None = None
    problem: str | None = None
    leader: str | None = None
    has_route: bool = False
    released: int = 0

    def poll(self) -> TargetState:
        if self.broken:
            raise self.broken
        count = self.running if self.running is not None else self.wanted[-1] if self.wanted else 0
        samples = tuple(PodSample(f"pod-{i}", PodPhase.READY, 1.0, 2.0) for i in range(count))
        backends = None if self.has_route else tuple(f"http://pod-{i}" for i in range(count))
        return TargetState(samples, backends, count, self.confirmed, self.concurrency, self.problem, self.leader)

    def scale_to(self, pods: int) -> None:
        self.wanted.append(pods)

    def release(self) -> None:
        self.released += 1

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
    assert world.source.announced == [(2, ("http://pod-0", "http://pod-1"))]
    world.run(3.0)
    assert len(world.source.announced) == 2


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


def test_a_failed_step_is_logged_once_and_retried_each_second(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    world = World(Scripted(lambda obs: 1))
    world.pods.broken = UnreachableError("the API does not answer")
    world.run(*(0.05 * n for n in range(200)))
    world.pods.broken = None
    world.run(10.5)
    assert world.pods.wanted == [1]
    assert world.registry.get_sample_value("autoscaler_failed_ticks_total", {"step": "step"}) == 10
    about_it = [record.message for record in caplog.records if record.message.startswith("control step")]
    assert about_it == ["control step: the API does not answer", "control step: works again after 10 s"]
    assert "Traceback" not in caplog.text


def test_an_unexpected_failure_is_logged_once_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    world = World(Scripted(lambda obs: 1))
    world.pods.broken = ZeroDivisionError("a fault of our own")
    world.run(0.0, 1.0, 2.0)
    assert caplog.text.count("Traceback") == 1


@pytest.mark.parametrize(
    ("confirmed", "wanted"), [pytest.param(True, 0, id="not decided"), pytest.param(False, 3, id="not confirmed")]
)
def test_nothing_is_announced_before_a_decision_is_confirmed(confirmed: bool, wanted: int) -> None:
    world = World(Scripted(lambda obs: 3))
    world.pods.confirmed = confirmed
    if not wanted:
        world.source.now = None
    world.run(*(0.1 * n for n in range(100)))
    assert world.source.announced == []
    assert not world.controller.ready


def test_no_wish_is_known_if_the_policy_fails() -> None:
    world = World(Scripted(lambda obs: 1 // 0))
    world.run(0.0, 2.0)
    assert world.controller.wish(2.0) is None


def test_nothing_is_announced_if_the_policy_fails() -> None:
    world = World(Scripted(lambda obs: 1 // obs.waiting))
    world.run(*(0.1 * n for n in range(100)))
    assert world.source.announced == []


def test_a_policy_that_begins_to_fail_holds_nothing_and_after_30_s_the_pods_are_left_to_another_autoscaler(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = World(Scripted(lambda obs: 3))
    world.run(*(0.1 * n for n in range(100)))
    world.policy.rule = lambda obs: 1 // 0
    world.run(*(10.0 + 0.1 * n for n in range(20)))
    announced = len(world.source.announced)
    world.run(*(12.0 + 0.1 * n for n in range(250)))
    assert (len(world.source.announced), world.pods.released) == (announced, 0)
    assert (world.controller.wish(37.0), exported(world)) == (3, 3)
    world.run(*(37.0 + 0.1 * n for n in range(710)))
    assert (len(world.source.announced), world.pods.released) == (announced, 1)
    assert (world.controller.wish(108.0), exported(world)) == (None, None)
    assert caplog.text.count("Traceback") == 1
    world.policy.rule = lambda obs: 4
    world.run(*(108.0 + 0.1 * n for n in range(40)))
    assert world.pods.wanted[-1] == exported(world) == 4
    assert len(world.source.announced) > announced


def test_pods_that_cannot_be_observed_are_left_to_another_autoscaler_after_30_s() -> None:
    world = World(Scripted(lambda obs: 3))
    world.run(0.0)
    world.pods.broken = UnreachableError("the API does not answer")
    world.run(*(1.0 * n for n in range(1, 30)))
    assert world.pods.released == 0
    world.run(*(1.0 * n for n in range(30, 100)))
    assert world.pods.released == 1
    assert exported(world) is None


def exported(world: World) -> float | None:
    """Return the wish among the metrics."""
    return world.registry.get_sample_value("autoscaler_wanted_pods", {"policy": "scripted"})


def test_the_announcement_lapses_if_a_later_write_fails_and_comes_back_with_the_next_one() -> None:
    world = World(Scripted(lambda obs: 3))
    world.run(0.0, 0.1)
    world.pods.confirmed = False
    world.run(*(0.5 * n for n in range(1, 30)))
    assert len(world.source.announced) == 1
    world.pods.confirmed = True
    world.run(15.0)
    assert len(world.source.announced) == 2
    assert world.controller.ready


def test_nothing_is_announced_with_stale_signals() -> None:
    world = World(Scripted(lambda obs: 3))
    world.run(0.0, 0.1)
    world.source.now = None
    world.run(4.95, 8.0, 12.0)
    assert len(world.source.announced) == 2  # the renewal at 4.95 s was still on time


def test_requests_that_wait_in_vain_for_a_first_pod_are_not_held_back() -> None:
    world = World(Scripted(lambda obs: 1))
    world.pods.running, world.pods.has_route = 0, True
    world.source.now = replace(QUIET, waiting=1)
    world.run(*(0.1 * n for n in range(200)))
    times = len(world.source.announced)
    assert 2 <= times <= 5  # for about 4 s, each valid for 2 s
    world.pods.running = 1
    world.run(20.0)
    assert world.source.announced[times:] == [(1, None)]


def test_requests_for_processes_on_this_machine_wait_until_one_starts() -> None:
    world = World(Scripted(lambda obs: 1))
    world.pods.running = 0
    world.source.now = replace(QUIET, waiting=1)
    world.run(*(0.1 * n for n in range(200)))
    assert len(world.source.announced) >= 15


def test_the_concurrency_and_the_problem_of_the_target_are_announced() -> None:
    world = World(Scripted(lambda obs: 1))
    world.pods.concurrency, world.pods.problem = 10, "Unschedulable: 0/1 nodes are available"
    world.run(0.0, 0.1)
    assert (world.source.concurrency, world.source.problem) == (10, "Unschedulable: 0/1 nodes are available")
    world.run(2.0)
    assert world.registry.get_sample_value("autoscaler_start_problem", {"reason": "Unschedulable"}) == 1


def test_without_signals_the_last_wish_stays_and_after_30_s_the_pods_are_left_to_another_autoscaler() -> None:
    world = World(Scripted(lambda obs: 6 if obs.fresh else obs.ready_pods))
    world.run(0.0)
    world.source.now = None
    for index, running in enumerate((5, 4, 2, 1, 0)):
        world.pods.running = running
        world.run(6.0 + 2 * index)
    assert set(world.pods.wanted) == {6}
    assert world.pods.released == 0
    world.run(31.0, 33.0, 60.0)
    assert world.pods.released == 1
    assert len(world.pods.wanted) == 6
    world.source.now = QUIET
    world.run(61.0, 62.0)
    assert world.pods.wanted[6:] == [6]


def test_the_exported_wish_is_known_only_with_a_decision_on_recent_signals() -> None:
    world = World(Scripted(lambda obs: 6))

    def wished() -> tuple[int | None, float | None]:
        return world.controller.wish(world_s), exported(world)

    world_s = 0.5
    world.source.now = None
    world.run(world_s)
    assert wished() == (None, None)
    world_s = 2.0
    world.source.now = QUIET
    world.run(world_s)
    assert wished() == (6, 6.0)
    world.source.now = None
    world_s = 31.0
    world.run(world_s)
    assert wished() == (6, 6.0)
    world_s = 33.0
    world.run(world_s)
    assert wished() == (None, None)


def test_no_request_seen_since_a_dispatcher_restart_removes_no_pod() -> None:
    world = World(Scripted(lambda obs: 6 if obs.arrived else 0))
    world.source.now = replace(QUIET, arrived=100)
    world.run(0.0)
    world.source.now = replace(QUIET, arrived=0)
    world.controller.step(0.1, 0.0)
    world.source.now = replace(QUIET, now_s=0.0)
    world.controller.step(2.0, 0.0)
    world.controller.step(4.0, 0.0)
    assert world.made == 2
    assert set(world.pods.wanted) == {6}
    world.source.now = replace(QUIET, now_s=1.0, arrived=1)
    world.policy.rule = lambda obs: 4
    world.controller.step(6.0, 0.0)
    assert world.pods.wanted[-1] == 4


def test_pods_that_run_when_the_controller_starts_stay_until_it_has_seen_traffic_or_30_s_of_silence() -> None:
    world = World(Scripted(lambda obs: 0))
    world.pods.running = 4
    world.run(0.0, 2.0, 29.0)
    assert world.pods.wanted == [4, 4, 4]
    world.run(31.0)
    assert world.pods.wanted[-1] == 0


def test_a_standby_is_ready_and_announces_nothing() -> None:
    world = World(Scripted(lambda obs: 2))
    world.pods.confirmed, world.pods.leader = False, "another"
    world.run(0.0, 0.1, 2.0)
    assert world.controller.ready
    assert world.source.announced == []


def test_a_record_that_cannot_be_written_stops_no_decision(caplog: pytest.LogCaptureFixture) -> None:
    world = World(Scripted(lambda obs: 2), record=Path("/dev/full"))
    world.run(0.0, 2.0, 4.0)
    assert world.pods.wanted == [2, 2, 2]
    assert caplog.text.count("record: ") == 1


def test_a_record_in_a_missing_folder_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"cannot write the record to .*missing/record.jsonl: No such file"):
        Recorder(tmp_path / "missing/record.jsonl")


def test_the_record_integrates_pod_seconds(tmp_path: Path) -> None:
    world = World(Scripted(lambda obs: 2), record=tmp_path / "record.jsonl")
    world.run(0.0, 1.0, 2.0, 3.0)
    last = json.loads((tmp_path / "record.jsonl").read_text().splitlines()[-1])
    assert last["pod_seconds"] == pytest.approx(2 * 2 + 2)
    assert (last["ready"], last["wanted_pods"], last["unix_s"]) == (2, 2, 1003.0)


def test_the_record_has_each_start_once_as_unix_time(tmp_path: Path) -> None:
    world = World(Scripted(lambda obs: 2), record=tmp_path / "record.jsonl")
    world.run(0.0, 1.0, 2.0, 3.0)
    lines = map(json.loads, (tmp_path / "record.jsonl").read_text().splitlines())
    starts = [(one["pod"], one["created_unix_s"], one["ready_unix_s"]) for line in lines for one in line["starts"]]
    assert starts == [("pod-0", 1001.0, 1002.0), ("pod-1", 1001.0, 1002.0)]


def test_signals_are_read_for_each_decision_and_ten_times_a_second_only_while_no_pod_is_wanted() -> None:
    reads: list[float] = []

    class Counted(Source):
        def signals(self) -> Signals:
            reads.append(super().signals().now_s - 100.0)
            return super().signals()

    world = World(Scripted(lambda obs: 0 if obs.arrived < 5 else 3, interval_s=0.5), source=Counted())
    world.run(*(0.05 * n for n in range(40)))
    while_none_is_wanted = len(reads)
    assert 16 <= while_none_is_wanted <= 20
    world.source.now = replace(QUIET, arrived=5)
    world.run(2.0, *(2.05 + 0.05 * n for n in range(60)))
    assert len(reads) <= while_none_is_wanted + 8
    assert [obs.now_s - 100.0 for obs in world.policy.seen][-1] == pytest.approx(reads[-1])


def test_a_pod_that_cannot_start_is_not_waited_for_nor_are_more_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    world = World(Scripted(lambda obs: 2 + len(world.policy.seen)))

    def poll() -> TargetState:
        ready = PodSample("a", PodPhase.READY, 1.0, 2.0)
        waiting = PodSample("b", PodPhase.STARTING, 1.0, stuck=world.pods.problem is not None)
        return TargetState((ready, waiting), None, 2, problem=world.pods.problem)

    world.pods.poll = poll  # type: ignore[method-assign]
    world.run(*(2.0 * n for n in range(3)))
    assert world.policy.seen[-1].starting_pods == 1
    world.pods.problem = "Unschedulable: 0/1 nodes are available"
    world.run(*(6.0 + 2.0 * n for n in range(30)))
    assert (world.policy.seen[-1].ready_pods, world.policy.seen[-1].starting_pods) == (1, 0)
    assert set(world.pods.wanted[3:]) == {world.pods.wanted[2]}
    world.pods.problem = None
    world.run(*(66.0 + 2.0 * n for n in range(20)))
    assert world.pods.wanted[-1] > world.pods.wanted[2]
    about_it = [record.message for record in caplog.records if record.message.startswith("pods cannot start")]
    assert about_it[0] == "pods cannot start: Unschedulable: 0/1 nodes are available"
    assert len(about_it) == 2
    assert "works again" in about_it[1]


def test_with_a_known_reason_why_no_pod_starts_the_dispatchers_go_on_holding_to_tell_it() -> None:
    world = World(Scripted(lambda obs: 1))
    world.pods.running, world.pods.has_route, world.pods.problem = 0, True, "FailedCreate: exceeded quota"
    world.source.now = replace(QUIET, waiting=1)
    world.run(*(0.1 * n for n in range(200)))
    assert len(world.source.announced) >= 15
    assert world.source.problem == "FailedCreate: exceeded quota"


def test_a_policy_knows_how_many_requests_a_pod_serves_at_once() -> None:
    world = World(Scripted(lambda obs: 1))
    world.pods.concurrency = 10
    world.run(0.0)
    assert world.policy.seen[-1].concurrency == 10


@pytest.mark.parametrize(
    ("has_route", "rest"),
    [(True, "the bounds found before hold"), (False, "the pods keep their number")],
    ids=["Knative", "this machine"],
)
def test_a_paused_controller_leaves_the_pods_alone_until_it_is_resumed(has_route: bool, rest: str) -> None:
    world = World(Scripted(lambda _: 3))
    world.pods.has_route = has_route
    told: list[tuple[str, str]] = []
    world.controller.observe = lambda moment: told.append((moment.ruler, moment.why))
    world.run(*range(0, 5))
    assert told[-1][0] == "scripted"
    world.controller.operator.paused = True
    wanted, announced = len(world.pods.wanted), len(world.source.announced)
    world.run(*range(5, 12))
    assert world.pods.released == 1
    assert (len(world.pods.wanted), len(world.source.announced)) == (wanted, announced)
    assert told[-1] == ("paused", f"an operator has paused this controller; {rest}")
    world.controller.operator.paused = False
    world.run(*range(12, 16))
    assert len(world.pods.wanted) > wanted
    assert len(world.source.announced) > announced
    world.controller.operator.paused = True
    world.run(*range(16, 20))
    assert world.pods.released == 2


@pytest.mark.parametrize(("has_route", "ruler"), [(True, "another autoscaler"), (False, "lapsed")])
def test_without_signals_another_autoscaler_decides_if_there_is_one(has_route: bool, ruler: str) -> None:
    world = World(Scripted(lambda _: 3))
    world.pods.has_route = has_route
    told: list[str] = []
    world.controller.observe = lambda moment: told.append(moment.ruler)
    world.run(*range(0, 5))
    world.source.now = None
    world.run(*range(5, 60))
    assert (world.pods.released, told[-1]) == (1, ruler)


def test_bounds_set_by_hand_keep_the_policy_within_them() -> None:
    world = World(Scripted(lambda _: 9))
    world.controller.operator = Operator(10)
    world.controller.operator.set_bounds(1, 4)
    seen: list[Decision] = []
    world.controller.observe = lambda moment: seen.append(moment.decision)
    world.run(*range(0, 5))
    assert world.pods.wanted[-1] == 4
    assert seen[-1].reason == "operator: 4 pods, within the bounds 1 to 4 set by hand; scripted"


def test_it_tells_why_it_does_not_decide_on_the_pods() -> None:
    world = World(Scripted(lambda _: 3))
    moments: list[Moment] = []
    world.controller.observe = moments.append
    world.pods.has_route, world.pods.confirmed = True, False
    world.run(*range(0, 5))
    assert moments[-1].ruler == "lapsed"
    world.pods.leader = "other-1"
    world.run(*range(5, 9))
    assert (moments[-1].ruler, moments[-1].why) == ("another controller", "other-1 leads")


def test_it_tells_when_the_requests_were_counted() -> None:
    world = World(Scripted(lambda _: 3), Source(None))
    moments: list[Moment] = []
    world.controller.observe = moments.append
    world.run(0.0, 1.0)
    world.source.now = replace(QUIET, arrived=7)
    world.run(2.0)
    assert [(one.arrived, one.arrived_s) for one in moments] == [(0, None), (0, None), (7, 102.0)]
