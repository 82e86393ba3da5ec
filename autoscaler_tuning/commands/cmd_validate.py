"""`fit`, `validate` and `convert`: fit the simulator to a recorded run, and compare the run with its simulation."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

from autoscaler_tuning.commands.flags import Flags, number, output_file, positive_integer, positive_number
from autoscaler_tuning.policies.registry import UnknownPolicyError, policy_named
from autoscaler_tuning.validation.fit import fit
from autoscaler_tuning.validation.old_run import RECORDED, converted
from autoscaler_tuning.validation.recorded_run import RecordedError, read_recorded
from autoscaler_tuning.validation.resimulate import Choices, setup_of_run
from autoscaler_tuning.validation.run_file import write_run
from autoscaler_tuning.validation.validate import Tolerances, lines, validate


def add(parser: argparse.ArgumentParser, env: Mapping[str, str]) -> None:
    """Add the flags of `validate`."""
    flags, choices, tolerances = _file_and_part(parser, env), Choices(), Tolerances()
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
    _file_and_part(parser, env).add("--json", Path, None, "file for all settings, as JSON")
    parser.set_defaults(run=_fit)


def add_convert(parser: argparse.ArgumentParser, env: Mapping[str, str]) -> None:
    """Add the flags of `convert`."""
    flags = Flags(parser, env)
    parser.add_argument("old", type=Path, metavar="OLD", help="recorded run in the old format, .json.gz")
    parser.add_argument("new", type=output_file, metavar="NEW", help="file to write, .jsonl or .jsonl.gz")
    flags.add("--policy", replayed_policy, None, "policy of the run, as compare takes it (default: as its text says)")
    parser.set_defaults(run=_convert)


def _file_and_part(parser: argparse.ArgumentParser, env: Mapping[str, str]) -> Flags:
    flags = Flags(parser, env)
    parser.add_argument("file", type=Path, metavar="FILE", help="recorded run, .jsonl, .jsonl.gz or the old .json.gz")
    flags.add("--fit-from-s", number, 0.0, "start of the part to fit, in seconds")
    flags.add("--fit-to-s", number, None, "end of the part to fit, in seconds (default: half of the run)")
    return flags


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
    run = read_recorded(args.file)
    slo_s = args.slo_s or setup_of_run(run).slo_s
    tolerances = Tolerances(args.pod_seconds_ratio, args.p99_ratio, args.ready_pods, args.late_ratio, slo_s)
    found = validate(run, choices, tolerances)
    for line in lines(found, tolerances):
        print(line)
    return 1 if found.misses(tolerances) else 0


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
