"""Replay a workload over HTTP, open loop."""

import argparse
import json
import sys
from pathlib import Path

from loadgen.arrivals import planned_times
from loadgen.commands.flags import add_arrivals, add_target, count, load_bodies, positive, senders, target, whole
from loadgen.errors import INTERRUPTED, INVALID, OK, InputError, exit_code
from loadgen.families import FAMILIES
from loadgen.progress import Progress
from loadgen.reach import check_reachable
from loadgen.replay import Plan, Replay, Silent, Watcher, run_replay
from loadgen.report import document, text, verbose_lines
from loadgen.results import Record
from loadgen.summary import Summary, summarise
from loadgen.workload import Workload, read_workload

WORKLOAD_HELP = (
    "requests per second; or a CSV of timestamps, of Azure's traces among them (csv:FILE,column=NAME,unit=ms); or a "
    f"family, such as mmpp:seed=3,seconds=600,low=5,high=40 ({', '.join(FAMILIES)})"
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add_target(parser)
    add = parser.add_argument
    add("--workload", type=Path, default=Path("workload.txt"), metavar="FILE", help=WORKLOAD_HELP)
    add("--scale", type=positive, default=1.0, metavar="FACTOR", help="factor on the rates")
    add("--from-s", type=whole, default=0, metavar="SECOND", help="begin at this second of the workload")
    add("--seconds", type=count, metavar="N", help="replay only so many")
    add("--repeat", type=count, default=1, metavar="N", help="replay it so often")
    add_arrivals(parser)
    add("--json", type=Path, metavar="OUT", help="write every request and the summary here")
    add("--verbose", action="store_true", help="a line for each answer")
    add("--quiet", action="store_true", help="no progress")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Returns the exit code; an interrupted run writes what there is. Raises InputError or UnreachableError."""
    workload = read_workload(args.workload).part(args.from_s, args.seconds).scaled(args.scale).repeated(args.repeat)
    bodies = load_bodies(args)
    if args.json and not args.json.parent.is_dir():
        raise InputError(f"--json must lie in a folder that exists, {args.json.parent} is none")
    times_s = planned_times(workload, args.mode, args.seed, args.from_s)
    check_reachable(target(args))
    plan = Plan(times_s, bodies, senders(args, max(workload.counts)))
    replayed = run_replay(target(args), plan, _watcher(args, float(workload.duration_s)))
    summary = summarise(replayed.records, args.slo_s, args.max_lag_ms)
    _write(args, replayed, summary, workload)
    return exit_code([INTERRUPTED if replayed.interrupted else OK, INVALID if summary.invalid else OK])


class _Verbose:
    """Prints each answer, and leaves the rest to another watcher."""

    def __init__(self, inner: Watcher) -> None:
        self._inner = inner
        self.every_s, self.say, self.end = inner.every_s, inner.say, inner.end

    def done(self, record: Record) -> None:
        """Two lines for a good one."""
        self._inner.done(record)
        print("\n".join(verbose_lines(record)))


def _watcher(args: argparse.Namespace, duration_s: float) -> Watcher:
    watcher: Watcher = Silent() if args.quiet else Progress(sys.stderr, duration_s)
    return _Verbose(watcher) if args.verbose else watcher


def _write(args: argparse.Namespace, replayed: Replay, summary: Summary, workload: Workload) -> None:
    print(text(summary, args.slo_s))
    if args.json:
        about = {"url": args.url, "workload": str(args.workload), "slo_s": args.slo_s, "scale": args.scale}
        plan = {
            "requests": summary.planned,
            "duration_s": workload.duration_s,
            "from_s": args.from_s,
            "mode": args.mode,
            "seed": args.seed,
        }
        args.json.write_text(json.dumps(document(replayed, summary, about, plan)), encoding="utf-8")
