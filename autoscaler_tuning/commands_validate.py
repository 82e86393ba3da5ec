"""The commands `fit` and `validate`: a recorded run, the world it tells of, and the simulator beside it."""

import argparse
import json
import sys
from pathlib import Path

from autoscaler_tuning.fit import fit
from autoscaler_tuning.recorded import read_recorded
from autoscaler_tuning.validate import KPA, RECORDED, Choices, Tolerances, lines, validate


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """`validate FILE` and `fit FILE`."""
    judge = commands.add_parser("validate", help="simulate a recorded run and compare; exits 1 beyond the tolerances")
    _add_file_and_part(judge)
    judge.add_argument("--policy", type=_policy, help="kpa, hpaN or recorded (its decisions); else what the run says")
    judge.add_argument(
        "--seeds", type=_count, default=Choices().seeds, metavar="COUNT", help="simulations to take medians of"
    )
    judge.add_argument(
        "--max-pods", type=_count, metavar="COUNT", help="bound of the policy; else what the run says, or 40"
    )
    judge.add_argument(
        "--utilization-percent",
        type=_count,
        metavar="PERCENT",
        help="of its CPU request that a busy pod uses, for hpaN",
    )
    judge.add_argument(
        "--metrics-resolution-s",
        type=_positive,
        default=Choices().metrics_resolution_s,
        metavar="SECONDS",
        help="for hpaN",
    )
    for name, about in (
        ("pod-seconds-ratio", "pod-seconds may be off by"),
        ("p99-ratio", "p99 may be off by"),
        ("ready-pods", "ready pods may be off by, on average over time"),
        ("slo-s", "an answer later than this is late"),
    ):
        default = getattr(Tolerances(), name.replace("-", "_"))
        judge.add_argument(
            f"--{name}", type=_positive, default=default, metavar="NUMBER", help=f"{about} (default {default})"
        )
    judge.set_defaults(run=_validate)
    learn = commands.add_parser("fit", help="start and service times of a recorded run, as settings of the simulator")
    _add_file_and_part(learn)
    learn.add_argument("--json", type=Path, metavar="OUT", help="write them here as well")
    learn.set_defaults(run=_fit)


def _add_file_and_part(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="a recorded run, .json.gz")
    parser.add_argument("--fit-from-s", type=float, metavar="SECONDS", help="begin of the part to fit; default 0")
    parser.add_argument("--fit-to-s", type=float, metavar="SECONDS", help="end of it; default half of the run")


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
    sys.stdout.write("".join(f"{line}\n" for line in lines(found, tolerances)))
    return 1 if any(part.misses(tolerances) for part in found.parts[1:]) else 0


def _fit(args: argparse.Namespace) -> int:
    run = read_recorded(args.file)
    from_s = 0.0 if args.fit_from_s is None else args.fit_from_s
    settings = fit(run, from_s, run.end_s / 2 if args.fit_to_s is None else args.fit_to_s).settings()
    if args.json:
        args.json.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
    samples = settings.pop("service_samples_s")
    sys.stdout.write(json.dumps(settings, indent=1) + "\n")
    sys.stdout.write(
        f"and {len(samples) if isinstance(samples, tuple) else 0} service_samples_s (--json writes them)\n"
    )
    return 0


def _policy(text: str) -> str:
    if text in (KPA, RECORDED) or (text.startswith("hpa") and (text[3:].isdecimal() or not text[3:])):
        return text
    raise argparse.ArgumentTypeError(f"must be kpa, hpaPERCENT or recorded, was {text!r}")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number above 0, was {text!r}")
    return int(text)


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be finite and above 0, was {text}")
    return value
