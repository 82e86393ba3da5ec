"""Report on a run saved with --json, in other formats or against other SLOs, without sending anything."""

import argparse
from dataclasses import replace
from pathlib import Path

from loadgen.analysis.runs import read_run
from loadgen.commands.flags import positive_number
from loadgen.commands.outputs import add_gates, add_outputs, check_outputs, judge, write_outputs
from loadgen.errors import exit_code


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("saved", type=Path, metavar="RUN", help="file that --json wrote")
    parser.add_argument(
        "--slo-s",
        type=positive_number,
        metavar="S",
        help="latency above which a response is late, in seconds; default: the value of the run",
    )
    add_gates(parser)
    add_outputs(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Return the exit code that the run itself would have returned. Raises OSError or InputError."""
    saved = read_run(args.saved)
    check_outputs(args, args.saved)
    settings = replace(saved.settings, slo_s=args.slo_s or saved.settings.slo_s)
    judged = judge(replace(saved, settings=settings), args.slo)
    return exit_code([write_outputs(args, judged), judged.exit_code])
