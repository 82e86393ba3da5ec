"""The command line: parses the arguments and calls the command, each of which has a module in commands/."""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module

from autoscaler_tuning.commands.flags import PROGRAM

# Name, help, and in commands/ the module and function that add the flags.
COMMANDS = (
    ("conformance", "check the KPA and HPA implementations against test vectors", "cmd_conformance", "add"),
    ("compare", "compare policies on one workload, simulated or live", "cmd_compare", "add"),
    ("advise", "show what other settings would have cost on a Service's own traffic", "cmd_advise", "add"),
    ("tune", "find the knobs of KPA for a trace and a price of late requests", "cmd_tune", "add"),
    ("goals", "check the goals of elastic on a trace; exits 1 if a required goal is missed", "cmd_goals", "add"),
    ("validate", "compare a recorded run with its simulation; exits 1 outside the tolerance", "cmd_validate", "add"),
    ("fit", "derive settings of the simulator from a recorded run", "cmd_validate", "add_fit"),
    ("convert", "write a recorded run of the old format in the present one", "cmd_validate", "add_convert"),
    ("trace", "convert a public trace to requests per second", "cmd_trace", "add"),
    ("control", "scale live pods, or only observe them", "cmd_control", "add"),
    (
        "demo",
        "send an image to no pods, then compare three autoscalers, live and simulated",
        "cmd_demo",
        "add",
    ),
    ("up", "start the dispatcher and the controller on this machine", "cmd_up_down", "add_up"),
    ("down", "stop what `up` started", "cmd_up_down", "add_down"),
)


def build_parser(env: Mapping[str, str], only: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of all commands; a variable in env replaces the default of its flag.

    only: the one command whose flags are needed. The others are not imported: matplotlib and scipy, which comparisons
    need, would take a hundred megabytes of the controller's memory.
    """
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description="Scale the pods of an inference service, and compare autoscaling policies."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, about, module, function in COMMANDS:
        command = commands.add_parser(name, help=about, description=f"{about[:1].upper()}{about[1:]}.")
        if only in (None, name):
            getattr(import_module(f"autoscaler_tuning.commands.{module}"), function)(command, env)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return the exit status: 2 for bad input, 1 for a failure, 130 after an interrupt."""
    words = sys.argv[1:] if argv is None else list(argv)
    named = next((word for word in words if not word.startswith("-")), "")
    args = build_parser(os.environ, only=named).parse_args(words)
    try:
        return int(args.run(args))
    except Exception as error:
        status = status_of(error)
        if status is None:
            raise
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return status
    except KeyboardInterrupt:
        print(f"{PROGRAM}: interrupted; all processes that it started are stopped", file=sys.stderr)
        return 130


def status_of(error: Exception) -> int | None:
    """Return the exit status for an error that a user can understand without a traceback; None for another one."""
    # imported when they are needed, for the reason in build_parser()
    from autoscaler_tuning.experiments.tune import TuneError  # noqa: PLC0415
    from autoscaler_tuning.live.local_stack import StackError  # noqa: PLC0415
    from autoscaler_tuning.live.serve import KeyFileError  # noqa: PLC0415
    from autoscaler_tuning.live.service_traffic import TrafficError  # noqa: PLC0415
    from autoscaler_tuning.policies.registry import UnknownPolicyError  # noqa: PLC0415
    from autoscaler_tuning.simulator.world import SimulationError  # noqa: PLC0415
    from autoscaler_tuning.validation.conformance import VectorsError  # noqa: PLC0415
    from autoscaler_tuning.validation.recorded_run import RecordedError  # noqa: PLC0415
    from knative.errors import KnativeError  # noqa: PLC0415
    from loadgen.workload.workload import WorkloadError  # noqa: PLC0415

    bad_input = (WorkloadError, UnknownPolicyError, SimulationError, VectorsError, TuneError, RecordedError)
    if isinstance(error, (*bad_input, KeyFileError, TrafficError, FileNotFoundError)):
        return 2
    if isinstance(error, StackError):
        return error.status
    return 1 if isinstance(error, KnativeError) else None
