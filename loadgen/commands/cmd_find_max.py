"""Search the highest rate that holds an SLO."""

import argparse
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path

from loadgen.analysis.gates import EarlyVerdict, Gate
from loadgen.analysis.rate_search import End, Limits, RateSearch, TrialOutcome
from loadgen.analysis.runs import Asked, Run
from loadgen.commands.flags import add_arrivals, add_target, count, load_bodies, positive, senders, target
from loadgen.commands.outputs import Judged, add_gates, check_file, judge
from loadgen.errors import INTERRUPTED, INVALID, OK, SLO_MISSED, InputError
from loadgen.records import Record
from loadgen.sending.preflight import check_reachable
from loadgen.sending.protocols import Body
from loadgen.sending.replay import SendPlan, Silent, run_replay
from loadgen.workload.arrivals import planned_times
from loadgen.workload.workload import Workload

# A percentile rests on the requests beyond it: fewer than so many, and a trial says little.
LEAST_BEYOND = 5


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add_target(parser)
    add_arrivals(parser)
    add_gates(parser, required=True)
    add = parser.add_argument
    add("--from-rps", type=positive, default=10.0, metavar="RATE", help="the first rate to try")
    add("--least-rps", type=positive, default=1.0, metavar="RATE", help="give up below this rate")
    add("--most-rps", type=positive, default=5000.0, metavar="RATE", help="never send faster than this")
    add("--seconds", type=count, default=10, metavar="N", help="of a trial")
    add("--settle-s", type=positive, default=2.0, metavar="S", help="pause between two trials")
    add("--tolerance", type=positive, default=0.05, metavar="SHARE", help="how narrow the answer has to be")
    add("--agree", type=count, default=2, metavar="N", help="trials of a rate that must end alike to decide it")
    add("--most-trials", type=count, default=40, metavar="N", help="of all rates together")
    add("--json", type=Path, metavar="OUT", help="write every trial and the answer here")
    parser.set_defaults(run=run)


class Watch(Silent):
    """Ends a trial that can no longer hold the SLO."""

    def __init__(self, gates: Sequence[Gate], planned: int, slo_s: float) -> None:
        self.hope = EarlyVerdict(gates, planned, slo_s)

    def done(self, record: Record) -> None:
        """Good or bad."""
        self.hope.done(record.useful_s)

    def enough(self) -> bool:
        """Whether the rest would change nothing."""
        return self.hope.lost is not None


def run(args: argparse.Namespace) -> int:
    """0 with an answer, 1 if no rate holds, 3 if the generator was the limit at once. Raises InputError and so on."""
    if not args.least_rps <= args.from_rps <= args.most_rps:
        raise InputError(
            f"--least-rps, --from-rps, --most-rps must ascend, were {args.least_rps:g}, {args.from_rps:g}, "
            f"{args.most_rps:g}"
        )
    check_file("--json", args.json)
    bodies = load_bodies(args)
    check_reachable(target(args))
    limits = (args.from_rps, args.least_rps, args.most_rps, 1 + args.tolerance, args.agree, args.most_trials)
    search = RateSearch(Limits(*limits))
    trials: list[dict[str, object]] = []
    interrupted = False
    while not interrupted and (rate_rps := search.next_rps()) is not None:
        time.sleep(args.settle_s if trials else 0)
        outcome, words, interrupted = _trial(args, bodies, rate_rps, seed=args.seed + len(trials))
        if not interrupted:
            search.tell(outcome)
            trials.append({"rate_rps": rate_rps, "outcome": outcome.value, "seen": words})
            print(f"trial {len(trials):2}  {rate_rps:8.2f}/s  {outcome.value:8}{words}", flush=True)
    print("\n".join(search.lines()))
    if args.json:
        answer = {"held_rps": search.held_rps or None, "missed_rps": _finite(search.missed_rps)}
        slos = [gate.text for gate in args.slo]
        args.json.write_text(json.dumps({"url": args.url, "slo": slos, **answer, "trials": trials}), encoding="utf-8")
    return INTERRUPTED if interrupted else _code(search)


def _finite(value: float) -> float | None:
    return None if math.isinf(value) else value


def _code(search: RateSearch) -> int:
    if search.held_rps:
        return OK
    return INVALID if search.end is End.GENERATOR else SLO_MISSED


def _trial(
    args: argparse.Namespace, bodies: Sequence[Body], rate_rps: float, seed: int
) -> tuple[TrialOutcome, str, bool]:
    """One run at a steady rate: its outcome, why, and whether a signal ended it."""
    workload = Workload((1,) * args.seconds).scaled(rate_rps)
    times_s = planned_times(workload, args.mode, seed)
    watch = Watch(args.slo, times_s.size, args.slo_s)
    plan = SendPlan(times_s, bodies, senders(args, max(workload.counts)))
    replayed = run_replay(target(args), plan, watch, watch.enough)
    if watch.hope.lost:
        return TrialOutcome.MISSED, f"{watch.hope.lost.text} was lost before the end", replayed.interrupted
    asked = Asked(args.url, float(workload.duration_s), args.slo_s, args.max_lag_ms)
    judged = judge(Run("trial", asked, replayed.records, replayed.started_unix_s), args.slo)
    return *_outcome(judged), replayed.interrupted


def _outcome(judged: Judged) -> tuple[TrialOutcome, str]:
    seen = ", ".join(verdict.short for verdict in judged.verdicts)
    if judged.summary.invalid:
        return TrialOutcome.INVALID, "; ".join(judged.summary.invalid)
    held = all(verdict.held for verdict in judged.verdicts)
    return (TrialOutcome.HELD if held else TrialOutcome.MISSED), seen + _thin(judged)


def _thin(judged: Judged) -> str:
    """A word of caution where a percentile rests on a handful of requests."""
    shares = [verdict.gate.share for verdict in judged.verdicts if verdict.gate.share is not None]
    beyond = min(((1 - share) * judged.summary.planned for share in shares), default=LEAST_BEYOND)
    return f" (thin: {judged.summary.planned} requests, --seconds would help)" if beyond < LEAST_BEYOND else ""
