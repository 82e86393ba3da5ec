"""Requests that the simulator serves per second on one core, compared with the same model in SimPy; and the bounds."""

import json
import time
from collections.abc import Callable, Generator, Iterator
from itertools import pairwise
from statistics import median

import numpy as np
import pytest
import simpy

from autoscaler_tuning.bounds.grid import GridBound
from autoscaler_tuning.bounds.linear_program import BoundConfig, lp_bound
from autoscaler_tuning.policies.base import Bounded, Policy
from autoscaler_tuning.policies.registry import policy_named
from autoscaler_tuning.results import FloatArray
from autoscaler_tuning.simulator.simulate import simulate
from autoscaler_tuning.simulator.world import SimConfig
from autoscaler_tuning.types import Decision, Observation, Order
from loadgen.workload.arrivals import planned_times
from loadgen.workload.workload import read_workload
from tests.paths import ROOT

RUNS = 5
PODS, SERVICE_S, RATE_RPS = 20, 0.05, 360.0
OURS, THEIRS = 1_000_000, 50_000

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]

Say = Callable[[str, float, str], None]


class Pinned:
    """Always wants the same pods, at elastic's interval."""

    interval_s = 0.5

    def __init__(self, direct: bool) -> None:
        self._direct = direct

    def decide(self, obs: Observation) -> Decision:
        return Decision(PODS, "pinned", direct=self._direct)


@pytest.fixture(scope="module")
def say() -> Iterator[Say]:
    """Return a function that adds a row to the table and to bench-simulator.json."""
    rows: list[dict[str, object]] = []

    def line(what: str, value: float, unit: str) -> None:
        rows.append({"what": what, "value": value, "unit": unit})

    yield line
    print("\n\n" + "\n".join(f"{row['what']:<66} {row['value']:>12.4g} {row['unit']}" for row in rows))
    (ROOT / "bench-simulator.json").write_text(json.dumps(rows, indent=1) + "\n")


def poisson(requests: int) -> FloatArray:
    return np.cumsum(np.random.default_rng(1).exponential(1 / RATE_RPS, requests))


def world(order: Order = "fifo") -> SimConfig:
    return SimConfig(
        service_time_s=SERVICE_S, service_cv=0.0, initial_pods=PODS, max_pods=PODS, order=order, termination_s=0.0
    )


def ours(arrivals_s: FloatArray, order: Order = "fifo", direct: bool = False) -> tuple[float, FloatArray]:
    """Return the run time in seconds, and done_s."""
    began_s = time.perf_counter()
    run = simulate("pinned", Pinned(direct), arrivals_s, world(order), 0)
    return time.perf_counter() - began_s, run.done_s


def simpys(arrivals_s: FloatArray) -> tuple[float, FloatArray]:
    """Run the same pods, queue and ticks as usual in SimPy: a process per request, a resource for the pods."""
    began_s = time.perf_counter()
    env = simpy.Environment()
    pods = simpy.Resource(env, capacity=PODS)
    done_s = np.empty(len(arrivals_s))
    seen = []

    def request(number: int) -> Generator[simpy.Event, None, None]:
        with pods.request() as turn:
            yield turn
            yield env.timeout(SERVICE_S)
        done_s[number] = env.now

    def source() -> Generator[simpy.Event, None, None]:
        for number, (before_s, at_s) in enumerate(pairwise([0.0, *arrivals_s.tolist()])):
            yield env.timeout(at_s - before_s)
            env.process(request(number))

    def tick() -> Generator[simpy.Event, None, None]:
        while True:
            seen.append((len(pods.queue), pods.count))
            yield env.timeout(Pinned.interval_s)

    env.process(source())
    env.process(tick())
    env.run(until=float(arrivals_s[-1]) + 10)
    return time.perf_counter() - began_s, done_s


def test_requests_per_second_compared_with_simpy(say: Say) -> None:
    few, many = poisson(THEIRS), poisson(OURS)
    assert ours(few)[1] == pytest.approx(simpys(few)[1], abs=1e-6)  # the same model, down to each request
    variants: dict[str, Callable[[], tuple[float, int]]] = {
        "SimPy": lambda: (simpys(few)[0], THEIRS),
        "ours, same length": lambda: (ours(few)[0], THEIRS),
        "ours, FIFO": lambda: (ours(many)[0], OURS),
        "ours, by deadline": lambda: (ours(many, "deadline")[0], OURS),
        "ours, straight to the pods": lambda: (ours(many, direct=True)[0], OURS),
    }
    speeds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(RUNS):  # interleaved, so that changes in the machine's speed affect all of them
        for name, run in variants.items():
            took_s, requests = run()
            speeds[name].append(requests / took_s)
    for name, found in speeds.items():
        say(f"simulated requests per second, {name}", median(found), "1/s")
        ratios = [one / simpy_one for one, simpy_one in zip(found, speeds["SimPy"], strict=True)]
        say(f"  times as fast as SimPy, {name}", median(ratios), "x")


@pytest.mark.parametrize("name", ["kpa", "hpa70", "elastic"])
def test_a_trace_of_ten_minutes(name: str, say: Say) -> None:
    """About 9,900 requests in 630 s, like the course trace; there, ticks cost more than requests."""
    rng = np.random.default_rng(2)
    rates_rps = [7] * 254 + [28] * 156 + [8] * 220
    arrivals_s = np.sort(np.concatenate([at + rng.uniform(0, 1, rate) for at, rate in enumerate(rates_rps)]))
    took_s = []
    for _ in range(RUNS):
        policy: Policy = Bounded(policy_named(name).on_knative(), 0, 40)
        began_s = time.perf_counter()
        simulate(name, policy, arrivals_s, SimConfig(), 0)
        took_s.append(time.perf_counter() - began_s)
    say(f"630 s, {len(arrivals_s)} requests, {name}", median(took_s), "s")


@pytest.mark.parametrize("family", ["mmpp", "diurnal"])
def test_the_bounds_of_21_minutes(family: str, say: Say) -> None:
    """As for a row of `compare`: Knative's window, 0.5% late."""
    workload = read_workload(f"{family}:seed=3,seconds=1260")
    arrivals_s = planned_times(workload, "count", 0)
    service_s = np.random.default_rng(3).uniform(0.035, 0.1, len(arrivals_s))
    config = BoundConfig(zero_window_s=60, late_ratio=0.005, time_limit_s=120)
    solvers: dict[str, Callable[[], float]] = {
        "LP": lambda: lp_bound(arrivals_s, service_s, config).pod_seconds,
        "whole pods on a grid": lambda: GridBound(arrivals_s, service_s, config).pod_seconds(config.late_ratio),
    }
    for name, solve in solvers.items():
        began_s = time.perf_counter()
        assert solve() > 0
        say(f"bound of 1260 s, {len(arrivals_s)} requests of {family}, {name}", time.perf_counter() - began_s, "s")
