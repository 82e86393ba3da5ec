"""`fit` and `validate`: a recorded run, the world it tells of, and the simulator beside it."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

from autoscaler_tuning.commands.flags import Flags, number, whole
from autoscaler_tuning.policies.registry import UnknownPolicyError
from autoscaler_tuning.validation.fit import fit
from autoscaler_tuning.validation.recorded_run import RecordedError, read_recorded
from autoscaler_tuning.validation.resimulate import KPA, RECORDED, Choices, is_hpa
from autoscaler_tuning.validation.validate import Tolerances, lines, validate


def add(parser: argparse.ArgumentParser, env: Mapping[str, str]) -> None:
    """Flags of `validate`."""
    flags, choices, tolerances = _file_and_part(parser, env), Choices(), Tolerances()
    flags.add("--policy", replayed_policy, None, "kpa, hpaN or recorded (its decisions); else what the run says")
    flags.add("--seeds", whole, choices.seeds, "simulations, of which medians are shown")
    flags.add("--max-pods", whole, None, "bound of the policy; else what the run says, or 40")
    flags.add("--utilization-percent", whole, None, "for hpaN: of its CPU request that a busy pod uses; else fitted")
    flags.add("--metrics-resolution-s", above_0, choices.metrics_resolution_s, "for hpaN: how often CPU is measured")
    flags.add("--pod-seconds-ratio", number, tolerances.pod_seconds_ratio, "pod-seconds may be off by this ratio")
    flags.add("--p99-ratio", number, tolerances.p99_ratio, "p99 may be off by this ratio")
    flags.add("--ready-pods", number, tolerances.ready_pods, "ready pods may be off by this, on average over time")
    flags.add("--slo-s", above_0, tolerances.slo_s, "an answer later than this is late")
    parser.set_defaults(run=_validate)


def add_fit(parser: argparse.ArgumentParser, env: Mapping[str, str]) -> None:
    """Flags of `fit`."""
    _file_and_part(parser, env).add("--json", Path, None, "write all settings here")
    parser.set_defaults(run=_fit)


def _file_and_part(parser: argparse.ArgumentParser, env: Mapping[str, str]) -> Flags:
    flags = Flags(parser, env)
    parser.add_argument("file", type=Path, metavar="FILE", help="a recorded run, .json.gz")
    flags.add("--fit-from-s", number, 0.0, "begin of the part to fit")
    flags.add("--fit-to-s", number, None, "end of it; else half of the run")
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
        raise RecordedError(f"the part to fit must be from < to, was {args.fit_from_s:g} to {to_s:g}")
    found = fit(run, args.fit_from_s, to_s)
    if args.json:
        args.json.write_text(json.dumps(found.settings(), indent=1) + "\n", encoding="utf-8")
    for name, value in found.settings().items():
        shown = f"{len(found.service_samples_s)} (--json writes them)" if name == "service_samples_s" else value
        print(f"{name:<22} {shown}")
    return 0


def replayed_policy(text: str) -> str:
    """kpa, hpaN or recorded."""
    try:
        if text in (KPA, RECORDED) or ("[" not in text and "@" not in text and is_hpa(text)):
            return text
    except UnknownPolicyError:
        pass
    raise argparse.ArgumentTypeError(f"must be kpa, hpaPERCENT or recorded, got {text!r}")


def above_0(text: str) -> float:
    """A finite number above 0."""
    value = number(text)
    if value == 0:
        raise argparse.ArgumentTypeError("must be above 0, was 0")
    return value
