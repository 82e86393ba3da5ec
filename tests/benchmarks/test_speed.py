"""Speed: `make bench` prints this table and writes bench.json. Ratios carry over to other machines, times do not."""

import time
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

import numpy as np
import pytest

from autoscaler_tuning.experiments.compare import simulated_run
from autoscaler_tuning.policies.base import Bounded, Policy
from autoscaler_tuning.policies.registry import policy_named
from autoscaler_tuning.simulator.simulate import simulate
from autoscaler_tuning.simulator.world import SimConfig
from autoscaler_tuning.types import Decision, Observation
from loadgen.workload.arrivals import arrival_times
from loadgen.workload.workload import read_workload
from tests.benchmarks.conftest import Say
from tests.paths import ROOT

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]


@dataclass
class Observed:
    """Keeps what the policy inside it observes."""

    inner: Policy
    observations: list[Observation] = field(default_factory=list)

    @property
    def interval_s(self) -> float:
        return self.inner.interval_s

    def decide(self, obs: Observation) -> Decision:
        self.observations.append(obs)
        return self.inner.decide(obs)


def test_the_machine(say: Say) -> None:
    began_s = time.perf_counter()
    sum(range(10**7))
    say("this machine: sum(range(10**7)); 0.15 on a fast one", time.perf_counter() - began_s, "s")


def test_simulations(say: Say) -> None:
    workload = read_workload(ROOT / "workload.txt")
    arrivals_s = np.asarray(arrival_times(workload.counts, "count", 0))
    for name in ("kpa", "hpa", "elastic"):
        began_s = time.perf_counter()
        simulated_run(policy_named(name), arrivals_s, SimConfig(), 0)
        say(f"simulation of workload.txt, {name}", time.perf_counter() - began_s, "s")


@pytest.mark.parametrize("trace", ["workload.txt", "mmpp:seed=11"])
def test_a_decision_with_stock_kpa_in_the_shadow(say: Say, trace: str) -> None:
    """Goal: 0.5 ms of CPU time on average."""
    spec, config = policy_named("elastic"), SimConfig(order="deadline")
    observed = Observed(spec.on_knative())
    counts = read_workload(ROOT / trace if (ROOT / trace).exists() else Path(trace)).counts
    simulate("elastic", Bounded(observed, 0, config.max_pods), np.asarray(arrival_times(counts, "count", 0)), config, 0)
    least_s = inf
    for _ in range(3):
        policy = spec.make()
        began_s = time.process_time()
        for observation in observed.observations:
            policy.decide(observation)
        least_s = min(least_s, time.process_time() - began_s)
    say(f"one decision of elastic, {trace}", 1000 * least_s / len(observed.observations), "ms")
