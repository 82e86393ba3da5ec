"""The flag `--part`, which selects the seconds of a trace that a command uses."""

import argparse
import re
from collections.abc import Callable
from pathlib import Path

from autoscaler_tuning.commands.flags import Flags
from loadgen.workload.workload import Workload, WorkloadError, read_workload

PartOfTrace = Callable[[int], tuple[int, int]]

NAMED: dict[str, PartOfTrace] = {
    "all": lambda seconds: (0, seconds),
    "first-two-thirds": lambda seconds: (0, seconds * 2 // 3),
    "last-third": lambda seconds: (seconds * 2 // 3, seconds),
}


def add_trace(parser: argparse.ArgumentParser, flags: Flags, default_part: str) -> None:
    """Add --trace and --part."""
    trace_about = "file with the requests of each second, or a family such as mmpp:seed=3"
    parser.add_argument("--trace", nargs="+", type=Path, required=True, metavar="FILE", help=trace_about)
    part_about = "part of the trace to use: all, first-two-thirds, last-third, or FROM:TO in seconds"
    flags.add("--part", part, default_part, part_about)


def part(text: str) -> PartOfTrace:
    """Parse `all`, `first-two-thirds`, `last-third`, or FROM:TO in seconds."""
    if text in NAMED:
        return NAMED[text]
    match = re.fullmatch(r"(\d+):(\d+)", text)
    if not match or int(match[1]) >= int(match[2]):
        raise argparse.ArgumentTypeError(f"must be {', '.join(NAMED)} or FROM:TO in seconds, got {text!r}")
    bounds = int(match[1]), int(match[2])
    return lambda _: bounds


def traces_of(paths: list[Path], wanted: PartOfTrace) -> list[tuple[str, Workload]]:
    """Return (name, this part of the trace) for each file. Raises OSError or WorkloadError."""
    found = []
    for path in paths:
        trace = read_workload(path)
        found.append((path.name, part_of(trace, path, *wanted(trace.duration_s))))
    return found


def part_of(trace: Workload, path: Path, from_s: int, end_s: int) -> Workload:
    """Return the seconds from from_s to end_s of a trace. Raises WorkloadError if there are none."""
    if from_s >= end_s:
        raise WorkloadError(f"{path}: the trace is too short to take a part of it, got {trace.duration_s} s")
    return trace.part(from_s, end_s - from_s)
