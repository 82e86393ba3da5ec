"""The command line: parses and calls, nothing else. Each command has a module in commands/."""

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence

from autoscaler_tuning.commands import cmd_compare as compare
from autoscaler_tuning.commands import cmd_conformance as conformance
from autoscaler_tuning.commands import cmd_control as control
from autoscaler_tuning.commands import cmd_demo as demo
from autoscaler_tuning.commands import cmd_goals as goals
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
    ("conformance", "check the ports of KPA and HPA against vectors", conformance.add),
    ("compare", "policies side by side on one workload, simulated or live", compare.add),
    ("tune", "find KPA's own knobs for a trace and a price of lateness", tune.add),
    ("goals", "what elastic set out to reach on a trace: met or missed", goals.add),
    ("validate", "simulate a recorded run beside the real one; exits 1 beyond tolerance", validate.add),
    ("fit", "start and service times of a recorded run, as settings of the simulator", validate.add_fit),
    ("control", "scale live pods, or only look on", control.add),
    ("demo", "a photograph from zero, then three autoscalers, live and simulated", demo.add),
    ("up", "start dispatcher and controller on this machine", stack.add_up),
    ("down", "stop what `up` started", stack.add_down),
)


def build_parser(env: Mapping[str, str]) -> argparse.ArgumentParser:
    """All subcommands; defaults come from env where a variable is set."""
    parser = argparse.ArgumentParser(prog=PROGRAM, description="Decide how many pods, and compare who decides best.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, about, add in COMMANDS:
        add(commands.add_parser(name, help=about), env)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, call, print; returns the exit status: 2 for bad input, 1 for a failure, 130 when interrupted."""
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
        print(f"{PROGRAM}: interrupted; everything it started is stopped", file=sys.stderr)
        return 130
