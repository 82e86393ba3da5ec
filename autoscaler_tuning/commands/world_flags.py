"""Flags of the simulated world, shared by compare, tune and goals."""

import argparse
from collections.abc import Callable

import numpy as np

from autoscaler_tuning.commands.flags import Flags, number, seed, span, whole
from autoscaler_tuning.simulator.world import SimConfig, SimulationError

# A range of service times, as so many equally likely ones.
SERVICE_SAMPLES = 131


def add_world(flags: Flags, service_times: Callable[[str], object] = span) -> None:
    """Service and start times, SLO and pods; service_times reads one number or range, or several."""
    flags.add("--service-time-s", service_times, "0.1", "mean time in a pod, or a uniform range such as 0.035-0.1")
    flags.add("--cold-start-s", span, "2-6", "time from decision to ready, one number or a uniform range")
    flags.add("--slo-s", number, 0.5, "an answer later than this is late")
    flags.add("--initial-pods", seed, 1, "pods that are ready at the start")
    flags.add("--max-pods", whole, 40, "bound of every policy")


def world_of(args: argparse.Namespace, service_time_s: tuple[float, float]) -> SimConfig:
    """At service times from the least to the most. Raises SimulationError."""
    least_s, most_s = service_time_s
    if least_s > most_s:
        raise SimulationError(f"service-time-s must be least-most, was {least_s:g}-{most_s:g}")
    samples_s = np.linspace(least_s, most_s, SERVICE_SAMPLES).tolist() if least_s < most_s else ()
    return SimConfig(
        service_time_s=(least_s + most_s) / 2,
        service_samples_s=tuple(samples_s),
        cold_start_s=args.cold_start_s,
        slo_s=args.slo_s,
        initial_pods=1 if args.initial_pods is None else args.initial_pods,
        max_pods=args.max_pods,
    )


def told_service_time(world: SimConfig) -> str:
    """`service time 0.1 s`, or the range."""
    samples_s = world.service_samples_s
    return (
        f"service time {samples_s[0]:g} to {samples_s[-1]:g} s"
        if samples_s
        else f"service time {world.service_time_s:g} s"
    )
