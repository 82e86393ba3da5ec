"""The command line: parses the arguments and calls the command, each of which has a module in commands/."""

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence

from autoscaler_tuning.commands import cmd_compare as compare
from autoscaler_tuning.commands import cmd_conformance as conformance
from autoscaler_tuning.commands import cmd_control as control
from autoscaler_tuning.commands import cmd_demo as demo
from autoscaler_tuning.commands import cmd_goals as goals
from autoscaler_tuning.commands import cmd_trace as trace
from autoscaler_tuning.commands import cmd_tune as tune
from autoscaler_tuning.commands import cmd_up_down as stack
from autoscaler_tuning.commands import cmd_validate as validate
from autoscaler_tuning.commands.flags import PROGRAM
from autoscaler_tuning.experiments.tune import TuneError
from autoscaler_tuning.live.local_stack import StackError
from autoscaler_tuning.policies.registry import UnknownPolicyError
from autoscaler_tuning.simulator.world import SimulationError
from autoscaler_tuning.validation.conformance import VectorsError
from autoscaler_tuning.validation.recorded_run import RecordedError
from knative.errors import KnativeError
from loadgen.workload.workload import WorkloadError

BAD_INPUT = (
    *(WorkloadError, UnknownPolicyError, SimulationError, VectorsError, TuneError, RecordedError),
    FileNotFoundError,
)

Add = Callable[[argparse.ArgumentParser, Mapping[str, str]], None]

COMMANDS: tuple[tuple[str, str, Add], ...] = (
    ("conformance", "check the KPA and HPA implementations against test vectors", conformance.add),
    ("compare", "compare policies on one workload, simulated or live", compare.add),
    ("tune", "find the knobs of KPA for a trace and a price of late requests", tune.add),
    ("goals", "check the goals of elastic on a trace; exits 1 if a required goal is missed", goals.add),
    ("validate", "compare a recorded run with its simulation; exits 1 outside the tolerance", validate.add),
    ("fit", "derive settings of the simulator from a recorded run", validate.add_fit),
    ("convert", "write a recorded run of the old format in the present one", validate.add_convert),
    ("trace", "convert a public trace to requests per second", trace.add),
    ("control", "scale live pods, or only observe them", control.add),
    ("demo", "send an image while there are no pods, then compare three autoscalers, live and simulated", demo.add),
    ("up", "start the dispatcher and the controller on this machine", stack.add_up),
    ("down", "stop what `up` started", stack.add_down),
)


def build_parser(env: Mapping[str, str]) -> argparse.ArgumentParser:
    """Return the parser of all commands; a variable in env replaces the default of its flag."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description="Scale the pods of an inference service, and compare autoscaling policies."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, about, add in COMMANDS:
        add(commands.add_parser(name, help=about, description=f"{about[:1].upper()}{about[1:]}."), env)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return the exit status: 2 for bad input, 1 for a failure, 130 after an interrupt."""
    args = build_parser(os.environ).parse_args(argv)
    try:
        return int(args.run(args))
    except BAD_INPUT as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 2
    except StackError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return error.status
    except KnativeError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{PROGRAM}: interrupted; all processes that it started are stopped", file=sys.stderr)
        return 130
