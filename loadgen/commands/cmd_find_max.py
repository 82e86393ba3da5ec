"""Find the highest rate at which the server meets its SLOs."""

import argparse
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from loadgen.analysis.gates import EarlyVerdict, Gate
from loadgen.analysis.rate_search import Limits, RateSearch, SearchEnd, TrialOutcome
from loadgen.analysis.runs import Run, RunSettings
from loadgen.commands.flags import (
    add_arrivals,
    add_target,
    input_files,
    load_bodies,
    positive_int,
    positive_number,
    sender_processes,
    target,
)
from loadgen.commands.output_files import check_files, output_file, show, write_file
from loadgen.commands.outputs import Judged, add_gates, judge
from loadgen.commands.plans import add_dry_run, check_rate, check_requests, start
from loadgen.errors import INTERRUPTED, INVALID, OK, SLO_MISSED, InputError, exit_code
from loadgen.masking import masked
from loadgen.records import Record
from loadgen.reports.strict_json import strict_json
from loadgen.sending.protocols import Body
from loadgen.sending.replay import SendPlan, SilentWatcher, run_replay
from loadgen.sending.stop_signals import finishing
from loadgen.workload.arrivals import planned_times
from loadgen.workload.families import MOST_REQUESTS
from loadgen.workload.workload import Workload

# A percentile depends on the requests beyond it; with fewer than this many, a trial is weak evidence.
LEAST_BEYOND = 5
FROM_RPS, LEAST_RPS, MOST_RPS = 10.0, 1.0, 5000.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add_target(parser)
    add_arrivals(parser)
    add_gates(parser, required=True)
    add = parser.add_argument
    add(
        "--from-rps",
        type=positive_number,
        metavar="RATE",
        help=f"first rate to try, in requests/s; default: {FROM_RPS:g}, or --most-rps if that is lower",
    )
    add(
        "--least-rps",
        type=positive_number,
        metavar="RATE",
        help=f"lowest rate to try, in requests/s; default: {LEAST_RPS:g}, or --from-rps if that is lower",
    )
    add(
        "--most-rps",
        type=positive_number,
        metavar="RATE",
        help=f"highest rate to try, in requests/s; default: {MOST_RPS:g}, less for long trials",
    )
    add(
        "--seconds",
        type=positive_int,
        default=10,
        metavar="N",
        help="length of a trial, in seconds; default: %(default)s",
    )
    add(
        "--settle-s",
        type=positive_number,
        default=2.0,
        metavar="S",
        help="pause between two trials, in seconds; default: %(default)s",
    )
    add(
        "--tolerance",
        type=positive_number,
        default=0.05,
        metavar="SHARE",
        help="stop when a rate that misses is at most this share above one that meets the SLOs; default: %(default)s",
    )
    add(
        "--agree",
        type=positive_int,
        default=2,
        metavar="N",
        help="number of trials of a rate that must agree; default: %(default)s",
    )
    add(
        "--most-trials",
        type=positive_int,
        default=40,
        metavar="N",
        help="largest number of trials, over all rates; default: %(default)s",
    )
    add("--json", type=output_file, metavar="OUT", help="write every trial and the result to this file")
    add_dry_run(parser)
    parser.set_defaults(run=run)


class _TrialWatcher(SilentWatcher):
    """Ends a trial as soon as an SLO can no longer be met."""

    def __init__(self, gates: Sequence[Gate], planned: int, slo_s: float) -> None:
        self.early_verdict = EarlyVerdict(gates, planned, slo_s)

    def done(self, record: Record) -> None:
        """Count a request towards the SLOs."""
        self.early_verdict.done(record.slo_latency_s)

    def enough(self) -> bool:
        """Return whether the outcome is already certain."""
        return self.early_verdict.missed is not None


@dataclass(frozen=True, slots=True)
class _Trial:
    """One trial at a steady rate; reason: the figures, or why the outcome was known without them."""

    outcome: TrialOutcome
    reason: str
    interrupted: bool


def run(args: argparse.Namespace) -> int:
    """Search and print; return 0 with a result, 1 if no rate meets the SLOs, 3 if the generator was the limit.

    Raises OSError, InputError or UnreachableError.
    """
    limits = _limits(args)
    check_files({"--json": args.json}, input_files(args))
    to = target(args)
    bodies = load_bodies(args)
    plan = f"plan: trials of {args.seconds} s from {limits.first_rps:g}/s on, within {limits.least_rps:g}/s and "
    if not start(to, f"{plan}{limits.most_rps:g}/s, at most {limits.most_trials} of them", args.dry_run):
        return OK
    search, trials = RateSearch(limits), list[dict[str, object]]()
    interrupted = _searched(args, bodies, search, trials)
    with finishing() as signalled:
        signalled.note(interrupted)
        written = _report(args, search, trials)
        return exit_code([INTERRUPTED if signalled() else OK, written, _exit_code(search)])


def _searched(
    args: argparse.Namespace, bodies: Sequence[Body], search: RateSearch, trials: list[dict[str, object]]
) -> bool:
    """Run trials until the search ends, and keep each; return whether a signal ended it, within a trial or a pause."""
    try:
        while (rate_rps := search.next_rps()) is not None:
            time.sleep(args.settle_s if trials else 0)
            trial = _try(args, bodies, rate_rps, seed=args.seed + len(trials))
            if trial.interrupted:
                return True
            search.record(trial.outcome)
            trials.append({"rate_rps": rate_rps, "outcome": trial.outcome.value, "seen": trial.reason})
            show(f"trial {len(trials):2}  {rate_rps:8.2f}/s  {trial.outcome.value:8}{trial.reason}")
    except KeyboardInterrupt:
        return True
    return False


def _report(args: argparse.Namespace, search: RateSearch, trials: Sequence[dict[str, object]]) -> int:
    """Write the file and print the result; return 0, or 2 if one of them failed."""
    result = {"held_rps": search.held_rps or None, "missed_rps": _finite(search.missed_rps)}
    document = {"url": masked(args.url), "slo": [gate.text for gate in args.slo], **result, "trials": trials}
    written = write_file("--json", args.json, lambda: strict_json(document)) if args.json else OK
    return exit_code([written, show("\n".join(search.lines()))])


def _limits(args: argparse.Namespace) -> Limits:
    """Return the range of the search; raise InputError if it is none, or if a trial has too many requests or none."""
    most_rps = args.most_rps or min(MOST_RPS, MOST_REQUESTS / args.seconds)
    first_rps = args.from_rps or min(max(FROM_RPS, args.least_rps or 0.0), most_rps)
    least_rps = args.least_rps or min(LEAST_RPS, first_rps)
    if not least_rps <= first_rps <= most_rps:
        raise InputError(
            "--least-rps, --from-rps and --most-rps must be in ascending order, "
            f"got {least_rps:g}, {first_rps:g} and {most_rps:g}"
        )
    check_rate(most_rps, args.seconds, "--most-rps and --seconds")
    check_requests(most_rps * args.seconds, "--most-rps and --seconds")
    if round(least_rps * args.seconds, 6) < 1:
        raise InputError(
            "a trial must have at least one request, "
            f"got {least_rps:g}/s (--least-rps) for {args.seconds} s (--seconds)"
        )
    return Limits(first_rps, least_rps, most_rps, 1 + args.tolerance, args.agree, args.most_trials)


def _finite(value: float) -> float | None:
    return None if math.isinf(value) else value


def _exit_code(search: RateSearch) -> int:
    if search.held_rps:
        return OK
    return INVALID if search.end is SearchEnd.GENERATOR else SLO_MISSED


def _try(args: argparse.Namespace, bodies: Sequence[Body], rate_rps: float, seed: int) -> _Trial:
    """Send at a steady rate and judge the run."""
    workload = Workload((1,) * args.seconds).scaled(rate_rps)
    times_s = planned_times(workload, args.mode, seed)
    if not times_s.size:  # as a Poisson draw may be; a trial without requests would show nothing
        times_s = planned_times(workload, "count", seed)
    watcher = _TrialWatcher(args.slo, times_s.size, args.slo_s)
    plan = SendPlan(times_s, bodies, sender_processes(args, max(workload.counts)))
    replayed = run_replay(target(args), plan, watcher, watcher.enough)
    if missed := watcher.early_verdict.missed:
        return _Trial(TrialOutcome.MISSED, f"{missed.text} was missed before the end", replayed.interrupted)
    settings = RunSettings(args.url, float(workload.duration_s), args.slo_s, args.max_lag_ms)
    judged = judge(Run("trial", settings, replayed.records, replayed.started_unix_s), args.slo)
    if judged.summary.invalid:
        return _Trial(TrialOutcome.INVALID, "; ".join(judged.summary.invalid), replayed.interrupted)
    figures = ", ".join(verdict.short for verdict in judged.verdicts)
    outcome = TrialOutcome.HELD if all(verdict.held for verdict in judged.verdicts) else TrialOutcome.MISSED
    return _Trial(outcome, figures + _caution(judged), replayed.interrupted)


def _caution(judged: Judged) -> str:
    """Return a warning if a percentile depends on too few requests."""
    shares = [verdict.gate.share for verdict in judged.verdicts if verdict.gate.share is not None]
    beyond = min(((1 - share) * judged.summary.planned for share in shares), default=LEAST_BEYOND)
    if beyond >= LEAST_BEYOND:
        return ""
    return f" (weak evidence: only {judged.summary.planned} requests, increase --seconds)"
