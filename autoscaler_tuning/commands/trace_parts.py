"""`--part` of a trace: the seconds that a command looks at."""

import argparse
import re
from collections.abc import Callable
from pathlib import Path

from loadgen.workload.workload import Workload, WorkloadError, read_workload

PartOfTrace = Callable[[int], tuple[int, int]]

NAMED: dict[str, PartOfTrace] = {
    "all": lambda seconds: (0, seconds),
    "first-two-thirds": lambda seconds: (0, seconds * 2 // 3),
    "last-third": lambda seconds: (seconds * 2 // 3, seconds),
}


def part(text: str) -> PartOfTrace:
    """`all`, `first-two-thirds`, `last-third`, or FROM:TO in seconds."""
    if text in NAMED:
        return NAMED[text]
    match = re.fullmatch(r"(\d+):(\d+)", text)
    if not match or int(match[1]) >= int(match[2]):
        raise argparse.ArgumentTypeError(f"must be {', '.join(NAMED)} or FROM:TO in seconds, was {text!r}")
    ends = int(match[1]), int(match[2])
    return lambda _: ends


def traces_of(paths: list[Path], wanted: PartOfTrace) -> list[tuple[str, Workload]]:
    """Name and this part of each. Raises OSError or WorkloadError."""
    found = []
    for path in paths:
        whole = read_workload(path)
        found.append((path.name, part_of(whole, path, *wanted(whole.duration_s))))
    return found


def part_of(whole: Workload, path: Path, from_s: int, end_s: int) -> Workload:
    """These seconds of a trace. Raises WorkloadError."""
    if from_s >= end_s:
        raise WorkloadError(f"{path}: {whole.duration_s} s are too few to take a part of")
    return whole.part(from_s, end_s - from_s)
