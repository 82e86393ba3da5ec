"""Replay a workload over HTTP in an open loop."""

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from loadgen.analysis.runs import Run, RunSettings
from loadgen.commands.flags import (
    add_arrivals,
    add_target,
    input_files,
    load_bodies,
    non_negative_int,
    positive_int,
    positive_number,
    sender_processes,
    share,
    target,
)
from loadgen.commands.output_files import complain, show
from loadgen.commands.outputs import add_gates, add_outputs, check_outputs, judge, write_outputs
from loadgen.commands.plans import add_dry_run, check_requests, plan_line, start
from loadgen.errors import INTERRUPTED, OK, exit_code
from loadgen.otlp import OtlpError, export_wanted
from loadgen.records import Record
from loadgen.reports.progress import Progress
from loadgen.reports.text import verbose_lines
from loadgen.sending.replay import Replay, SendPlan, SilentWatcher, Watcher, run_replay
from loadgen.sending.stop_signals import finishing
from loadgen.spans import send_spans
from loadgen.workload.arrivals import planned_times
from loadgen.workload.families import FAMILIES
from loadgen.workload.traces import source_file
from loadgen.workload.workload import read_workload

WORKLOAD_HELP = (
    "file of requests per second; or a CSV file of timestamps, such as one of Azure's traces "
    "(csv:FILE,column=NAME,unit=ms), or of counts (csv:FILE,count=NAME); or a family of synthetic workloads, such as "
    f"mmpp:seed=3,seconds=600,low=5,high=40 ({', '.join(FAMILIES)}); default: %(default)s"
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add_target(parser)
    add = parser.add_argument
    add("--workload", type=Path, default=Path("workload.txt"), metavar="FILE", help=WORKLOAD_HELP)
    add(
        "--scale",
        type=positive_number,
        default=1.0,
        metavar="FACTOR",
        help="factor applied to all rates; default: %(default)s",
    )
    add(
        "--from-s",
        type=non_negative_int,
        default=0,
        metavar="SECOND",
        help="second of the workload to start at; default: %(default)s",
    )
    add("--seconds", type=positive_int, metavar="N", help="seconds of the workload to replay; default: all")
    add(
        "--repeat",
        type=positive_int,
        default=1,
        metavar="N",
        help="number of times to replay the workload; default: %(default)s",
    )
    add_arrivals(parser)
    add_gates(parser)
    add_outputs(parser)
    add_dry_run(parser)
    add(
        "--trace",
        type=share,
        default=0.0,
        metavar="SHARE",
        help="share of the requests that ask to be traced, from 0 to 1; with 0 requests carry no traceparent; default:"
        " %(default)s",
    )
    add("--verbose", action="store_true", help="print the result of each request")
    add("--quiet", action="store_true", help="do not print progress")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Replay, report and return the exit code; an interrupted run reports what it has.

    Raises OSError, InputError or UnreachableError.
    """
    workload = read_workload(args.workload).part(args.from_s, args.seconds).scaled(args.scale).repeated(args.repeat)
    check_requests(sum(workload.counts), "--workload, --seconds, --scale and --repeat")
    to = replace(target(args), trace_share=args.trace)
    if args.trace and not export_wanted(os.environ):
        complain("--trace sends no spans of its own: OTEL_EXPORTER_OTLP_ENDPOINT names no collector")
    bodies = load_bodies(args)
    check_outputs(args, source_file(args.workload), *input_files(args))
    times_s = planned_times(workload, args.mode, args.seed, args.from_s)
    check_requests(times_s.size, "--mode poisson")
    if not start(to, plan_line(times_s, workload.duration_s, (workload.about,)), args.dry_run):
        return OK
    plan = SendPlan(times_s, bodies, sender_processes(args, max(workload.counts)))
    watcher = _watcher(args, float(workload.duration_s))
    with finishing() as interrupted:
        replayed = run_replay(to, plan, watcher, enough=interrupted)
        interrupted.note(replayed.interrupted)
        judged = judge(_run(args, replayed, float(workload.duration_s)), args.slo)
        written = write_outputs(args, judged)
        if args.trace and export_wanted(os.environ):
            _send_spans(replayed)
    stopped = INTERRUPTED if interrupted() else OK
    shown = watcher.shown if isinstance(watcher, _Verbose) else OK
    return exit_code([stopped, shown, written, judged.exit_code])


def _send_spans(replayed: Replay) -> None:
    try:
        count = send_spans(replayed.records, replayed.started_unix_s)
    except OtlpError as error:
        complain(f"no spans are sent: {error}")
    else:
        complain(f"{count} spans sent to the collector")


class _Verbose:
    """A watcher that prints each result and passes everything on to another watcher.

    clear_line: erases the live line of the other watcher, if it has one.
    """

    def __init__(self, inner: Watcher, clear_line: Callable[[], None]) -> None:
        self._inner, self._clear_line = inner, clear_line
        self.shown = OK
        self.every_s, self.report, self.end = inner.every_s, inner.report, inner.end

    def done(self, record: Record) -> None:
        """Print two lines for a successful request and one for any other."""
        self._inner.done(record)
        self._clear_line()
        self.shown = self.shown or show("\n".join(verbose_lines(record)), flush=False)


def _watcher(args: argparse.Namespace, duration_s: float) -> Watcher:
    if args.quiet or sys.stderr is None:
        return _Verbose(SilentWatcher(), lambda: None) if args.verbose else SilentWatcher()
    progress = Progress(sys.stderr, duration_s, args.slo_s)
    return _Verbose(progress, progress.clear) if args.verbose else progress


def _run(args: argparse.Namespace, replayed: Replay, duration_s: float) -> Run:
    settings = RunSettings(
        url=args.url,
        duration_s=duration_s,
        slo_s=args.slo_s,
        max_lag_ms=args.max_lag_ms,
        about={
            "workload": str(args.workload),
            "scale": args.scale,
            "protocol": args.protocol,
            "method": args.method,
        },
        plan={"from_s": args.from_s, "mode": args.mode, "seed": args.seed},
    )
    return Run(args.workload.name, settings, replayed.records, replayed.started_unix_s)
