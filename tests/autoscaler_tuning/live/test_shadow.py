"""Shadow mode: what a policy would have done with live traffic while another autoscaler scales."""

import tracemalloc
from dataclasses import dataclass, field, replace

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from autoscaler_tuning.live.controller import Controller, ControllerConfig, NamedPolicy
from autoscaler_tuning.live.recording import ControllerMetrics, Recorder
from autoscaler_tuning.live.signals import Signals
from autoscaler_tuning.live.sources import AnnouncedCapacity, ReadOnlySource
from autoscaler_tuning.live.targets import ReadOnlyTarget, TargetState
from autoscaler_tuning.live.watch import pods_of
from autoscaler_tuning.policies.kpa.kpa import Kpa
from autoscaler_tuning.policies.peak import Peak
from autoscaler_tuning.policies.shadow import STEP_S, FluidQueue, Shadow, ShadowConfig, ShadowPods
from autoscaler_tuning.types import Decision, Observation, PodPhase, PodSample, Second

SERVICE_S = 0.1


@dataclass
class Fixed:
    """A policy that always wants the same number of pods."""

    pods: int
    interval_s: float = 0.5
    seen: list[Observation] = field(default_factory=list)

    def decide(self, obs: Observation) -> Decision:
        self.seen.append(obs)
        return Decision(self.pods, "fixed", {"figure": 1.0})


def live(policy: Shadow, rates_rps: list[int], pods: int, began_s: float = 100.0) -> Decision:
    """Run a policy beside a live service with these pods: two ticks a second, each second reported at its end."""
    arrived, seconds = 0, []
    decision = policy.decide(Observation(began_s, pods, 0, service_time_s=SERVICE_S))
    for index, rate in enumerate(rates_rps):
        for half in (1, 2):
            arrived += rate // 2
            now_s = began_s + index + half / 2
            if half == 2:
                seconds.append(Second(int(began_s) + index, rate, min(pods, rate * SERVICE_S)))
            decision = policy.decide(
                Observation(now_s, pods, 0, tuple(seconds[-60:]), arrived, service_time_s=SERVICE_S)
            )
    return decision


def run_queue(order: str, pods: list[int], rates_rps: list[int]) -> FluidQueue:
    queue = FluidQueue(0.5, order)  # type: ignore[arg-type]  # a row of a table
    steps = round(1 / STEP_S)
    for second, (count, rate) in enumerate(zip(pods, rates_rps, strict=True)):
        for step in range(steps):
            queue.step(second + (step + 1) * STEP_S, rate / steps, count, SERVICE_S)
    return queue


@pytest.mark.parametrize(("concurrency", "late"), [(1, True), (10, False)])
def test_pods_that_serve_several_requests_at_once_serve_more_in_both_services(concurrency: int, late: bool) -> None:
    policy = Shadow(Fixed(1), ShadowConfig())
    for tick in range(240):
        obs = Observation(100.0 + tick / 2, 1, 0, arrived=20 * tick, service_time_s=SERVICE_S, concurrency=concurrency)
        policy.decide(obs)
    figures = policy.figures()
    assert (figures["live_late"] > 0, figures["shadow_late"] > 0) == (late, late)


def test_a_queue_with_enough_pods_has_no_late_requests() -> None:
    queue = run_queue("fifo", [2] * 10, [20] * 10)
    assert queue.late == 0
    assert queue.waiting == pytest.approx(0)


def test_fifo_makes_all_requests_behind_a_backlog_late_and_deadline_order_only_the_excess() -> None:
    pods, rates = [1] * 5 + [3] * 5, [20] * 10  # an excess of 50 in 5 s, then 10 of it are served each second
    late = {order: run_queue(order, pods, rates).late for order in ("fifo", "deadline")}
    assert late["deadline"] < 0.7 * late["fifo"]
    # of the excess of 50, the 8 of the last 0.4 s can still be served in time
    assert late["deadline"] == pytest.approx(42, abs=1)


def test_the_fluid_queue_conserves_requests() -> None:
    queue = run_queue("deadline", [1] * 4, [30] * 4)
    assert queue.waiting == pytest.approx(4 * 30 - 4 * 10, abs=1)
    assert queue.feasible < queue.waiting


@pytest.mark.parametrize("order", ["fifo", "deadline"])
@pytest.mark.parametrize("pods", [0, 8], ids=["no pod can start", "too few pods"])
def test_an_hour_of_overload_takes_no_more_memory_than_minutes_and_counts_the_same(order: str, pods: int) -> None:
    def overloaded(seconds: int) -> tuple[FluidQueue, int]:
        tracemalloc.start()
        queue = run_queue(order, [pods] * seconds, [100] * seconds)
        size_bytes = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        return queue, size_bytes

    (_, before_bytes), (queue, after_bytes) = overloaded(300), overloaded(3600)
    assert after_bytes < 2 * before_bytes
    excess = 3600 * (100 - pods / SERVICE_S)
    assert queue.waiting == pytest.approx(excess, rel=1e-3)
    assert queue.late == pytest.approx(excess if order == "deadline" else 3600 * 100, rel=0.01)
    oldest_s = queue.oldest_s()
    assert oldest_s is not None
    if order == "fifo":
        assert oldest_s == pytest.approx(3600 * pods / SERVICE_S / 100, abs=10)
    else:
        assert oldest_s < 2


def test_shadow_pods_serve_after_their_start_and_the_newest_stop_first() -> None:
    pods = ShadowPods()
    pods.scale_to(2, 10.0, 3.0)
    assert (pods.ready(12.9), pods.ready(13.0), len(pods)) == (0, 2, 2)
    pods.scale_to(3, 14.0, 3.0)
    pods.scale_to(2, 15.0, 3.0)
    assert [pod.phase for pod in pods.samples(15.0)] == [PodPhase.READY, PodPhase.READY]


def test_a_shadow_pod_uses_cpu_only_while_it_is_ready() -> None:
    pods = ShadowPods()
    pods.scale_to(1, 0.0, 0.0)
    for step in range(100):
        pods.use(1.0, step * STEP_S)
    pods.scale_to(2, 10.0, 3.0)
    for step in range(100):
        pods.use(1.0, 10.0 + step * STEP_S)
    first, second = pods.samples(20.0)
    assert first.cpu_seconds == pytest.approx(10 + 3 + 7 / 2)
    assert second.cpu_seconds == pytest.approx(7 / 2)


def test_the_regret_is_zero_if_the_policy_wants_the_live_pods() -> None:
    decision = live(Shadow(Fixed(2), ShadowConfig()), [15] * 60, pods=2)
    assert decision.record["regret_pod_seconds"] == pytest.approx(0, abs=1e-6)
    assert decision.record["live_pod_seconds"] == pytest.approx(120, abs=0.5)


def test_idle_live_pods_that_the_policy_would_not_keep_add_their_pod_seconds_to_the_regret() -> None:
    decision = live(Shadow(Fixed(2), ShadowConfig()), [15] * 60, pods=5)
    assert decision.record["regret_pod_seconds"] == pytest.approx(3 * 60, rel=0.02)


def test_live_late_requests_that_the_policy_would_have_avoided_add_their_price_to_the_regret() -> None:
    # 20 a second for a minute on one pod that serves 10: half are late
    shadow = Shadow(Fixed(3), ShadowConfig(order="deadline", late_price=2.0))
    figures = live(shadow, [20] * 60, pods=1).record
    assert figures["live_late"] > 500
    assert figures["shadow_late"] < 35  # during the three seconds of its pods' start
    saved = 2.0 * (figures["live_late"] - figures["shadow_late"])
    more = figures["shadow_pod_seconds"] - figures["live_pod_seconds"]
    assert figures["regret_pod_seconds"] == pytest.approx(saved - more)
    assert figures["regret_pod_seconds"] > 0


def test_the_regret_is_negative_if_the_policy_wants_too_few_pods() -> None:
    assert live(Shadow(Fixed(1), ShadowConfig()), [20] * 60, pods=3).record["regret_pod_seconds"] < 0


def test_the_policy_observes_its_shadow_pods_and_queue_and_the_live_arrivals() -> None:
    inner = Fixed(1)
    live(Shadow(inner, ShadowConfig()), [20] * 20, pods=4)
    last = inner.seen[-1]
    assert (last.ready_pods, last.starting_pods, last.arrived) == (1, 0, 400)
    assert last.waiting == pytest.approx(20 * 10, abs=15)  # 10 a second more than its one pod serves
    assert last.seconds[-1].arrivals == 20
    assert last.seconds[-1].concurrency > 100  # the live one is 2
    assert [pod.name for pod in last.pods] == ["shadow-1"]
    assert 17 <= (last.pods[0].cpu_seconds or 0) <= 20.01


def test_kpa_in_shadow_mode_scales_on_the_concurrency_of_the_shadow_service() -> None:
    decision = live(Shadow(Kpa(), ShadowConfig()), [30] * 120, pods=30)
    assert decision.record["shadow_pods"] == 5  # 3 in flight / 0.7, independent of the 30 live pods
    assert decision.reason.startswith("shadow: ")


def test_the_inner_policy_decides_at_its_own_interval() -> None:
    inner = Fixed(1, interval_s=2.0)
    live(Shadow(inner, ShadowConfig()), [10] * 20, pods=1)
    assert len(inner.seen) == 11


def test_time_without_signals_counts_for_neither_service() -> None:
    shadow = Shadow(Fixed(2), ShadowConfig())
    live(shadow, [15] * 10, pods=3)
    before = shadow.figures()
    stale = Observation(200.0, 3, 0, fresh=False)
    assert shadow.decide(stale).reason == "shadow: no data"
    shadow.decide(replace(stale, now_s=300.0, fresh=True, arrived=150, service_time_s=SERVICE_S))
    assert shadow.figures() == before


def test_the_shadow_service_starts_with_the_live_pods() -> None:
    inner = Fixed(4)
    Shadow(inner, ShadowConfig()).decide(Observation(100.0, 3, 1, service_time_s=SERVICE_S))
    assert inner.seen[0].ready_pods == 4


def test_a_pod_that_became_ready_two_hours_after_its_start_teaches_no_start_time() -> None:
    """Its container restarted; pods of the shadow service would otherwise never be ready."""
    restarted = PodSample("a", PodPhase.READY, started_s=100.0, ready_s=7300.0)
    inner = Fixed(4)
    shadow = Shadow(inner, ShadowConfig())
    for tick in range(20):
        shadow.decide(Observation(7400.0 + tick / 2, 1, 0, pods=(restarted,), service_time_s=SERVICE_S))
    assert [seen.ready_pods for seen in inner.seen[-3:]] == [4, 4, 4]


@pytest.mark.parametrize("now_s", [20.0, 1e9, float("nan")])
def test_a_jump_of_the_clock_counts_for_neither_service(now_s: float) -> None:
    shadow = Shadow(Fixed(2), ShadowConfig())
    for tick in range(20):
        shadow.decide(Observation(100.0 + tick / 2, 2, 0, arrived=tick, service_time_s=SERVICE_S))
    before = shadow.figures()
    shadow.decide(Observation(now_s, 2, 0, arrived=20, service_time_s=SERVICE_S))
    shadow.decide(Observation(now_s + 0.5, 2, 0, arrived=21, service_time_s=SERVICE_S))
    assert shadow.figures()["live_pod_seconds"] == pytest.approx(before["live_pod_seconds"], abs=5)


def test_a_jump_from_a_clock_at_zero_counts_for_neither_service() -> None:
    shadow = Shadow(Fixed(2), ShadowConfig())
    for now_s in (0.0, 1000.0):
        shadow.decide(Observation(now_s, 2, 0, service_time_s=SERVICE_S))
    assert shadow.figures()["live_pod_seconds"] == 0


@pytest.mark.parametrize("name", ["slo_s", "late_price", "first_service_time_s"])
def test_invalid_settings_are_rejected(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be above 0 and finite, got 0"):
        ShadowConfig(**{name: 0})  # type: ignore[arg-type]  # by name


class Untouchable:
    """A dispatcher and pods that fail on any change; each read of the signals is a tenth of a second later."""

    reads = 0

    def signals(self) -> Signals:
        self.reads += 1
        return Signals(100 + self.reads / 10, (Second(99, 17, 1.7),), 17, 0, 0, 0.0, 0.0, SERVICE_S)

    def announce(self, capacity: AnnouncedCapacity, valid_s: float) -> None:
        raise AssertionError("a shadow announced a capacity")

    def poll(self) -> TargetState:
        return TargetState((PodSample("pod-1", PodPhase.READY, 1.0, 2.0),), ("http://pod-1",), 1)

    def scale_to(self, pods: int) -> None:
        raise AssertionError("a shadow scaled")

    def release(self) -> None:
        raise AssertionError("a shadow released the pods of another controller")

    def close(self) -> None:
        raise AssertionError("a shadow closed the pods of another controller")


def test_a_controller_in_shadow_mode_changes_nothing_and_exports_its_figures() -> None:
    registry, world = CollectorRegistry(), Untouchable()
    target = ReadOnlyTarget(world)
    shadow = Shadow(Peak(), ShadowConfig())
    controller = Controller(
        NamedPolicy("peak", lambda: shadow),
        ReadOnlySource(world),
        target,
        ControllerConfig(),
        ControllerMetrics(registry),
        Recorder(None),
    )
    for tick in range(40):
        controller.step(1000.0 + tick / 10, 0.0)
    target.close()
    text = generate_latest(registry).decode()
    assert 'autoscaler_wanted_pods{policy="peak"} 2.0' in text
    assert 'autoscaler_pods{phase="ready"} 1.0' in text
    assert 'autoscaler_figure{name="regret_pod_seconds",policy="peak"}' in text
    failures = [line for line in text.splitlines() if line.startswith("autoscaler_failed_ticks_total{")]
    assert [line.rpartition(" ")[2] for line in failures] == ["0.0"] * 3


def test_pods_of_another_controller_are_read_from_its_metrics() -> None:
    text = "\n".join(
        [
            "# TYPE autoscaler_pods gauge",
            'autoscaler_pods{phase="ready"} 2.0',
            'autoscaler_pods{phase="starting"} 1.0',
            'autoscaler_pods{phase="terminating"} 0.0',
            "# TYPE other gauge",
            "other 7.0\n",
        ]
    )
    pods = pods_of(text, 5.0)
    assert [pod.phase for pod in pods] == [PodPhase.READY, PodPhase.READY, PodPhase.STARTING]
    assert pods_of("", 5.0) == ()
