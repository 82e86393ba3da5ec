"""`goals`: what elastic set out to reach, on one or more traces, each by itself."""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from autoscaler_tuning.commands.flags import Flags, number, out, spans, whole
from autoscaler_tuning.commands.terminal import progress_line, terminal_width
from autoscaler_tuning.commands.trace_parts import PartOfTrace, part, part_of
from autoscaler_tuning.commands.world_flags import add_world, told_service_time, world_of
from autoscaler_tuning.experiments.compare import Comparison, begun, compare
from autoscaler_tuning.experiments.goals import POLICIES, Goal, goals, missed_musts, unavoidable
from autoscaler_tuning.experiments.policy_summary import summaries
from autoscaler_tuning.experiments.reaction import jumps
from autoscaler_tuning.report.tables import Table, figure, plain, summary_table
from loadgen.workload.workload import Workload, read_workload

HEADINGS = ("goal", "kind", "value", "95 %", "limit", "verdict")


def add(parser: argparse.ArgumentParser, env: Mapping[str, str]) -> None:
    """Its flags."""
    flags = Flags(parser, env)
    parser.add_argument("--trace", nargs="+", type=Path, required=True, metavar="FILE", help="requests per second")
    flags.add("--part", part, "last-third", "all, first-two-thirds, last-third or FROM:TO in seconds")
    add_world(flags, spans)
    parser.set_defaults(service_time_s=spans(env.get("SERVICE_TIME_S", "0.035-0.1")), initial_pods=None)
    flags.add("--seeds", whole, 10, "how many seeds, from 0")
    flags.add("--price-per-pod-hour", number, 0.04, "of ready and starting pods, in any currency")
    flags.add("--json", out, None, "write everything here")
    flags.add("--markdown", out, None, "write the tables here, for a page of the docs")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    found: dict[str, list[Goal]] = {}
    pages: list[str] = []
    for path in args.trace:
        trace, from_s = _until(path, args.part)
        judged = trace.counts[from_s:]
        for service_time_s in args.service_time_s:
            world = replace(world_of(args, service_time_s), judged_from_s=float(from_s))
            comparison = Comparison(trace.counts, world, price_per_pod_hour=args.price_per_pod_hour, bounds=("milp",))
            comparison = begun(comparison) if args.initial_pods is None else comparison
            title = f"{path.name} from second {from_s}, {len(judged)} s, {sum(judged)} requests"
            title += f", {told_service_time(world)}"
            with progress_line() as progress:
                found[title], tables = _judged(comparison, args.seeds, progress)
            print("\n\n".join([title, *(table.text(terminal_width()) for table in tables)]) + "\n")
            pages += [f"**{title}**\n", *(f"{table.markdown()}\n" for table in tables)]
    if args.json:
        document = {title: [asdict(goal) | {"met": goal.met} for goal in list_] for title, list_ in found.items()}
        args.json.write_text(json.dumps(plain(document), indent=1) + "\n", encoding="utf-8")
    if args.markdown:
        args.markdown.write_text("\n".join(pages), encoding="utf-8")
    missed = missed_musts([goal for list_ in found.values() for goal in list_])
    musts = sum(goal.must for list_ in found.values() for goal in list_)
    print(f"{musts - len(missed)} of {musts} musts met")
    return 1 if missed else 0


def _until(path: Path, wanted: PartOfTrace) -> tuple[Workload, int]:
    """The trace up to the end of the part, and the second at which the part begins: what came before is replayed too,
    for a running system has seen it. Raises OSError or WorkloadError.
    """
    whole = read_workload(path)
    from_s, end_s = wanted(whole.duration_s)
    part_of(whole, path, from_s, end_s)
    return whole.part(0, end_s), from_s


def _judged(comparison: Comparison, seeds: int, progress: Callable[[str], None]) -> tuple[list[Goal], list[Table]]:
    rows = [run.row for run in compare(comparison, POLICIES, seeds, progress)]
    by_policy = {policy: [row for row in rows if row.policy == policy] for policy in POLICIES}
    has_jump = bool(jumps(comparison.counts, int(comparison.sim.judged_from_s)))
    listed = goals(by_policy, unavoidable(comparison), has_jump)
    return listed, [summary_table(summaries(rows)), goals_table(listed)]


def goals_table(listed: Sequence[Goal]) -> Table:
    """A line a goal."""
    return Table(HEADINGS, tuple(map(_cells, listed)), text_headings=frozenset({"kind", "verdict"}))


def _cells(goal: Goal) -> tuple[str, ...]:
    value = goal.value
    verdict = ("met" if goal.met else "MISSED" if goal.must else "missed") + ("" if goal.sure else ", not sure")
    if goal.floor > goal.limit:
        verdict += f": nobody could, the bound is at {figure(goal.floor, 3)}"
    kind = "must" if goal.must else "reach for"
    interval = f"{figure(value.low, 4)}–{figure(value.high, 4)}"
    return (goal.text, kind, figure(value.value, 4), interval, f"{goal.limit:g}", verdict)
