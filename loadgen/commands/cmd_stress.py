"""Run a scenario that looks for one weakness, and say whether it was found."""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from loadgen.analysis.findings import LATE_RATIO, Seen, Span
from loadgen.analysis.gates import EarlyVerdict, parse_gate
from loadgen.analysis.runs import Asked, Run
from loadgen.analysis.stress_scenarios import SCENARIOS, SLOW_SEND_S, ActPlan, Scenario, plan_acts
from loadgen.commands.flags import add_target, count, load_bodies, positive, target, whole
from loadgen.commands.outputs import add_outputs, check_outputs, judge, tell
from loadgen.errors import INTERRUPTED, InputError
from loadgen.records import Failure, Record
from loadgen.reports.progress import Progress
from loadgen.sending.preflight import check_reachable
from loadgen.sending.protocols import Body
from loadgen.sending.replay import Replay, SendPlan, Silent, Watcher, run_together
from loadgen.workload.arrivals import Times


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    about = (f"  {name:14}{one.about}\n{'':16}looks for {one.looks_for}" for name, one in SCENARIOS.items())
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "\n".join(("scenarios:", *about, "", parser.epilog or ""))
    parser.add_argument("name", metavar="NAME", choices=tuple(SCENARIOS), help=f"one of {', '.join(SCENARIOS)}")
    add_target(parser)
    add = parser.add_argument
    add("--rate", type=positive, default=10.0, metavar="RATE", help="what counts as steady traffic, requests a second")
    add("--stretch", type=positive, default=1.0, metavar="FACTOR", help="factor on the seconds of all phases")
    add("--most-requests", type=count, default=100_000, metavar="N", help="refuse to send more")
    add("--slo-s", type=positive, default=0.5, metavar="S", help="an answer later than this is late")
    add("--max-lag-ms", type=positive, default=5.0, metavar="MS", help="bound on the p99 of the send lag")
    add("--seed", type=whole, default=0, help="of the arrival times")
    add("--quiet", action="store_true", help="no progress")
    add_outputs(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0; 1 if the weakness was found; 3 for a run that does not count. Raises InputError or UnreachableError."""
    scenario = SCENARIOS[args.name]
    acts = plan_acts(scenario, args.rate, args.stretch, args.seed)
    requests = sum(act.times_s.size + act.slow_times_s.size for act in acts)
    if requests > args.most_requests:
        raise InputError(
            f"{args.name} at {args.rate:g}/s has {requests} requests, --most-requests allows {args.most_requests}"
        )
    check_outputs(args)
    bodies = load_bodies(args)
    check_reachable(target(args))
    print(f"{args.name}: {scenario.about}; it looks for {scenario.looks_for}")
    print(f"at most {requests} requests in {sum(act.spans[-1].end_s for act in acts):g} s", flush=True)
    performed = _perform(args, acts, bodies)
    findings = () if performed.interrupted else tuple(check(performed.seen) for check in scenario.checks)
    judged = replace(judge(_as_run(args, scenario, performed), ()), findings=findings)
    tell(args, judged)
    if performed.interrupted:
        return INTERRUPTED
    held = sum(finding.held for finding in findings)
    passed = "passed" if held == len(findings) else "FAILED"
    words = "does not count" if judged.summary.invalid else passed
    print(f"Verdict: {args.name} {words}, {held} of {len(findings)} checks held")
    return judged.exit_code


@dataclass(frozen=True, slots=True)
class Performed:
    """All acts on one time line."""

    seen: Seen
    started_unix_s: float
    interrupted: bool


class Breaking:
    """A watcher that ends an act once one of its phases is late beyond hope."""

    def __init__(self, inner: Watcher, act: ActPlan, slo_s: float) -> None:
        self._inner = inner
        self.every_s, self.say, self.end = inner.every_s, inner.say, inner.end
        self._ends_s = np.array([span.end_s for span in act.spans])
        gate = parse_gate(f"late<={LATE_RATIO}")
        planned = np.bincount(self._phases(act.times_s), minlength=len(act.spans)).tolist()
        self._hopes = [EarlyVerdict([gate], count, slo_s) for count in planned]

    def done(self, record: Record) -> None:
        """Counts against the phase that it was due in."""
        self._inner.done(record)
        self._hopes[int(self._phases(np.array([record.intended_s]))[0])].done(record.useful_s)

    def enough(self) -> bool:
        """Whether a phase is lost."""
        return any(hope.lost for hope in self._hopes)

    def _phases(self, times_s: Times) -> NDArray[np.intp]:
        return np.searchsorted(self._ends_s, times_s, side="right")


def _perform(args: argparse.Namespace, acts: Sequence[ActPlan], bodies: Sequence[Body]) -> Performed:
    records: list[Record] = []
    spans: list[Span] = []
    slow: list[Record] = []
    began_unix_s, interrupted = 0.0, False
    for act in acts:
        watcher: Watcher = Silent() if args.quiet else Progress(sys.stderr, act.spans[-1].end_s)
        breaking = Breaking(watcher, act, args.slo_s) if act.until_broken else None
        replays = _play(args, act, bodies, breaking or watcher, breaking.enough if breaking else None)
        began_unix_s = began_unix_s or replays[0].started_unix_s
        offset_s = replays[0].started_unix_s - began_unix_s
        kept = _carried_out(replays[0], breaking is not None and breaking.enough())
        records += [_later(record, offset_s) for record in kept]
        reached_s = max((record.intended_s for record in kept), default=0.0)
        spans += [_moved(span, offset_s) for span in act.spans if span.start_s <= reached_s or breaking is None]
        slow += [record for replay in replays[1:] for record in replay.records]
        interrupted = replays[0].interrupted
        if interrupted:
            break
    return Performed(Seen(tuple(records), tuple(spans), args.slo_s, tuple(slow)), began_unix_s, interrupted)


def _play(
    args: argparse.Namespace,
    act: ActPlan,
    bodies: Sequence[Body],
    watcher: Watcher,
    enough: Callable[[], bool] | None,
) -> tuple[Replay, ...]:
    to = target(args)
    parts = [(to, SendPlan(act.times_s, bodies))]
    if act.slow_times_s.size:
        parts.append((replace(to, slow_send_s=SLOW_SEND_S), SendPlan(act.slow_times_s, bodies)))
    return run_together(parts, watcher, enough)


def _carried_out(replayed: Replay, cut: bool) -> list[Record]:
    """Of an act that ended itself, what it never came to and what it broke off were not failures."""
    if not cut:
        return list(replayed.records)
    return [
        record for record in replayed.records if record.sent_s is not None and record.failure is not Failure.INTERRUPTED
    ]


def _later(record: Record, by_s: float) -> Record:
    moved = replace(record)
    for name in ("intended_s", "sent_s", "first_byte_s", "done_s", "ended_s"):
        if (time_s := getattr(record, name)) is not None:
            setattr(moved, name, time_s + by_s)
    return moved


def _moved(span: Span, by_s: float) -> Span:
    return replace(span, start_s=span.start_s + by_s, end_s=span.end_s + by_s)


def _as_run(args: argparse.Namespace, scenario: Scenario, performed: Performed) -> Run:
    max_lag_ms = max(args.max_lag_ms, scenario.max_lag_ms or 0.0)
    duration_s = max((span.end_s for span in performed.seen.spans), default=0.0)
    about = {"scenario": args.name, "rate": args.rate, "stretch": args.stretch, "protocol": args.protocol}
    asked = Asked(args.url, duration_s, args.slo_s, max_lag_ms, {**about, "method": args.method}, {"seed": args.seed})
    return Run(f"stress {args.name}", asked, performed.seen.records, performed.started_unix_s)
