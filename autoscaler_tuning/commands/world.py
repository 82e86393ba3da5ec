"""Flags of the simulated world, shared by compare, tune and goals."""

import argparse
import sys
from collections.abc import Callable

from autoscaler_tuning.commands.flags import Flags, number, seed, span, whole
from autoscaler_tuning.simulator.world import SimConfig


def add_world(flags: Flags, service_times: Callable[[str], object] = number) -> None:
    """Service and start times, SLO and pods; service_times reads one number or several."""
    flags.add("--service-time-s", service_times, "0.1", "mean time in a pod")
    flags.add("--cold-start-s", span, "2-6", "time from decision to ready, one number or a uniform range")
    flags.add("--slo-s", number, 0.5, "an answer later than this is late")
    flags.add("--initial-pods", seed, 1, "pods that are ready at the start")
    flags.add("--max-pods", whole, 40, "bound of every policy")


def world_of(args: argparse.Namespace, service_time_s: float | None = None) -> SimConfig:
    """At this service time, else the one of the flags. Raises SimulationError."""
    service_time_s = args.service_time_s if service_time_s is None else service_time_s
    return SimConfig(
        service_time_s=service_time_s,
        cold_start_s=args.cold_start_s,
        slo_s=args.slo_s,
        initial_pods=1 if args.initial_pods is None else args.initial_pods,
        max_pods=args.max_pods,
        cpu_per_request_s=service_time_s,
    )


def teller() -> Callable[[str], None]:
    """Says on standard error where a long run is, over the same line; nothing where nobody looks."""

    def said(text: str) -> None:
        if sys.stderr.isatty():
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)

    return said
