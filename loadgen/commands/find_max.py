"""Search the highest rate that holds an SLO."""

import argparse

from loadgen.commands.flags import add_target
from loadgen.errors import InputError


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add_target(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Raises InputError: there is no search yet."""
    raise InputError(f"find-max is not there yet, asked for {args.url}")
