"""`demo`: one photograph from zero pods, then autoscalers on the same traffic."""

import argparse
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from autoscaler_tuning.commands.flags import Flags, add_local, number, policies, whole
from autoscaler_tuning.commands.terminal import terminal_width
from autoscaler_tuning.live.demo import DemoConfig, run_demo
from autoscaler_tuning.policies.registry import policy_named


def add(parser: argparse.ArgumentParser, env: Mapping[str, str]) -> None:
    """Its flags."""
    flags = Flags(parser, env)
    flags.add("--workload", Path, Path("workload.txt"), "requests per second")
    flags.add("--images", Path, Path("samples"), "photographs to send")
    flags.add("--photograph", Path, Path("samples/cat.jpg"), "the first one")
    flags.add("--out", Path, Path("report"), "folder of index.html")
    flags.add("--policies", policies, "kpa,hpa,elastic", "names separated by commas")
    flags.add("--from-s", int, 90, "second of the workload at which the live part starts")
    flags.add("--seconds", whole, 90, "length of the live part")
    flags.add("--max-pods", whole, 8, "live pods at the most")
    add_local(flags)
    parser.set_defaults(run=_run, pad_service_s=number(env.get("PAD_SERVICE_S", "0.1")))


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
    print(f"\nThe report with its plots: {page}")
    return 0
