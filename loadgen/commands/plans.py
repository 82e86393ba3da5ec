"""What a run is about to send: shown before the first request, and bounded before it takes memory."""

import argparse
from collections.abc import Sequence

import numpy as np

from loadgen.commands.flags import note_proxies
from loadgen.commands.output_files import complain, show
from loadgen.errors import InputError
from loadgen.sending.preflight import check_reachable
from loadgen.sending.transport import Target
from loadgen.workload.arrivals import Times
from loadgen.workload.families import MOST_PER_SECOND, MOST_REQUESTS, MOST_SECONDS


def add_dry_run(parser: argparse.ArgumentParser) -> None:
    """Add --dry-run."""
    parser.add_argument("--dry-run", action="store_true", help="print the plan and send nothing")


def start(to: Target, line: str, dry_run: bool) -> bool:
    """Print the plan; return whether it is to be carried out, which needs a server that can be reached.

    Before a run the plan is on standard error, because standard output has the report. Raises UnreachableError or
    InputError.
    """
    if dry_run:
        show(line)
        return False
    check_reachable(to)
    complain(line)
    note_proxies(to.url)
    return True


def plan_line(times_s: Times, seconds: float, about: Sequence[str] = ()) -> str:
    """Describe a plan by its requests, seconds and busiest second."""
    most = int(np.bincount(times_s.astype(np.int64)).max()) if times_s.size else 0
    facts = (
        f"plan: {times_s.size} request{'' if times_s.size == 1 else 's'} in {seconds:g} s, at most {most} in one second"
    )
    return "; ".join((facts, *filter(None, about)))


def check_requests(requests: float, how: str) -> None:
    """Raise InputError if a plan, before it is made, is too large or certain to be empty; how: the flags behind it."""
    if requests > MOST_REQUESTS:
        raise InputError(f"a run must have at most {MOST_REQUESTS} requests, got {requests:.12g} ({how})")
    if requests <= 0:
        raise InputError(f"a run must have at least one request, got none ({how})")


def check_rate(rate_rps: float, seconds: float, flags: str) -> None:
    """Raise InputError if a rate or a length is beyond what a workload file may have."""
    if rate_rps > MOST_PER_SECOND:
        raise InputError(f"{flags} must give at most {MOST_PER_SECOND} requests per second, got {rate_rps:.12g}")
    if seconds > MOST_SECONDS:
        raise InputError(f"{flags} must give at most {MOST_SECONDS} s, got {seconds:.12g}")
