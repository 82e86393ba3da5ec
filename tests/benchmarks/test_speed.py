"""Speed: `make bench` prints this table and writes bench.json. Ratios carry over to other machines, times do not."""

import time

import numpy as np
import pytest

from autoscaler_tuning.experiments.compare import simulated_run
from autoscaler_tuning.policies.elastic.elastic import Elastic
from autoscaler_tuning.policies.registry import policy_named
from autoscaler_tuning.simulator.world import SimConfig
from autoscaler_tuning.types import Observation
from loadgen.workload.arrivals import arrival_times
from loadgen.workload.workload import read_workload
from tests.benchmarks.conftest import Say
from tests.paths import ROOT

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]


def test_the_machine(say: Say) -> None:
    began_s = time.perf_counter()
    sum(range(10**7))
    say("this machine: sum(range(10**7)); 0.15 on a fast one", time.perf_counter() - began_s, "s")


def test_simulation_and_decisions(say: Say) -> None:
    workload = read_workload(ROOT / "workload.txt")
    arrivals_s = np.asarray(arrival_times(workload.counts, "count", 0))
    for name in ("kpa", "hpa", "elastic"):
        began_s = time.perf_counter()
        simulated_run(policy_named(name), arrivals_s, SimConfig(), 0)
        say(f"simulation of workload.txt, {name}", time.perf_counter() - began_s, "s")
    policy = Elastic()
    began_s = time.perf_counter()
    for tick in range(2000):
        policy.decide(Observation(tick / 2, 4, 0, arrived=15 * tick, service_time_s=0.1))
    say("one decision of elastic", 1000 * (time.perf_counter() - began_s) / 2000, "ms")
