"""Run a scenario that looks for one weakness, and say whether it was found."""

import argparse

from loadgen.commands.flags import add_target
from loadgen.errors import InputError


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("name", metavar="NAME", help="the scenario")
    add_target(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Raises InputError: there is no scenario yet."""
    raise InputError(f"no such scenario: {args.name!r}")
