"""Find the highest rate at which the server meets its SLOs."""

import argparse
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loadgen.analysis.gates import EarlyVerdict, Gate
from loadgen.analysis.rate_search import Limits, RateSearch, SearchEnd, TrialOutcome
from loadgen.analysis.runs import Run, RunSettings
from loadgen.commands.flags import (
    add_arrivals,
    add_target,
    load_bodies,
    positive_int,
    positive_number,
    sender_processes,
    target,
)
from loadgen.commands.outputs import Judged, add_gates, check_file, judge
from loadgen.errors import INTERRUPTED, INVALID, OK, SLO_MISSED, InputError
from loadgen.records import Record
from loadgen.sending.preflight import check_reachable
from loadgen.sending.protocols import Body
from loadgen.sending.replay import SendPlan, SilentWatcher, run_replay
from loadgen.workload.arrivals import planned_times
from loadgen.workload.workload import Workload

# A percentile depends on the requests beyond it; with fewer than this many, a trial is weak evidence.
LEAST_BEYOND = 5


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add_target(parser)
    add_arrivals(parser)
    add_gates(parser, required=True)
    add = parser.add_argument
    add(
        "--from-rps",
        type=positive_number,
        default=10.0,
        metavar="RATE",
        help="first rate to try, in requests/s; default: %(default)s",
    )
    add(
        "--least-rps",
        type=positive_number,
        default=1.0,
        metavar="RATE",
        help="lowest rate to try, in requests/s; default: %(default)s",
    )
    add(
        "--most-rps",
        type=positive_number,
        default=5000.0,
        metavar="RATE",
        help="highest rate to try, in requests/s; default: %(default)s",
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
    add("--json", type=Path, metavar="OUT", help="write every trial and the result to this file")
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
    if not args.least_rps <= args.from_rps <= args.most_rps:
        raise InputError(
            "--least-rps, --from-rps and --most-rps must be in ascending order, "
            f"got {args.least_rps:g}, {args.from_rps:g} and {args.most_rps:g}"
        )
    check_file("--json", args.json)
    bodies = load_bodies(args)
    check_reachable(target(args))
    search = RateSearch(_limits(args))
    trials: list[dict[str, object]] = []
    interrupted = False
    while not interrupted and (rate_rps := search.next_rps()) is not None:
        time.sleep(args.settle_s if trials else 0)
        trial = _try(args, bodies, rate_rps, seed=args.seed + len(trials))
        interrupted = trial.interrupted
        if not interrupted:
            search.record(trial.outcome)
            trials.append({"rate_rps": rate_rps, "outcome": trial.outcome.value, "seen": trial.reason})
            print(f"trial {len(trials):2}  {rate_rps:8.2f}/s  {trial.outcome.value:8}{trial.reason}", flush=True)
    print("\n".join(search.lines()))
    if args.json:
        result = {"held_rps": search.held_rps or None, "missed_rps": _finite(search.missed_rps)}
        slos = [gate.text for gate in args.slo]
        args.json.write_text(json.dumps({"url": args.url, "slo": slos, **result, "trials": trials}), encoding="utf-8")
    return INTERRUPTED if interrupted else _exit_code(search)


def _limits(args: argparse.Namespace) -> Limits:
    return Limits(
        first_rps=args.from_rps,
        least_rps=args.least_rps,
        most_rps=args.most_rps,
        tolerance_ratio=1 + args.tolerance,
        agree=args.agree,
        most_trials=args.most_trials,
    )


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
