"""Report on a run that was kept with --json: other shapes, other SLOs, nothing sent."""

import argparse
from dataclasses import replace
from pathlib import Path

from loadgen.analysis.runs import read_run
from loadgen.commands.flags import positive
from loadgen.commands.outputs import add_gates, add_outputs, check_outputs, judge, tell


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("kept", type=Path, metavar="RUN", help="what --json wrote")
    parser.add_argument("--slo-s", type=positive, metavar="S", help="an answer later than this is late, if not as then")
    add_gates(parser)
    add_outputs(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Returns the exit code that the run itself would have had. Raises OSError or InputError."""
    kept = read_run(args.kept)
    check_outputs(args)
    asked = replace(kept.asked, slo_s=args.slo_s or kept.asked.slo_s)
    judged = judge(replace(kept, asked=asked), args.slo)
    tell(args, judged)
    return judged.exit_code
