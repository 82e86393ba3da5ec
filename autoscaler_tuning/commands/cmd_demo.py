"""`demo`: sends one image at zero pods, then runs several autoscalers on the same traffic."""

import argparse
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from autoscaler_tuning.commands.flags import (
    Flags,
    add_local,
    list_policies,
    non_negative_integer,
    output_folder,
    policies,
    positive_integer,
)
from autoscaler_tuning.commands.terminal import terminal_width
from autoscaler_tuning.live.demo import DemoConfig, run_demo
from autoscaler_tuning.policies.registry import policy_named


def add(parser: argparse.ArgumentParser, env: Mapping[str, str]) -> None:
    """Add the flags of `demo`."""
    flags = Flags(parser, env)
    list_policies(parser)
    flags.add("--workload", Path, Path("workload.txt"), "file with the requests of each second")
    flags.add("--images", Path, Path("samples"), "folder of the images to send")
    flags.add("--photograph", Path, Path("samples/cat.jpg"), "image to send while there are no pods")
    flags.add("--out", output_folder, "report", "folder for index.html")
    flags.add(
        "--policies", policies, "kpa,hpa,elastic", "policies separated by commas, each NAME[setting=value,...]@ORDER"
    )
    flags.add(
        "--from-s",
        non_negative_integer,
        None,
        "first second of the workload in the live part (default: that of the most representative part)",
    )
    flags.add("--seconds", positive_integer, 75, "length of the live part, in seconds")
    flags.add("--max-pods", positive_integer, 8, "upper bound on the live pods")
    add_local(flags, pad_service_s="0.1")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    config = DemoConfig(
        workload=args.workload,
        images=args.images,
        photograph=args.photograph,
        out=args.out,
        model_dir=args.model_dir,
        log_dir=args.log_dir,
        policies=tuple(map(policy_named, args.policies)),
        from_s=args.from_s,
        seconds=args.seconds,
        max_pods=args.max_pods,
        pad_service_s=args.pad_service_s,
    )
    page = run_demo(config, partial(print, flush=True), terminal_width())
    print(f"\nreport with plots: {page}")
    return 0
