"""`compare`: compares policies on one workload, and writes tables, JSON, CSV and an HTML page."""

import argparse
import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from autoscaler_tuning.commands.flags import (
    Flags,
    bounds,
    list_policies,
    non_negative_integer,
    number,
    output_file,
    policies,
    positive_integer,
    target_among,
)
from autoscaler_tuning.commands.live_comparison import add_live, fitted, live_rows, live_runs
from autoscaler_tuning.commands.terminal import progress_line, terminal_width
from autoscaler_tuning.commands.world_flags import add_world, service_time_text, start_text, world_of
from autoscaler_tuning.experiments.compare import Comparison, compare
from autoscaler_tuning.experiments.frontier import Point, frontiers
from autoscaler_tuning.experiments.goals import OURS
from autoscaler_tuning.experiments.live_summary import LiveRow, is_valid, medians
from autoscaler_tuning.experiments.policy_summary import paired, summaries
from autoscaler_tuning.policies.registry import policy_named
from autoscaler_tuning.report.comparison_page import Report, comparison_page
from autoscaler_tuning.report.comparison_plots import Section
from autoscaler_tuning.report.headline import LIVE, SIMULATED, headline, of_medians, of_summary
from autoscaler_tuning.report.live_tables import live_tables
from autoscaler_tuning.report.tables import (
    Table,
    frontier_table,
    paired_table,
    plain,
    rows_as_dicts,
    rows_table,
    summary_table,
)
from autoscaler_tuning.results import PolicyRow, PolicyRun
from autoscaler_tuning.simulator.world import SimulationError
from loadgen.workload.workload import read_workload

DEFAULT_POLICIES = "kpa,kpa-tuned,kpa-tuned@deadline,hpa70,peak,elastic"


def add(parser: argparse.ArgumentParser, env: Mapping[str, str]) -> None:
    """Add the flags of `compare`."""
    flags = Flags(parser, env)
    list_policies(parser)
    flags.add(
        "--workload",
        Path,
        Path("workload.txt"),
        "file with the requests of each second, or a family such as mmpp:seed=3",
    )
    flags.add("--from-s", non_negative_integer, 0, "first second of the workload to use")
    flags.add("--seconds", positive_integer, None, "number of seconds to use (default: all)")
    flags.add("--scale", number, 1.0, "factor applied to the rates of the workload")
    flags.add(
        "--policies", policies, DEFAULT_POLICIES, "policies separated by commas, each NAME[setting=value,...]@ORDER"
    )
    flags.add(
        "--target",
        target_among("simulated", "local", "knative"),
        "simulated",
        "where the pods run: simulated, local or knative",
    )
    add_world(flags)
    flags.add("--seeds", positive_integer, 10, "number of seeds, counted from 0")
    flags.add("--min-pods", non_negative_integer, 0, "lower bound on the pods of every policy")
    flags.add("--price-per-pod-hour", number, 0.04, "price of an hour of a ready or starting pod, in any currency")
    flags.add("--frontier-seeds", non_negative_integer, 3, "seeds of each point of the Pareto frontiers; 0 skips them")
    flags.add("--bounds", bounds, "lp,milp", "clairvoyant lower bounds to compute: lp, milp, lp,milp or none")
    add_live(flags)
    flags.add("--json", output_file, None, "file for all results, as JSON")
    flags.add("--csv", output_file, None, "file for the rows, as CSV")
    flags.add("--html", output_file, None, "file for an HTML page with tables and plots")
    flags.add("--markdown", output_file, None, "file for the tables, as Markdown")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    workload = read_workload(args.workload).part(args.from_s, args.seconds).scaled(args.scale)
    live = args.target != "simulated"
    for flag in ("record_runs", "predict_from"):
        if getattr(args, flag) and not live:
            name = flag.replace("_", "-")
            raise SimulationError(f"--{name} must be used with --target local or knative, got simulated")
    world = world_of(args, args.service_time_s)
    comparison = Comparison(workload.counts, world, args.min_pods, args.price_per_pod_hour, args.bounds)
    points: dict[str, list[Point]] = {}
    rows: list[LiveRow] = []
    fit = fitted(args)  # before the runs, because it may fail
    with progress_line(in_files=live) as progress:
        if live:
            runs = live_runs(args, comparison, progress)
            rows = live_rows(runs, args.slo_s, fit)
        else:
            runs = compare(comparison, args.policies, args.seeds, progress)
            points = frontiers(comparison, args.policies, min(args.seeds, args.frontier_seeds), progress)
    about = _about(args, comparison) + (f" {fit.about}." if fit else "")
    report = _report(args, about, runs, points)
    if live:
        lines = medians(rows)
        answer = headline([of_medians(line, rows) for line in lines], reference_policy(args.policies), LIVE)
        report = replace(report, live=live_tables(rows, lines), headline=answer)
    print("\n".join((f"{report.headline.title}.", *report.headline.sentences, "", report.about, "")))
    width = terminal_width()
    print("\n\n".join(f"{title}\n{table.text(width)}" for title, table in _tables(report).items()))
    _write(args, report, rows)
    return 0


def _report(
    args: argparse.Namespace, about: str, runs: Sequence[PolicyRun], points: Mapping[str, Sequence[Point]]
) -> Report:
    rows = tuple(run.row for run in runs)
    first = tuple(run for run in runs if run.row.seed == 0)
    lines = tuple(summaries(rows))
    return Report(
        headline=headline([of_summary(line, rows) for line in lines], reference_policy(args.policies), SIMULATED),
        about=about,
        rows=rows,
        summaries=lines,
        paired=tuple(paired(comparable(rows), reference_policy(args.policies))),
        frontiers=points,
        course=Section("Seed 0 over time", "The run with seed 0 of each policy.", args.slo_s, first),
    )


def _about(args: argparse.Namespace, comparison: Comparison) -> str:
    """Return a sentence with all settings that are needed to run the comparison again."""
    sim, counts = comparison.sim, comparison.counts
    traffic = f"{args.workload.name}: {len(counts)} s from second {args.from_s} on, {sum(counts)} requests"
    if args.scale != 1:
        traffic += f" at {args.scale:g} times its rates"
    if args.target != "simulated":
        return (
            f"{traffic}, {_counted(args.seeds, 'live run')} per policy with 0 to {sim.max_pods} {args.target} pods, "
            f"{_service_time(args.target, sim.service_time_s)}; SLO {sim.slo_s:g} s. "
            f"The bounds assume this service time and pod starts of {sim.cold_start_s[0]:g} s."
        )
    return (
        f"{traffic}, simulated with {_counted(args.seeds, 'seed')}; {service_time_text(sim)}, "
        f"{start_text(sim)}, SLO {sim.slo_s:g} s, "
        f"initial pods: {sim.initial_pods}, {comparison.min_pods} to {sim.max_pods} pods, "
        f"price per pod-hour: {comparison.price_per_pod_hour:g}."
    )


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _service_time(target: str, service_time_s: float) -> str:
    if target == "local":
        return f"at least {service_time_s:g} s for each request"
    return f"service time of bounds and reaction times {service_time_s:g} s (--service-time-s)"


def comparable(rows: Sequence[PolicyRow]) -> list[PolicyRow]:
    """Return the rows of the seeds whose rows are all valid: pairs of policies are compared seed by seed."""
    invalid = {row.seed for row in rows if not is_valid(row)}
    return [row for row in rows if row.seed not in invalid]


def reference_policy(names: Sequence[str]) -> str:
    """Return the policy with which the others are compared: elastic, or else the last one."""
    return next((name for name in names if policy_named(name).entry.name == OURS), names[-1])


def _tables(report: Report) -> dict[str, Table]:
    tables = dict(report.live) or {"Means over the seeds": summary_table(report.summaries)}
    if report.paired:
        title = f"Late requests and pod-seconds of {report.paired[0].ours} relative to the others"
        tables[title] = paired_table(report.paired)
    if report.frontiers:
        tables["Pareto frontiers over the main knob of each policy"] = frontier_table(report.frontiers)
    if report.live:
        tables["Every run"] = rows_table(report.rows)
    return tables


def _write(args: argparse.Namespace, report: Report, live: Sequence[LiveRow]) -> None:
    rows = rows_as_dicts(report.rows)
    if args.json:
        document = {
            "about": report.about,
            "rows": rows,
            "paired": [asdict(pair) for pair in report.paired],
            "frontiers": {policy: [asdict(point) for point in points] for policy, points in report.frontiers.items()},
        }
        if live:
            document |= {"live": [asdict(row) for row in live], "medians": [asdict(line) for line in medians(live)]}
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
        notes = [f"- {row.policy}, run {row.seed + 1}: {note}" for row in report.rows for note in row.notes if live]
        first = [f"{report.headline.markdown()}\n", f"{report.about}\n"]
        args.markdown.write_text("\n".join([*first, *tables, *notes, *("" for _ in notes[:1])]), "utf-8")
