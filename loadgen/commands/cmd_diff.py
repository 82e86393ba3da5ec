"""Compare two runs that were kept with --json: what changed, and how surely."""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from loadgen.analysis.columns import columns
from loadgen.analysis.run_diff import Change, DiffError, FigureDiff, RunDiff, compare
from loadgen.analysis.runs import Run, read_run
from loadgen.analysis.summary import summarise
from loadgen.commands.flags import positive, whole
from loadgen.errors import INVALID, OK, SLO_MISSED, InputError, exit_code
from loadgen.reports.text import duration


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("before", type=Path, metavar="BEFORE", help="what --json wrote")
    parser.add_argument("after", type=Path, metavar="AFTER", help="the same of the other run")
    parser.add_argument("--slo-s", type=positive, metavar="S", help="late is later than this, if not as in BEFORE")
    parser.add_argument("--seed", type=whole, default=0, help="of the resampling")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Returns 1 if AFTER is worse, 3 if a run does not count. Raises OSError or InputError."""
    before, after = read_run(args.before), read_run(args.after)
    slo_s = args.slo_s or before.asked.slo_s
    rng = np.random.default_rng(args.seed)
    try:
        found = compare(columns(before.records), columns(after.records), slo_s, rng)
    except DiffError as error:
        raise InputError(f"{args.before} and {args.after}: {error}") from error
    invalid = [f"{side.name}: {reason}" for side in (before, after) for reason in _invalid(side)]
    print("\n".join(lines(before, after, found, invalid)))
    worse = found.verdict is Change.WORSE
    return exit_code([INVALID if invalid else OK, SLO_MISSED if worse else OK])


def lines(before: Run, after: Run, found: RunDiff, invalid: Sequence[str]) -> list[str]:
    """A table, and the verdict in the last line."""
    how = (
        "same plan: the same parts of both runs are drawn together"
        if found.paired
        else "different plans: parts of each run are drawn by themselves"
    )
    changed = [f"{row.name} {_apart(row)}" for row in found.rows if row.change is found.verdict]
    words = f"{found.verdict.value}: {', '.join(changed)}" if found.verdict.is_change else found.verdict.value
    return [
        f"before: {before.name}, {len(before.records)} requests in {before.asked.duration_s:g} s",
        f"after:  {after.name}, {len(after.records)} requests in {after.asked.duration_s:g} s",
        f"{how}; each interval holds with {100 * found.confidence:.1f} %, all of them together with 95 %",
        f"{'':8}{'before':>12}{'after':>12}{'change':>16}   {'interval of the change':34}",
        *map(_line, found.rows),
        *(f"{reason}" for reason in found.left_out),
        *(f"INVALID: {reason}" for reason in invalid),
        f"Verdict: {'none, a run does not count' if invalid else words}",
    ]


def _invalid(side: Run) -> tuple[str, ...]:
    return summarise(side.records, side.asked.slo_s, side.asked.max_lag_ms).invalid


def _line(row: FigureDiff) -> str:
    interval = f"{_signed(row, row.low)} to {_signed(row, row.high)}"
    cells = f"{_value(row, row.before):>12}{_value(row, row.after):>12}{_apart(row):>16}"
    return f"{row.name:8}{cells}   {interval:33} {row.change.value}"


def _apart(row: FigureDiff) -> str:
    return _signed(row, row.after - row.before)


def _value(row: FigureDiff, value: float) -> str:
    return duration(value) if row.is_latency else f"{100 * value:.2f} %"


def _signed(row: FigureDiff, value: float) -> str:
    if math.isinf(value):
        return "no end"
    sign = "-" if value < 0 else "+"
    return sign + (duration(abs(value)) if row.is_latency else f"{100 * abs(value):.2f} points")
