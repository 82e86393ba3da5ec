"""The simulator: order of events, conservation, and agreement with queueing theory."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler_tuning.policies.elastic.elastic import Elastic
from autoscaler_tuning.policies.registry import policy_named
from autoscaler_tuning.results import FloatArray, PolicyRun
from autoscaler_tuning.simulator.cluster import Cluster
from autoscaler_tuning.simulator.servers import EXPIRED_SHARE, Servers
from autoscaler_tuning.simulator.simulate import simulate
from autoscaler_tuning.simulator.world import SimConfig, SimulationError, service_times
from autoscaler_tuning.types import Decision, Observation, Order
from tests.autoscaler_tuning.queueing_theory import erlang_c
from tests.effort import effort


@dataclass
class Always:
    """A policy that always wants the same number of pods."""

    pods: int
    interval_s: float = 2.0

    def decide(self, obs: Observation) -> Decision:
        return Decision(self.pods, "because")


def pinned(pods: int, arrivals_s: FloatArray, **config: object) -> PolicyRun:
    """Simulate this many pods that are ready from the start."""
    world = SimConfig(initial_pods=pods, max_pods=pods, **config)  # type: ignore[arg-type]
    return simulate("pinned", Always(pods), arrivals_s, world, seed=0)


def served_order(arrivals_s: list[float], free_s: float, order: Order, **config: object) -> list[int]:
    """Return the requests in the order in which one pod that is ready at free_s serves them."""
    world = SimConfig(service_time_s=0.1, service_cv=0.0, order=order, **config)  # type: ignore[arg-type]
    servers = Servers(np.array(arrivals_s), np.full(len(arrivals_s), 0.1), world)
    servers.add(0, free_s)
    servers.advance(1000.0)
    done = [request for request, end_s in enumerate(servers.done_s) if not np.isnan(end_s)]
    return sorted(done, key=servers.done_s.__getitem__)


def test_fifo_serves_the_oldest_request_even_if_it_is_already_late() -> None:
    assert served_order([0.0, 9.9], free_s=10.0, order="fifo") == [0, 1]


def test_by_deadline_the_oldest_request_that_can_still_meet_the_slo_goes_first() -> None:
    assert served_order([0.0, 9.65, 9.9], free_s=10.0, order="deadline") == [1, 2, 0]


@pytest.mark.parametrize(("now_s", "feasible"), [(1.4, 1), (1.41, 0)])
@pytest.mark.parametrize("order", ["fifo", "deadline"])
def test_a_request_is_still_feasible_at_its_last_possible_moment(now_s: float, feasible: int, order: Order) -> None:
    world = SimConfig(service_time_s=0.125, slo_s=0.525, order=order)
    servers = Servers(np.array([1.0]), np.array([0.125]), world)
    servers.advance(now_s)
    assert servers.feasible(now_s) == feasible


def test_expired_requests_are_not_starved() -> None:
    arrivals_s = [0.0, *(9.6 + 0.1 * request for request in range(60))]
    assert served_order(arrivals_s, free_s=10.0, order="deadline").index(0) == EXPIRED_SHARE - 1


@pytest.mark.parametrize("order", ["fifo", "deadline"])
def test_a_full_queue_refuses_new_requests(order: Order) -> None:
    assert served_order([0.0, 0.01, 0.02, 0.03], free_s=0.0, order=order, queue_limit=2) == [0, 1, 2]


def test_no_request_starts_before_it_arrives() -> None:
    world = SimConfig(service_time_s=0.1, service_cv=0.0, order="deadline")
    servers = Servers(np.array([5.0, 5.0]), np.full(2, 0.1), world)
    servers.add(0, 1.0)
    servers.add(1, 2.0)
    servers.advance(6.0)
    assert servers.done_s == pytest.approx([5.1, 5.1])


@settings(max_examples=effort(15, ci=40), deadline=None)
@given(
    st.lists(st.floats(0, 20), min_size=1, max_size=80),
    st.sampled_from(["fifo", "deadline"]),
    st.integers(1, 3),
    st.lists(st.floats(0.05, 25), min_size=1, max_size=12),
)
def test_requests_in_the_system_add_up_to_their_latencies(
    times_s: list[float], order: Order, pods: int, samples_s: list[float]
) -> None:
    """Little's law as a sum, checked at every sampled moment."""
    arrivals_s = np.sort(np.array(times_s))
    servers = Servers(arrivals_s, np.full(len(times_s), 0.3), SimConfig(service_time_s=0.3, order=order))
    for pod in range(pods):
        servers.add(pod, 0.7 * pod)
    for now_s in sorted(samples_s):
        servers.advance(now_s)
        ends_s = np.nan_to_num(np.array(servers.done_s), nan=np.inf)
        spent_s = np.clip(np.minimum(ends_s, now_s) - arrivals_s, 0, None)
        assert servers.request_seconds(now_s) == pytest.approx(spent_s.sum(), abs=1e-6)
        assert servers.waiting(now_s) + len(servers.in_flight(now_s)) == np.sum(
            (arrivals_s <= now_s) & (ends_s > now_s)
        )


def test_d_d_1_has_exactly_the_waits_of_theory() -> None:
    spaced = pinned(1, np.arange(0, 5, 0.25, dtype=np.float64), service_time_s=0.25, service_cv=0.0)
    assert spaced.done_s - spaced.intended_s == pytest.approx(0.25)
    crowded = pinned(1, np.zeros(4), service_time_s=0.25, service_cv=0.0)
    assert crowded.done_s == pytest.approx([0.25, 0.5, 0.75, 1.0])


@pytest.mark.parametrize(("servers", "rate_rps", "service_s"), [(1, 5.0, 0.1), (3, 24.0, 0.1)])
def test_m_d_c_waits_about_half_as_long_as_m_m_c(servers: int, rate_rps: float, service_s: float) -> None:
    """M/D/1 waits exactly half as long as M/M/1 (Pollaczek-Khinchine); for M/D/c that is true within a few per cent."""
    rng = np.random.default_rng(1)
    arrivals_s = np.cumsum(rng.exponential(1 / rate_rps, 60_000))
    run = pinned(servers, arrivals_s, service_time_s=service_s, service_cv=0.0)
    mean_wait_s = float(np.mean(run.done_s - arrivals_s)) - service_s
    m_m_c_s = erlang_c(servers, rate_rps * service_s) / (servers / service_s - rate_rps)
    assert mean_wait_s == pytest.approx(m_m_c_s / 2, rel=0.12)


def test_littles_law_holds() -> None:
    rng = np.random.default_rng(2)
    arrivals_s = np.sort(rng.uniform(0, 1000, 20_000))
    run = pinned(3, arrivals_s, service_time_s=0.1)
    in_system = np.mean([np.sum((arrivals_s <= t) & (run.done_s > t)) for t in np.linspace(50, 950, 2000)])
    mean_latency_s = float(np.mean(run.done_s - arrivals_s))
    assert in_system == pytest.approx(20 * mean_latency_s, rel=0.05)


@settings(max_examples=effort(10, ci=25), deadline=None)
@given(
    st.lists(st.floats(0, 60), min_size=1, max_size=200),
    st.sampled_from(["fifo", "deadline"]),
    st.integers(0, 5),
)
def test_every_request_is_answered_after_at_least_its_service_time(
    times_s: list[float], order: Order, initial_pods: int
) -> None:
    arrivals_s = np.sort(np.array(times_s))
    config = SimConfig(initial_pods=initial_pods, max_pods=5, order=order, service_cv=0.0)
    run = simulate("elastic", Elastic(), arrivals_s, config, seed=3)
    assert np.all(run.done_s - arrivals_s >= config.service_time_s - 1e-9)
    assert run.row.lost == 0
    assert run.row.pod_seconds >= len(times_s) * config.service_time_s - 1e-6


def test_the_same_seed_gives_the_same_run_and_another_seed_another() -> None:
    arrivals_s = np.sort(np.random.default_rng(4).uniform(0, 60, 600))

    def latencies(seed: int) -> list[float]:
        return simulate("elastic", Elastic(), arrivals_s, SimConfig(), seed).done_s.tolist()  # type: ignore[no-any-return]

    assert latencies(1) == latencies(1) != latencies(2)


def test_two_policies_see_the_same_service_times() -> None:
    arrivals_s = np.arange(50, dtype=np.float64)
    few, many = pinned(1, arrivals_s), pinned(9, arrivals_s)
    assert few.done_s.tolist() == many.done_s.tolist()


def test_starting_pods_count_in_pod_seconds() -> None:
    config = SimConfig(cold_start_s=(4.0, 4.0), service_cv=0.0)
    run = simulate("two", Always(2, interval_s=0.001), np.array([9.5]), config, seed=0)
    assert run.row.pod_seconds == pytest.approx(2 * 10.0, abs=0.002)
    assert run.row.cold_starts == 2


def test_a_stopped_pod_terminates_when_it_has_finished_its_request() -> None:
    @dataclass
    class Pauses:
        interval_s: float = 0.001

        def decide(self, obs: Observation) -> Decision:
            return Decision(0 if 5 <= obs.now_s < 15 else 1, "")

    config = SimConfig(initial_pods=1, service_time_s=3.0, service_cv=0.0, termination_s=0.0, cold_start_s=(1.0, 1.0))
    run = simulate("pauses", Pauses(), np.array([4.0, 20.0]), config, seed=0)
    assert run.row.lost == 0
    assert [one.terminating_pods for one in run.pods[4:8]] == [0, 1, 0, 0]  # at 5, 6, 7 and 8 s
    assert run.row.terminating_pod_seconds == pytest.approx(2.0, abs=0.01)
    assert run.row.pod_seconds == pytest.approx(5 + (23 - 15), abs=0.01)


@pytest.mark.parametrize("seed", range(5))
def test_starting_pods_are_stopped_before_ready_ones(seed: int) -> None:
    cluster = Cluster(SimConfig(), np.array([100.0]), np.random.default_rng(seed))
    cluster.scale_to(5, 0.0)
    first_ready_s = min(pod.ready_s for pod in cluster.pods)
    cluster.scale_to(1, first_ready_s)
    assert cluster.observe(first_ready_s).ready_pods == 1


def test_the_newest_ready_pod_is_stopped_first() -> None:
    cluster = Cluster(SimConfig(initial_pods=1, cold_start_s=(1.0, 1.0)), np.array([100.0]), np.random.default_rng(0))
    cluster.scale_to(3, 5.0)
    cluster.scale_to(1, 10.0)
    assert [pod.removed_s for pod in cluster.pods] == [None, 10.0, 10.0]


def test_initial_pods_are_no_cold_starts() -> None:
    row = simulate("two", Always(2), np.array([9.5]), SimConfig(initial_pods=2), 0).row
    assert row.cold_starts == 0
    assert row.pod_seconds == pytest.approx(20.0)


def test_a_stopped_pod_terminates_for_at_least_termination_s() -> None:
    @dataclass
    class StopsAtOnce:
        interval_s: float = 1.0

        def decide(self, obs: Observation) -> Decision:
            return Decision(int(obs.waiting > 0), "")

    config = SimConfig(initial_pods=1, service_cv=0.0, termination_s=5.0)
    row = simulate("stops", StopsAtOnce(), np.array([0.0, 59.0]), config, seed=0).row
    assert row.terminating_pod_seconds == pytest.approx(5.0)


def test_a_node_runs_the_serial_part_of_starts_one_after_the_other() -> None:
    config = SimConfig(cold_start_s=(2.0, 2.0), start_serial_s=0.5, max_pods=4)
    run = simulate("four", Always(4, interval_s=0.001), np.array([9.5]), config, seed=0)
    assert [counts.ready_pods for counts in run.pods[:5]] == [0, 0, 1, 3, 4]


@pytest.mark.parametrize("pods", [-1, 2.5, float("nan")])
def test_a_decision_that_is_no_integer_of_at_least_0_is_refused(pods: float) -> None:
    with pytest.raises(SimulationError, match=f"wanted pods must be an integer of at least 0, got {pods}"):
        simulate("nonsense", Always(pods), np.array([1.0]), SimConfig(), 0)  # type: ignore[arg-type]


@pytest.mark.parametrize("arrivals_s", [[], [1.0, float("nan")], [float("inf")], [2.0, 1.0], [-1.0]], ids=str)
def test_invalid_arrivals_are_refused(arrivals_s: list[float]) -> None:
    with pytest.raises(SimulationError, match=f"arrivals_s must be .* got {len(arrivals_s)} times"):
        simulate("kpa", Always(1), np.array(arrivals_s), SimConfig(), 0)


@pytest.mark.parametrize("order", ["fifo", "deadline"])
def test_a_hundred_thousand_requests_in_a_second_are_answered_but_almost_all_late(order: Order) -> None:
    arrivals_s = np.sort(np.random.default_rng(1).uniform(0, 1, 100_000))
    row = simulate("crowd", Always(40), arrivals_s, SimConfig(initial_pods=40, order=order), 0).row
    assert row.lost == 0
    assert row.late_ratio > 0.99


@pytest.mark.parametrize("arrivals_s", [[0.0], [0.5], [0.0, 3600.0], [7.0] * 50, [0.0, 0.0, 900.0]], ids=str)
@pytest.mark.parametrize("policy", ["kpa", "hpa", "elastic"])
def test_traces_with_gaps_or_of_a_single_second_can_be_simulated(arrivals_s: list[float], policy: str) -> None:
    spec = policy_named(policy)
    run = simulate(policy, spec.on_knative(), np.array(arrivals_s), SimConfig(order=spec.order), 0)
    assert run.row.requests == len(arrivals_s)
    assert run.row.lost <= 40  # with hpa, the queue-proxy refuses some of fifty at once
    assert run.row.pod_seconds > 0


def test_a_decision_takes_effect_after_actuation_s() -> None:
    config = SimConfig(cold_start_s=(1.0, 1.0), actuation_s=3.0)
    run = simulate("late", Always(2, interval_s=0.001), np.array([9.5]), config, 0)
    assert [(one.starting_pods, one.ready_pods) for one in run.pods[2:5]] == [(0, 0), (2, 0), (0, 2)]


def test_a_first_request_triggers_only_one_tick_until_its_decision_takes_effect() -> None:
    @dataclass
    class Counts:
        interval_s: float = 1000.0
        ticks: int = 0

        def decide(self, obs: Observation) -> Decision:
            self.ticks += obs.waiting > 0
            return Decision(int(obs.waiting > 0), "")

    policy = Counts()
    simulate("counts", policy, np.array([1.0, 1.1, 1.2]), SimConfig(actuation_s=3.0), 0)
    assert policy.ticks == 1


@pytest.mark.parametrize("cv", [0.1, 0.5])
def test_service_times_have_the_configured_mean_and_variation(cv: float) -> None:
    drawn_s = service_times(SimConfig(service_time_s=0.2, service_cv=cv), np.random.default_rng(0), 200_000)
    assert drawn_s.mean() == pytest.approx(0.2, rel=0.01)
    assert drawn_s.std() / drawn_s.mean() == pytest.approx(cv, rel=0.02)


def test_a_pod_is_ready_before_requests_reach_it() -> None:
    config = SimConfig(cold_start_s=(1.0, 1.0), readiness_delay_s=0.5, service_cv=0.0)
    run = simulate("one", Always(1, interval_s=0.001), np.array([0.0]), config, 0)
    assert run.pods[1].ready_pods == 1
    assert run.done_s[0] == pytest.approx(1.6, abs=0.01)


def test_pod_and_queue_proxy_use_cpu_while_a_request_is_served() -> None:
    @dataclass
    class Watches:
        interval_s: float = 0.5
        cpu: tuple[float, ...] = ()

        def decide(self, obs: Observation) -> Decision:
            self.cpu = (*self.cpu, obs.pods[0].cpu_seconds or 0.0)
            return Decision(1, "")

    world: dict[str, float] = {"service_time_s": 1.0, "service_cv": 0.0, "cpu_per_start_s": 0.0}
    shares = {"cpu_per_request_s": 0.5, "queue_proxy_cpu_per_request_s": 0.1}
    for cpu, used_s in (({}, 1.0), (shares, 0.6)):
        watch = Watches()
        simulate("watch", watch, np.array([2.0, 9.5]), SimConfig(initial_pods=1, **world, **cpu), 0)  # type: ignore[arg-type]
        assert (watch.cpu[3], watch.cpu[8]) == pytest.approx((0.0, used_s), abs=1e-9)
        assert 0 < min(one for one in watch.cpu if one > 0) <= used_s / 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"service_time_s": 0.0},
        {"slo_s": float("nan")},
        {"cold_start_s": (3.0, 2.0)},
        {"concurrency": 0},
        {"gateway_workers": 0},
        {"actuation_s": -1.0},
        {"cpu_limit_cores": 0.0},
        {"cpu_per_request_s": 0.2},
        {"cpu_per_request_s": float("nan")},
        {"concurrency": 4, "cpu_per_request_s": 0.05},
        {"service_samples_s": (0.1, float("inf"))},
        {"initial_pods": 9, "max_pods": 8},
    ],
)
def test_invalid_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(SimulationError, match=r", got "):
        SimConfig(**wrong)  # type: ignore[arg-type]
