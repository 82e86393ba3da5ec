"""`goals`: checks the goals of elastic on one or more traces, each separately."""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from autoscaler_tuning.commands.flags import Flags, number, number_ranges, output_file, positive_integer
from autoscaler_tuning.commands.terminal import progress_line, terminal_width
from autoscaler_tuning.commands.trace_parts import PartOfTrace, add_trace, part_of
from autoscaler_tuning.commands.world_flags import add_world, service_time_text, world_of
from autoscaler_tuning.experiments.compare import Comparison, bounded_rows, compare
from autoscaler_tuning.experiments.first_start import after_first_start
from autoscaler_tuning.experiments.goals import (
    BASELINES,
    OURS,
    POLICIES,
    Goal,
    first_start,
    goals,
    missed_required,
    without_the_future,
)
from autoscaler_tuning.experiments.informed import informed_rows, knows_rates
from autoscaler_tuning.experiments.policy_summary import summaries
from autoscaler_tuning.experiments.reaction import jumps
from autoscaler_tuning.report.tables import Table, figure, interval, plain, summary_table
from loadgen.workload.workload import Workload, read_workload

HEADINGS = ("goal", "kind", "value", "95 %", "limit", "verdict")


def add(parser: argparse.ArgumentParser, env: Mapping[str, str]) -> None:
    """Add the flags of `goals`."""
    flags = Flags(parser, env)
    add_trace(parser, flags, "last-third")
    add_world(flags, number_ranges, service_time_s="0.035-0.1")
    flags.add("--seeds", positive_integer, 10, "number of seeds, counted from 0")
    flags.add("--price-per-pod-hour", number, 0.04, "price of an hour of a ready or starting pod, in any currency")
    flags.add("--json", output_file, None, "file for all results, as JSON")
    flags.add("--markdown", output_file, None, "file for the tables, as Markdown")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    found: dict[str, list[Goal]] = {}
    pages: list[str] = []
    for path in args.trace:
        trace, from_s = _trace_until_end_of_part(path, args.part)
        judged = trace.counts[from_s:]
        for service_time_s in args.service_time_s:
            world = replace(world_of(args, service_time_s), judged_from_s=float(from_s))
            comparison = Comparison(trace.counts, world, price_per_pod_hour=args.price_per_pod_hour, bounds=("milp",))
            title = f"{path.name} from second {from_s}, {len(judged)} s, {sum(judged)} requests"
            title += f", {service_time_text(world)}"
            with progress_line() as progress:
                found[title], tables = _check(comparison, str(path), args.seeds, progress)
            print("\n\n".join([title, *(table.text(terminal_width()) for table in tables)]) + "\n")
            pages += [f"**{title}**\n", *(f"{table.markdown()}\n" for table in tables)]
    if args.json:
        document = {title: [asdict(goal) | {"met": goal.met} for goal in list_] for title, list_ in found.items()}
        args.json.write_text(json.dumps(plain(document), indent=1) + "\n", encoding="utf-8")
    if args.markdown:
        args.markdown.write_text("\n".join(pages), encoding="utf-8")
    missed = missed_required([goal for list_ in found.values() for goal in list_])
    required = sum(goal.must for list_ in found.values() for goal in list_)
    print(f"{required - len(missed)} of {required} required goals met")
    return 1 if missed else 0


def _trace_until_end_of_part(path: Path, wanted: PartOfTrace) -> tuple[Workload, int]:
    """Return the trace up to the end of the part, and the second at which the part begins.

    The traffic before the part is replayed too, because a running system would have seen it.
    Raises OSError or WorkloadError.
    """
    trace = read_workload(path)
    from_s, end_s = wanted(trace.duration_s)
    part_of(trace, path, from_s, end_s)
    return trace.part(0, end_s), from_s


def _check(
    comparison: Comparison, trace: str, seeds: int, progress: Callable[[str], None]
) -> tuple[list[Goal], list[Table]]:
    runs, sim = compare(replace(comparison, bounds=()), POLICIES, seeds, progress), comparison.sim
    rows = bounded_rows(comparison, [after_first_start(run, sim) for run in runs], progress)
    by_policy = {policy: [row for row in rows if row.policy == policy] for policy in POLICIES}
    has_jump = bool(jumps(comparison.counts, int(sim.judged_from_s)))
    listed = goals(by_policy, has_jump)
    ours, kpa = ([run for run in runs if run.row.policy == policy] for policy in (OURS, BASELINES[0]))
    listed += first_start(ours, kpa, sim)
    informed = informed_rows(comparison, trace, seeds) if knows_rates(trace) else []
    listed += without_the_future(by_policy[OURS], informed)
    return listed, [summary_table(summaries([*rows, *informed])), goals_table(listed)]


def goals_table(listed: Sequence[Goal]) -> Table:
    """Return a table with one line for each goal."""
    return Table(HEADINGS, tuple(map(_cells, listed)), text_headings=frozenset({"kind", "verdict"}))


def _cells(goal: Goal) -> tuple[str, ...]:
    value = goal.value
    verdict = "met" if goal.met else "MISSED" if goal.must else "missed"
    if not goal.is_conclusive:
        verdict += ", inconclusive"
    if goal.floor > goal.limit:
        verdict += f", out of reach: the lower bound is {figure(goal.floor, 3)}"
    kind = "required" if goal.must else "stretch"
    return (goal.text, kind, figure(value.value, 4), interval(value, 4), f"{goal.limit:g}", verdict)
