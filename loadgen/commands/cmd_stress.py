"""Run a stress scenario that looks for one weakness, and report whether the server has it."""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from loadgen.analysis.findings import LATE_RATIO, Span, StressRun
from loadgen.analysis.gates import EarlyVerdict, parse_gate
from loadgen.analysis.runs import Run, RunSettings
from loadgen.analysis.stress_scenarios import SCENARIOS, SLOW_SEND_S, ActPlan, Scenario, plan_acts, planned_requests
from loadgen.commands.flags import (
    add_judgement,
    add_target,
    input_files,
    load_bodies,
    non_negative_int,
    note_proxies,
    positive_int,
    positive_number,
    target,
)
from loadgen.commands.output_files import show
from loadgen.commands.outputs import add_outputs, check_outputs, judge, write_outputs
from loadgen.commands.plans import add_dry_run, check_rate, check_requests
from loadgen.errors import INTERRUPTED, OK, InputError, exit_code
from loadgen.records import Failure, Record
from loadgen.reports.progress import Progress
from loadgen.sending.preflight import check_reachable
from loadgen.sending.protocols import Body
from loadgen.sending.replay import Replay, SendPlan, SilentWatcher, Watcher, run_together
from loadgen.sending.stop_signals import HeldSignal, finishing
from loadgen.workload.arrivals import Times


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    about = (f"  {name:14}{one.about}\n{'':16}looks for {one.looks_for}" for name, one in SCENARIOS.items())
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "\n".join(("scenarios:", *about, "", parser.epilog or ""))
    parser.add_argument(
        "name", metavar="NAME", choices=tuple(SCENARIOS), help=f"scenario to run: {', '.join(SCENARIOS)}"
    )
    add_target(parser)
    add = parser.add_argument
    add(
        "--rate",
        type=positive_number,
        default=10.0,
        metavar="RATE",
        help="rate of steady traffic, in requests/s; default: %(default)s",
    )
    add(
        "--stretch",
        type=positive_number,
        default=1.0,
        metavar="FACTOR",
        help="factor applied to the length of all phases; default: %(default)s",
    )
    add(
        "--most-requests",
        type=positive_int,
        default=100_000,
        metavar="N",
        help="refuse to send more requests than this; default: %(default)s",
    )
    add_judgement(parser)
    add("--seed", type=non_negative_int, default=0, help="random seed of the arrival times; default: %(default)s")
    add("--quiet", action="store_true", help="do not print progress")
    add_outputs(parser)
    add_dry_run(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the scenario and report; return 0, 1 if the weakness was found, 3 if the run is invalid.

    Raises InputError or UnreachableError.
    """
    scenario = SCENARIOS[args.name]
    acts = _plan(args, scenario)
    requests = sum(act.times_s.size + act.slow_times_s.size for act in acts)
    check_outputs(args, *input_files(args))
    to = target(args)
    bodies = load_bodies(args)
    about = f"{args.name}: {scenario.about}; looks for {scenario.looks_for}"
    plan = f"{about}\nat most {requests} requests in {sum(act.spans[-1].end_s for act in acts):g} s"
    if args.dry_run:
        show(plan)
        return OK
    check_reachable(to)
    show(plan)
    note_proxies(args.url)
    with finishing() as interrupted:
        performed = _perform(args, acts, bodies, interrupted)
        return _report(args, scenario, performed, interrupted)


def _plan(args: argparse.Namespace, scenario: Scenario) -> list[ActPlan]:
    """Plan the acts, after checking that the plan has neither too many requests nor none."""
    phases = [phase for act in scenario.acts for phase in act.phases]
    check_rate(
        args.rate * max(phase.factor for phase in phases),
        args.stretch * sum(phase.seconds for phase in phases),
        "--rate and --stretch",
    )
    expected = planned_requests(scenario, args.rate, args.stretch)
    if expected > args.most_requests:
        raise InputError(
            f"{args.name} at {args.rate:g}/s must have at most {args.most_requests} requests (--most-requests), "
            f"got {round(expected)}"
        )
    check_requests(expected, "--rate and --stretch")
    acts = plan_acts(scenario, args.rate, args.stretch, args.seed)
    check_requests(sum(act.times_s.size for act in acts), "--rate and --stretch")
    return acts


def _report(
    args: argparse.Namespace, scenario: Scenario, performed: "PerformedScenario", interrupted: HeldSignal
) -> int:
    """Check, write and print; return the exit code."""
    findings = () if performed.interrupted else tuple(check(performed.run) for check in scenario.checks)
    judged = replace(judge(_as_run(args, scenario, performed), ()), findings=findings)
    written = write_outputs(args, judged)
    if interrupted():
        return INTERRUPTED
    held = sum(finding.held for finding in findings)
    passed = "passed" if held == len(findings) else "FAILED"
    verdict = "is invalid" if judged.summary.invalid else passed
    show(f"Verdict: {args.name} {verdict}, {held} of {len(findings)} checks passed")
    return exit_code([written, judged.exit_code])


@dataclass(frozen=True, slots=True)
class PerformedScenario:
    """The records of all acts on one time line."""

    run: StressRun
    started_unix_s: float
    interrupted: bool


class BreakDetector:
    """A watcher that ends an act once too many requests of one of its phases are certain to be late."""

    def __init__(self, inner: Watcher, act: ActPlan, slo_s: float) -> None:
        self._inner = inner
        self.every_s, self.report, self.end = inner.every_s, inner.report, inner.end
        self._ends_s = np.array([span.end_s for span in act.spans])
        gate = parse_gate(f"late<={LATE_RATIO}")
        planned = np.bincount(self._phases(act.times_s), minlength=len(act.spans)).tolist()
        self._verdicts = [EarlyVerdict([gate], count, slo_s) for count in planned]

    def done(self, record: Record) -> None:
        """Count a request in the phase in which it was due."""
        self._inner.done(record)
        self._verdicts[int(self._phases(np.array([record.intended_s]))[0])].done(record.slo_latency_s)

    def broken(self) -> bool:
        """Return whether a phase has failed."""
        return any(verdict.missed for verdict in self._verdicts)

    def _phases(self, times_s: Times) -> NDArray[np.intp]:
        return np.searchsorted(self._ends_s, times_s, side="right")


def _perform(
    args: argparse.Namespace, acts: Sequence[ActPlan], bodies: Sequence[Body], interrupted: HeldSignal
) -> PerformedScenario:
    records: list[Record] = []
    spans: list[Span] = []
    slow: list[Record] = []
    began_unix_s = 0.0
    for act in acts:
        silent = args.quiet or sys.stderr is None
        watcher: Watcher = SilentWatcher() if silent else Progress(sys.stderr, act.spans[-1].end_s, args.slo_s)
        detector = BreakDetector(watcher, act, args.slo_s) if act.until_broken else None
        enough = _any_of(interrupted, detector.broken) if detector else interrupted
        replays = _play(args, act, bodies, detector or watcher, enough)
        began_unix_s = began_unix_s or replays[0].started_unix_s
        offset_s = replays[0].started_unix_s - began_unix_s
        kept = _carried_out(replays[0], cut=detector is not None and detector.broken())
        records += [_shifted(record, offset_s) for record in kept]
        reached_s = max((record.intended_s for record in kept), default=0.0)
        spans += [_shifted_span(span, offset_s) for span in act.spans if span.start_s <= reached_s or detector is None]
        slow += [record for replay in replays[1:] for record in replay.records]
        interrupted.note(replays[0].interrupted)
        if interrupted():
            break
    run = StressRun(tuple(records), tuple(spans), args.slo_s, tuple(slow))
    return PerformedScenario(run, began_unix_s, interrupted())


def _any_of(*conditions: Callable[[], bool]) -> Callable[[], bool]:
    return lambda: any(condition() for condition in conditions)


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
    """Return the records of an act; if it was cut short, without unsent and aborted requests, which did not fail."""
    if not cut:
        return list(replayed.records)
    return [
        record for record in replayed.records if record.sent_s is not None and record.failure is not Failure.INTERRUPTED
    ]


def _shifted(record: Record, by_s: float) -> Record:
    shifted = replace(record)
    for name in ("intended_s", "sent_s", "first_byte_s", "done_s", "ended_s"):
        if (time_s := getattr(record, name)) is not None:
            setattr(shifted, name, time_s + by_s)
    return shifted


def _shifted_span(span: Span, by_s: float) -> Span:
    return replace(span, start_s=span.start_s + by_s, end_s=span.end_s + by_s)


def _as_run(args: argparse.Namespace, scenario: Scenario, performed: PerformedScenario) -> Run:
    settings = RunSettings(
        url=args.url,
        duration_s=max((span.end_s for span in performed.run.spans), default=0.0),
        slo_s=args.slo_s,
        max_lag_ms=max(args.max_lag_ms, scenario.max_lag_ms or 0.0),
        about={
            "scenario": args.name,
            "rate": args.rate,
            "stretch": args.stretch,
            "protocol": args.protocol,
            "method": args.method,
        },
        plan={"seed": args.seed},
    )
    return Run(f"stress {args.name}", settings, performed.run.records, performed.started_unix_s)
