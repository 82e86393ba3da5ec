"""Simulations of traffic with settings that are fitted to recorded runs, to predict runs that were not used for it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from autoscaler_tuning.experiments.compare import simulated_run
from autoscaler_tuning.experiments.live_summary import Predicted, predicted
from autoscaler_tuning.experiments.parallel import parallel_map
from autoscaler_tuning.policies.registry import KnativeClass, PolicySpec, policy_named
from autoscaler_tuning.results import FloatArray, PolicyRow, PolicyRun
from autoscaler_tuning.simulator.world import SimConfig
from autoscaler_tuning.validation.fit import fit
from autoscaler_tuning.validation.recorded_run import RecordedRun, read_recorded
from autoscaler_tuning.validation.resimulate import UTILIZATIONS, integral, is_direct, is_hpa, setup_of_run, tick_s

SEEDS = 5


@dataclass(frozen=True, slots=True)
class FittedWorld:
    """Settings of the simulator that were fitted to recorded runs.

    hpa_percent: share of its CPU request that a busy pod uses, in percent; None if no run tells it.
    metrics_resolution_s: time between two CPU measurements.
    """

    sim: SimConfig
    hpa_percent: float | None
    metrics_resolution_s: float
    about: str

    def spec(self, name: str) -> PolicySpec | None:
        """Return the policy to simulate; None for HPA if the CPU use of a pod is unknown."""
        spec = policy_named(name, self.sim.slo_s)
        if spec.entry.knative_class is not KnativeClass.HPA:
            return spec
        return None if self.hpa_percent is None else self.with_cpu(spec, self.hpa_percent)

    def with_cpu(self, spec: PolicySpec, percent: float) -> PolicySpec:
        """Return HPA for pods of which a busy one uses this share of its CPU request."""
        busy_milli = 1000 * self.sim.cpu_ratio * self.sim.concurrency
        config = replace(
            spec.config,
            cpu_request_milli=max(1, round(busy_milli * 100 / percent)),
            sidecar_request_milli=0,
            metrics_resolution_s=self.metrics_resolution_s,
        )
        return replace(spec, config=config)


@dataclass(frozen=True, slots=True)
class _Case:
    world: FittedWorld
    policy: str
    arrivals_s: FloatArray
    seed: int


def fitted_world(paths: Sequence[Path], slo_s: float, max_pods: int, metrics_resolution_s: float = 15.0) -> FittedWorld:
    """Fit the simulator to recorded runs: to the first one with a queue in front of the pods, if there is one.

    Raises RecordedError if a file is no run, or if too few of its requests found a free pod.
    """
    runs = [read_recorded(path) for path in paths]
    chosen = next((index for index, run in enumerate(runs) if not is_direct(run)), 0)
    run = runs[chosen]
    found = fit(run, 0.0, run.end_s, tick_s(setup_of_run(run).policy), is_direct(run))
    sim = SimConfig(
        **found.settings(),  # type: ignore[arg-type]  # SimConfig's names and types; a test compares the names
        max_pods=max_pods,
        slo_s=slo_s,
        concurrency=setup_of_run(run).concurrency,
    )
    about = (
        f"Simulated with settings fitted to {paths[chosen].name}: service time {sim.service_time_s:.3f} s, start "
        f"{sim.cold_start_s[0]:g} to {sim.cold_start_s[1]:g} s plus {sim.start_serial_s:g} s serial per node; "
        f"medians of {SEEDS} simulations"
    )
    world = FittedWorld(sim, None, metrics_resolution_s, about)
    recorded = next((one for one in runs if is_hpa(setup_of_run(one).policy)), None)
    if recorded is None:
        return world
    percent = hpa_percent(world, recorded)
    return replace(world, hpa_percent=percent, about=f"{about}; a busy pod uses {percent:g} % of its CPU request")


def hpa_percent(world: FittedWorld, run: RecordedRun) -> float:
    """Return the CPU use of a busy pod, in percent of its request, with which a run of HPA has its pod-seconds."""
    spec = policy_named(setup_of_run(run).policy, world.sim.slo_s)
    real = integral(run.times_s, run.ready_pods + run.starting_pods, 0.0, run.end_s)

    def error(percent: float) -> float:
        arrivals_s = np.sort(run.intended_s)
        row = simulated_run(world.with_cpu(spec, percent), arrivals_s, world.sim, 0).row
        return abs(row.pod_seconds - real)

    return float(min(UTILIZATIONS, key=error))


def predictions(
    world: FittedWorld, wanted: Sequence[tuple[str, FloatArray]], seeds: int = SEEDS
) -> list[Predicted | None]:
    """Return the prediction for each policy and its arrivals; None for HPA if the CPU use of a pod is unknown."""
    cases = [
        _Case(world, policy, arrivals_s, seed)
        for policy, arrivals_s in wanted
        for seed in range(seeds)
        if world.spec(policy)
    ]
    rows = iter(list(parallel_map(_simulated_row, cases)))
    return [predicted([next(rows) for _ in range(seeds)]) if world.spec(policy) else None for policy, _ in wanted]


def _simulated_row(case: _Case) -> PolicyRow:
    return simulated(case.world, case.policy, case.arrivals_s, case.seed).row


def simulated(world: FittedWorld, policy: str, arrivals_s: FloatArray, seed: int) -> PolicyRun:
    """Simulate a policy from its min-scale, or from HPA's first pod; raise ValueError if its CPU use is unknown."""
    spec = world.spec(policy)
    if spec is None:
        raise ValueError(f"to simulate {policy}, the CPU use of a pod must be known")
    return simulated_run(spec, arrivals_s, world.sim, seed)
