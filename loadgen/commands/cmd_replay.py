"""Replay a workload over HTTP, open loop."""

import argparse
import sys
from pathlib import Path

from loadgen.analysis.runs import Asked, Run
from loadgen.commands.flags import add_arrivals, add_target, count, load_bodies, positive, senders, target, whole
from loadgen.commands.outputs import add_gates, add_outputs, check_outputs, judge, tell
from loadgen.errors import INTERRUPTED, OK, exit_code
from loadgen.records import Record
from loadgen.reports.progress import Progress
from loadgen.reports.text import verbose_lines
from loadgen.sending.preflight import check_reachable
from loadgen.sending.replay import Replay, SendPlan, Silent, Watcher, run_replay
from loadgen.workload.arrivals import planned_times
from loadgen.workload.families import FAMILIES
from loadgen.workload.workload import read_workload

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
    add_gates(parser)
    add_outputs(parser)
    add("--verbose", action="store_true", help="a line for each answer")
    add("--quiet", action="store_true", help="no progress")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Returns the exit code; an interrupted run writes what there is. Raises InputError or UnreachableError."""
    workload = read_workload(args.workload).part(args.from_s, args.seconds).scaled(args.scale).repeated(args.repeat)
    bodies = load_bodies(args)
    check_outputs(args)
    times_s = planned_times(workload, args.mode, args.seed, args.from_s)
    check_reachable(target(args))
    plan = SendPlan(times_s, bodies, senders(args, max(workload.counts)))
    replayed = run_replay(target(args), plan, _watcher(args, float(workload.duration_s)))
    judged = judge(_run(args, replayed, float(workload.duration_s)), args.slo)
    tell(args, judged)
    return exit_code([INTERRUPTED if replayed.interrupted else OK, judged.exit_code])


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


def _run(args: argparse.Namespace, replayed: Replay, duration_s: float) -> Run:
    about = {"workload": str(args.workload), "scale": args.scale, "protocol": args.protocol, "method": args.method}
    plan = {"from_s": args.from_s, "mode": args.mode, "seed": args.seed}
    asked = Asked(args.url, duration_s, args.slo_s, args.max_lag_ms, about, plan)
    return Run(args.workload.name, asked, replayed.records, replayed.started_unix_s)
