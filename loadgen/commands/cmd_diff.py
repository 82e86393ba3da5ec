"""Compare two runs saved with --json and report which changes are significant."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from loadgen.analysis.columns import columns
from loadgen.analysis.run_diff import Change, DiffError, FigureDiff, RunDiff, compare
from loadgen.analysis.runs import Run, read_run
from loadgen.analysis.summary import summarise
from loadgen.commands.flags import non_negative_int, positive_number
from loadgen.errors import INVALID, OK, SLO_MISSED, InputError, exit_code
from loadgen.reports.terminal import console_for, plain_table
from loadgen.reports.text import duration

if TYPE_CHECKING:
    from rich.table import Table

STYLES = {Change.WORSE: "bold red", Change.BETTER: "green", Change.SAME: "none"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("before", type=Path, metavar="BEFORE", help="file that --json wrote for the first run")
    parser.add_argument("after", type=Path, metavar="AFTER", help="file that --json wrote for the second run")
    parser.add_argument(
        "--slo-s",
        type=positive_number,
        metavar="S",
        help="latency above which a response is late, in seconds; default: the value of BEFORE",
    )
    parser.add_argument(
        "--seed", type=non_negative_int, default=0, help="random seed of the resampling; default: %(default)s"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Compare and print; return 1 if AFTER is worse, 3 if a run is invalid. Raises OSError or InputError."""
    before, after = read_run(args.before), read_run(args.after)
    slo_s = args.slo_s or before.settings.slo_s
    rng = np.random.default_rng(args.seed)
    try:
        diff = compare(columns(before.records), columns(after.records), slo_s, rng)
    except DiffError as error:
        raise InputError(f"{args.before} and {args.after}: {error}") from error
    invalid = [f"{one.name}: {reason}" for one in (before, after) for reason in _invalid(one)]
    console = console_for(sys.stdout)
    for line in _introduction(before, after, diff):
        console.print(line, soft_wrap=True)
    console.print(_table(diff))
    for line in (*diff.left_out, *(f"INVALID: {reason}" for reason in invalid)):
        console.print(line, soft_wrap=True)
    console.print(f"Verdict: {'none, a run is invalid' if invalid else _verdict(diff)}", soft_wrap=True)
    worse = diff.verdict is Change.WORSE
    return exit_code([INVALID if invalid else OK, SLO_MISSED if worse else OK])


def _introduction(before: Run, after: Run, diff: RunDiff) -> tuple[str, ...]:
    method = (
        "same plan: the same blocks of time are resampled from both runs"
        if diff.paired
        else "different plans: blocks of time are resampled from each run separately"
    )
    return (
        f"before: {before.name}, {len(before.records)} requests in {before.settings.duration_s:g} s",
        f"after:  {after.name}, {len(after.records)} requests in {after.settings.duration_s:g} s",
        f"{method}; confidence {100 * diff.confidence:.1f} % for each interval, 95 % for all of them together",
    )


def _invalid(run: Run) -> tuple[str, ...]:
    return summarise(run.records, run.settings.slo_s, run.settings.max_lag_ms).invalid


def _table(diff: RunDiff) -> Table:
    table = plain_table("", "before", "after", "change")
    table.add_column("confidence interval")
    table.add_column("result")
    for row in diff.rows:
        interval = f"{_signed(row, row.low)} to {_signed(row, row.high)}"
        cells = (row.name, _value(row, row.before), _value(row, row.after), _change(row), interval)
        table.add_row(*cells, row.change.value, style=STYLES[row.change])
    return table


def _verdict(diff: RunDiff) -> str:
    changed = [f"{row.name} {_change(row)}" for row in diff.rows if row.change is diff.verdict]
    return f"{diff.verdict.value}: {', '.join(changed)}" if diff.verdict.is_change else diff.verdict.value


def _change(row: FigureDiff) -> str:
    return _signed(row, row.after - row.before)


def _value(row: FigureDiff, value: float) -> str:
    return duration(value) if row.is_latency else f"{100 * value:.2f} %"


def _signed(row: FigureDiff, value: float) -> str:
    if math.isinf(value):
        return "infinite"
    sign = "-" if value < 0 else "+"
    return sign + (duration(abs(value)) if row.is_latency else f"{100 * abs(value):.2f} points")
