"""Flags of the simulator, shared by compare, tune and goals."""

import argparse
from collections.abc import Callable

import numpy as np

from autoscaler_tuning.commands.flags import Flags, non_negative_integer, number, number_range, positive_integer
from autoscaler_tuning.simulator.world import SimConfig, SimulationError

# A range of service times is simulated as this many equally likely values.
SERVICE_SAMPLES = 131
# Standard start times, in seconds: of this project's own pods as measured, and of pods with a larger model.
STARTS = {"product": (0.6, 1.2), "heavy": (2.0, 6.0)}


def add_world(
    flags: Flags,
    service_times: Callable[[str], object] = number_range,
    service_time_s: str = "0.1",
    initial_pods: int | None = 0,
) -> None:
    """Add the flags for service and start times, SLO and pods.

    service_times: parser of the service time, for one number or range, or for several.
    service_time_s: default of the service time.
    initial_pods: default of the initial pods; None means as many as stock KPA would keep.
    """
    service_about = "mean time of a request in a pod, in seconds, or a uniform range such as 0.035-0.1"
    if service_times is not number_range:
        service_about += ", or several separated by commas"
    flags.add("--service-time-s", service_times, service_time_s, service_about)
    start_about = "time from the creation of a pod until it is ready, in seconds, a uniform range, or "
    flags.add("--cold-start-s", start_range, "2-6", start_about + "product (0.6-1.2) or heavy (2-6)")
    flags.add("--actuation-s", number, 0, "time from a decision until pods are created or stopped, in seconds")
    flags.add("--start-serial-s", number, 0, "part of a start that a node runs for one pod at a time, in seconds")
    flags.add("--readiness-delay-s", number, 0, "time from ready until requests reach the pod, in seconds")
    flags.add("--slo-s", number, 0.5, "longest latency that counts as in time, in seconds")
    initial_about = "ready pods at the start"
    if initial_pods is None:
        initial_about += " (default: as many as stock KPA would keep for the first ten seconds)"
    flags.add("--initial-pods", non_negative_integer, initial_pods, initial_about)
    flags.add("--max-pods", positive_integer, 40, "upper bound on the pods of every policy")


def start_range(text: str) -> tuple[float, float]:
    """Parse a range of start times, or the name of a standard one."""
    return STARTS.get(text) or number_range(text)


def start_text(world: SimConfig) -> str:
    """Return the parts of a pod start for a sentence."""
    parts = (
        ("after a decision", world.actuation_s),
        ("serial on each node", world.start_serial_s),
        ("until requests arrive", world.readiness_delay_s),
    )
    others = "".join(f" plus {time_s:g} s {what}" for what, time_s in parts if time_s)
    return f"pod starts of {world.cold_start_s[0]:g} to {world.cold_start_s[1]:g} s{others}"


def world_of(args: argparse.Namespace, service_time_s: tuple[float, float]) -> SimConfig:
    """Return the simulator's settings with this range of service times. Raises SimulationError."""
    least_s, most_s = service_time_s
    if least_s > most_s:
        raise SimulationError(f"--service-time-s must be a range from low to high, got {least_s:g}-{most_s:g}")
    samples_s = np.linspace(least_s, most_s, SERVICE_SAMPLES).tolist() if least_s < most_s else ()
    return SimConfig(
        service_time_s=(least_s + most_s) / 2,
        service_samples_s=tuple(samples_s),
        cold_start_s=args.cold_start_s,
        actuation_s=args.actuation_s,
        start_serial_s=args.start_serial_s,
        readiness_delay_s=args.readiness_delay_s,
        slo_s=args.slo_s,
        initial_pods=args.initial_pods,
        max_pods=args.max_pods,
    )


def service_time_text(world: SimConfig) -> str:
    """Return the service time for a sentence: `service time 0.1 s`, or the range."""
    samples_s = world.service_samples_s
    return (
        f"service time {samples_s[0]:g} to {samples_s[-1]:g} s"
        if samples_s
        else f"service time {world.service_time_s:g} s"
    )
