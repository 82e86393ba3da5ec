"""`fit`, `validate` and `convert`: fit the simulator to a recorded run, and compare the run with its simulation."""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from autoscaler_tuning.commands.flags import Flags, number, output_file, positive_integer, positive_number
from autoscaler_tuning.commands.terminal import terminal_width
from autoscaler_tuning.policies.registry import UnknownPolicyError, policy_named
from autoscaler_tuning.report.tables import NONE, Table
from autoscaler_tuning.validation.fit import fit
from autoscaler_tuning.validation.old_run import RECORDED, converted
from autoscaler_tuning.validation.recorded_run import RecordedError, read_recorded
from autoscaler_tuning.validation.resimulate import Choices, setup_of_run
from autoscaler_tuning.validation.run_file import write_run
from autoscaler_tuning.validation.several_runs import JudgedRun, judge
from autoscaler_tuning.validation.validate import Tolerances, lines, validate

FILE_ABOUT = "recorded run, .jsonl, .jsonl.gz or the old .json.gz"
HEADINGS = (
    *("run", "policy", "pod-s", "simulated", "from–to", "error", "repeats", "p99 s", "simulated", "error", "repeats"),
    *("late", "simulated", "repeats", "verdict"),
)


def add(parser: argparse.ArgumentParser, env: Mapping[str, str]) -> None:
    """Add the flags of `validate`."""
    flags, choices, tolerances = Flags(parser, env), Choices(), Tolerances()
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help=f"{FILE_ABOUT}, or several with --fit-runs")
    _add_part(flags)
    fit_about = "runs to fit to; the files are then judged on nothing that was fitted to them (default: fit to a part)"
    parser.add_argument("--fit-runs", nargs="+", type=Path, default=(), metavar="FILE", help=fit_about)
    flags.add("--markdown", output_file, None, "with --fit-runs: file for the table, as Markdown")
    flags.add(
        "--policy",
        replayed_policy,
        None,
        "policy to simulate, as compare takes it, or recorded for the recorded decisions (default: that of the run)",
    )
    flags.add("--seeds", positive_integer, choices.seeds, "number of simulations, whose medians are shown")
    flags.add("--max-pods", positive_integer, None, "upper bound on the pods (default: that of the run, or 40)")
    flags.add(
        "--utilization-percent",
        positive_integer,
        None,
        "for hpaN: share of its CPU request that a busy pod uses, in percent (default: fitted)",
    )
    flags.add(
        "--metrics-resolution-s",
        positive_number,
        choices.metrics_resolution_s,
        "for hpaN: time between two CPU measurements, in seconds",
    )
    flags.add("--pod-seconds-ratio", number, tolerances.pod_seconds_ratio, "tolerance of the pod-seconds, as a ratio")
    flags.add("--p99-ratio", number, tolerances.p99_ratio, "tolerance of the p99 latency, as a ratio")
    flags.add(
        "--ready-pods", number, tolerances.ready_pods, "tolerance of the ready pods, as the mean difference over time"
    )
    flags.add("--late-ratio", number, tolerances.late_ratio, "tolerance of the late requests, as a ratio")
    flags.add("--slo-s", positive_number, None, "longest latency in time, in seconds (default: that of the run)")
    parser.set_defaults(run=_validate)


def add_fit(parser: argparse.ArgumentParser, env: Mapping[str, str]) -> None:
    """Add the flags of `fit`."""
    flags = Flags(parser, env)
    parser.add_argument("file", type=Path, metavar="FILE", help=FILE_ABOUT)
    _add_part(flags)
    flags.add("--json", Path, None, "file for all settings, as JSON")
    parser.set_defaults(run=_fit)


def add_convert(parser: argparse.ArgumentParser, env: Mapping[str, str]) -> None:
    """Add the flags of `convert`."""
    flags = Flags(parser, env)
    parser.add_argument("old", type=Path, metavar="OLD", help="recorded run in the old format, .json.gz")
    parser.add_argument("new", type=output_file, metavar="NEW", help="file to write, .jsonl or .jsonl.gz")
    flags.add("--policy", replayed_policy, None, "policy of the run, as compare takes it (default: as its text says)")
    parser.set_defaults(run=_convert)


def _add_part(flags: Flags) -> None:
    flags.add("--fit-from-s", number, 0.0, "start of the part to fit, in seconds")
    flags.add("--fit-to-s", number, None, "end of the part to fit, in seconds (default: half of the run)")


def _validate(args: argparse.Namespace) -> int:
    choices = Choices(
        policy=args.policy,
        from_s=args.fit_from_s,
        to_s=args.fit_to_s,
        seeds=args.seeds,
        utilization_percent=args.utilization_percent,
        metrics_resolution_s=args.metrics_resolution_s,
        max_pods=args.max_pods,
    )
    tolerances = Tolerances(args.pod_seconds_ratio, args.p99_ratio, args.ready_pods, args.late_ratio)
    if args.fit_runs:
        return _validate_by(args, choices, tolerances)
    if len(args.files) > 1:
        raise RecordedError(f"several runs need --fit-runs, the runs to fit to, got {len(args.files)} runs")
    run = read_recorded(args.files[0])
    tolerances = replace(tolerances, slo_s=args.slo_s or setup_of_run(run).slo_s)
    try:
        found = validate(run, choices, tolerances)
    except RecordedError as error:
        raise RecordedError(f"{args.files[0]}: {error}") from error
    for line in lines(found, tolerances):
        print(line)
    return 1 if found.misses(tolerances) else 0


def _validate_by(args: argparse.Namespace, choices: Choices, tolerances: Tolerances) -> int:
    """Print and write one row for each run, simulated with the settings fitted to other ones."""
    runs = {run_name(path): read_recorded(path) for path in args.files}
    judged = judge([read_recorded(path) for path in args.fit_runs], runs, choices, tolerances)
    table = judged_table(judged)
    fitted_to = ", ".join(map(run_name, args.fit_runs))
    print(f"fitted to {fitted_to}; medians of {choices.seeds} simulations\n\n{table.text(terminal_width())}\n")
    for run in judged:
        print(f"{run.name}: {'; '.join((*run.validation.notes, *run.misses)) or 'within tolerance'}")
    if args.markdown:
        args.markdown.write_text(table.markdown() + "\n", encoding="utf-8")
    return 1 if any(run.misses for run in judged) else 0


def run_name(path: Path) -> str:
    """Return folder and name of a file without its suffixes, because each folder of runs has the same names."""
    return f"{path.absolute().parent.name}/{path.name.partition('.json')[0]}"


def judged_table(judged: Sequence[JudgedRun]) -> Table:
    """Return a table with a line for each run: real and simulated figures, their error, and the spread of repeats."""
    return Table(HEADINGS, tuple(map(_cells, judged)), text_headings=frozenset({"policy", "verdict"}))


def _cells(run: JudgedRun) -> tuple[str, ...]:
    part, repeats = run.validation.parts[-1], run.repeats
    real, simulated = part.real, part.simulated
    pods_apart, p99_apart, late_apart = (
        (f"{repeats.pod_seconds_ratio:.1%}", f"{repeats.p99_ratio:.1%}", str(repeats.late)) if repeats else (NONE,) * 3
    )
    return (
        run.name,
        run.validation.policy,
        *(f"{real.pod_seconds:.0f}", f"{simulated.pod_seconds:.0f}"),
        f"{part.least.pod_seconds:.0f}–{part.most.pod_seconds:.0f}",
        *(f"{simulated.pod_seconds / real.pod_seconds - 1:+.1%}", pods_apart),
        *(f"{real.p99_s:.3f}", f"{simulated.p99_s:.3f}", f"{simulated.p99_s / real.p99_s - 1:+.1%}", p99_apart),
        *(str(real.late), str(simulated.late), late_apart),
        "outside" if run.misses else "within",
    )


def _convert(args: argparse.Namespace) -> int:
    record = converted(args.old, args.policy)
    write_run(args.new, record)
    print(f"{args.new}: {len(record.requests)} requests, {len(record.pods)} samples, policy {record.setup.policy}")
    return 0


def _fit(args: argparse.Namespace) -> int:
    run = read_recorded(args.file)
    to_s = run.end_s / 2 if args.fit_to_s is None else args.fit_to_s
    if not args.fit_from_s < to_s:
        raise RecordedError(f"--fit-from-s must be below --fit-to-s, got {args.fit_from_s:g} and {to_s:g}")
    found = fit(run, args.fit_from_s, to_s)
    if args.json:
        args.json.write_text(json.dumps(found.settings(), indent=1) + "\n", encoding="utf-8")
    for name, value in found.settings().items():
        shown = f"{len(found.service_samples_s)} samples (written by --json)" if name == "service_samples_s" else value
        print(f"{name:<22} {shown}")
    return 0


def replayed_policy(text: str) -> str:
    """Parse a policy of the registry, or recorded."""
    try:
        if text != RECORDED:
            policy_named(text)
    except UnknownPolicyError as error:
        raise argparse.ArgumentTypeError(f"must be recorded or a policy: {error}") from error
    return text
