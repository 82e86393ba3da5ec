"""`fit` and `validate`: fit the simulator to a recorded run, and compare the run with its simulation."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

from autoscaler_tuning.commands.flags import Flags, number, positive_integer
from autoscaler_tuning.policies.registry import UnknownPolicyError
from autoscaler_tuning.validation.fit import fit
from autoscaler_tuning.validation.recorded_run import RecordedError, read_recorded
from autoscaler_tuning.validation.resimulate import KPA, RECORDED, Choices, is_hpa
from autoscaler_tuning.validation.validate import Tolerances, lines, validate


def add(parser: argparse.ArgumentParser, env: Mapping[str, str]) -> None:
    """Add the flags of `validate`."""
    flags, choices, tolerances = _file_and_part(parser, env), Choices(), Tolerances()
    flags.add(
        "--policy",
        replayed_policy,
        None,
        "policy to simulate: kpa, hpaN, or recorded for the recorded decisions (default: that of the run)",
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
    flags.add("--slo-s", positive_number, tolerances.slo_s, "longest latency that counts as in time, in seconds")
    parser.set_defaults(run=_validate)


def add_fit(parser: argparse.ArgumentParser, env: Mapping[str, str]) -> None:
    """Add the flags of `fit`."""
    _file_and_part(parser, env).add("--json", Path, None, "file for all settings, as JSON")
    parser.set_defaults(run=_fit)


def _file_and_part(parser: argparse.ArgumentParser, env: Mapping[str, str]) -> Flags:
    flags = Flags(parser, env)
    parser.add_argument("file", type=Path, metavar="FILE", help="recorded run, .json.gz")
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
    tolerances = Tolerances(args.pod_seconds_ratio, args.p99_ratio, args.ready_pods, args.slo_s)
    found = validate(read_recorded(args.file), choices, tolerances)
    for line in lines(found, tolerances):
        print(line)
    return 1 if found.misses(tolerances) else 0


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
    """Parse kpa, hpaN or recorded."""
    try:
        if text in (KPA, RECORDED) or ("[" not in text and "@" not in text and is_hpa(text)):
            return text
    except UnknownPolicyError:
        pass
    raise argparse.ArgumentTypeError(f"must be kpa, hpaPERCENT or recorded, got {text!r}")


def positive_number(text: str) -> float:
    """Parse a finite number above 0."""
    value = number(text)
    if value == 0:
        raise argparse.ArgumentTypeError("must be above 0, got 0")
    return value
