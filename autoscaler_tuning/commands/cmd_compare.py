"""`compare`: policies side by side on one workload; a table, JSON, CSV and one page."""

import argparse
import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from autoscaler_tuning.commands.flags import Flags, bounds, number, out, policies, seed, target_among, whole
from autoscaler_tuning.commands.live_comparison import add_live, live_runs
from autoscaler_tuning.commands.terminal import progress_line, terminal_width
from autoscaler_tuning.commands.world_flags import add_world, told_service_time, world_of
from autoscaler_tuning.experiments.compare import Comparison, compare
from autoscaler_tuning.experiments.frontier import Point, frontiers
from autoscaler_tuning.experiments.goals import OURS
from autoscaler_tuning.experiments.policy_summary import paired, summaries
from autoscaler_tuning.policies.registry import policy_named
from autoscaler_tuning.report.comparison_page import Report, comparison_page
from autoscaler_tuning.report.comparison_plots import Section
from autoscaler_tuning.report.tables import Table, frontier_table, paired_table, plain, rows_as_dicts, summary_table
from autoscaler_tuning.results import PolicyRun
from loadgen.workload.workload import read_workload

DEFAULT_POLICIES = "kpa,kpa-tuned,kpa-tuned@deadline,hpa70,peak,elastic"


def add(parser: argparse.ArgumentParser, env: Mapping[str, str]) -> None:
    """Its flags."""
    flags = Flags(parser, env)
    flags.add("--workload", Path, Path("workload.txt"), "requests per second, or a family such as mmpp:seed=3")
    flags.add("--from-s", seed, 0, "second of the workload to begin with")
    flags.add("--seconds", whole, None, "how many seconds of it; all unless said")
    flags.add("--scale", number, 1.0, "factor on its rates")
    flags.add("--policies", policies, DEFAULT_POLICIES, "names separated by commas, as NAME[setting=value,...]@ORDER")
    flags.add("--target", target_among("simulated", "local", "knative"), "simulated", "simulated, local or knative")
    add_world(flags)
    flags.add("--seeds", whole, 10, "how many seeds, from 0")
    flags.add("--min-pods", seed, 0, "no policy may keep fewer")
    flags.add("--price-per-pod-hour", number, 0.04, "of ready and starting pods, in any currency")
    flags.add("--frontier-seeds", seed, 3, "seeds of each point of the frontiers; 0 leaves them out")
    flags.add("--bounds", bounds, "lp,milp", "clairvoyant bounds of each row: lp, milp, both with a comma, or none")
    add_live(flags)
    flags.add("--json", out, None, "write everything here")
    flags.add("--csv", out, None, "write the rows here")
    flags.add("--html", out, None, "write one page with plots here")
    flags.add("--markdown", out, None, "write the tables here, for a page of the docs")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    workload = read_workload(args.workload).part(args.from_s, args.seconds).scaled(args.scale)
    live = args.target != "simulated"
    world = world_of(args, args.service_time_s)
    comparison = Comparison(workload.counts, world, args.min_pods, args.price_per_pod_hour, args.bounds)
    points: dict[str, list[Point]] = {}
    with progress_line() as progress:
        if live:
            runs = live_runs(args, comparison, progress)
        else:
            runs = compare(comparison, args.policies, args.seeds, progress)
            points = frontiers(comparison, args.policies, min(args.seeds, args.frontier_seeds), progress)
    report = _report(args, comparison, runs, points)
    print(report.about + "\n")
    width = terminal_width()
    print("\n\n".join(f"{title}\n{table.text(width)}" for title, table in _tables(report).items()))
    _write(args, report)
    return 0


def _report(
    args: argparse.Namespace, comparison: Comparison, runs: Sequence[PolicyRun], points: Mapping[str, Sequence[Point]]
) -> Report:
    rows = tuple(run.row for run in runs)
    about = _about(args, comparison)
    first = tuple(run for run in runs if run.row.seed == 0)
    return Report(
        about=about,
        rows=rows,
        summaries=tuple(summaries(rows)),
        paired=tuple(paired(rows, ours_of(args.policies))),
        frontiers=points,
        course=Section("Seed 0 over time", "The first run of each policy.", args.slo_s, first),
    )


def _about(args: argparse.Namespace, comparison: Comparison) -> str:
    """One sentence with all that a reader needs to run it again."""
    sim, counts = comparison.sim, comparison.counts
    traffic = f"{args.workload.name}: {len(counts)} s from second {args.from_s} on, {sum(counts)} requests"
    if args.scale != 1:
        traffic += f" at {args.scale:g} of its rates"
    if args.target != "simulated":
        return (
            f"{traffic}, {args.seeds} live runs a policy on {args.target} pods, from none to at most {sim.max_pods}, "
            f"{_held(args.target, sim.service_time_s)}; SLO {sim.slo_s:g} s. "
            f"Bounds with this service time and starts of {sim.cold_start_s[0]:g} s."
        )
    return (
        f"{traffic}, simulated with {args.seeds} seeds; {told_service_time(sim)}, "
        f"starts of {sim.cold_start_s[0]:g} to {sim.cold_start_s[1]:g} s, "
        f"SLO {sim.slo_s:g} s, {sim.initial_pods} pods at first, {comparison.min_pods} to {sim.max_pods} pods, "
        f"{comparison.price_per_pod_hour:g} a pod-hour."
    )


def _held(target: str, service_time_s: float) -> str:
    if target == "local":
        return f"each request held for {service_time_s:g} s"
    return f"no request held: bounds and reactions take --service-time-s {service_time_s:g} for what these pods need"


def ours_of(names: Sequence[str]) -> str:
    """Whom the others are held against: elastic, or the last."""
    return next((name for name in names if policy_named(name).entry.name == OURS), names[-1])


def _tables(report: Report) -> dict[str, Table]:
    tables = {"Means over the seeds": summary_table(report.summaries)}
    if report.paired:
        tables[f"{report.paired[0].ours}: its share of the others' late answers and pod-seconds"] = paired_table(
            report.paired
        )
    if report.frontiers:
        tables["Frontiers: each policy by its main knob"] = frontier_table(report.frontiers)
    return tables


def _write(args: argparse.Namespace, report: Report) -> None:
    rows = rows_as_dicts(report.rows)
    if args.json:
        document = {
            "about": report.about,
            "rows": rows,
            "paired": [asdict(pair) for pair in report.paired],
            "frontiers": {policy: [asdict(point) for point in points] for policy, points in report.frontiers.items()},
        }
        args.json.write_text(json.dumps(plain(document), indent=1) + "\n", encoding="utf-8")
    if args.csv:
        with args.csv.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    if args.html:
        args.html.write_text(comparison_page("Policies on the same arrivals", report), encoding="utf-8")
    if args.markdown:
        tables = [f"{title}:\n\n{table.markdown()}\n" for title, table in _tables(report).items()]
        args.markdown.write_text("\n".join([f"{report.about}\n", *tables]), encoding="utf-8")
