"""Compare two runs."""

import argparse
from pathlib import Path

from loadgen.errors import InputError


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("before", type=Path, metavar="RUN")
    parser.add_argument("after", type=Path, metavar="RUN")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Raises InputError: there is no comparison yet."""
    raise InputError(f"diff is not there yet, asked for {args.before} and {args.after}")
