"""`up` and `down`: the stack of this machine, for as long as somebody wants it."""

import argparse
from collections.abc import Mapping
from pathlib import Path

from autoscaler_tuning.commands.flags import Flags, add_local, whole
from autoscaler_tuning.live import local_stack as stack
from autoscaler_tuning.live.local_stack import StackConfig
from autoscaler_tuning.policies.registry import policy_named


def add_up(parser: argparse.ArgumentParser, env: Mapping[str, str]) -> None:
    """Its flags."""
    flags = Flags(parser, env)
    flags.add("--policy", str, "elastic", "who decides")
    flags.add("--max-pods", whole, 8, "never more than this")
    flags.add("--port", whole, 8001, "port of the dispatcher")
    flags.add("--controller-port", whole, 8002, "port of the controller's metrics")
    add_local(flags)
    parser.set_defaults(run=_up)


def add_down(parser: argparse.ArgumentParser, env: Mapping[str, str]) -> None:
    """Its flags."""
    Flags(parser, env).add("--log-dir", Path, Path(".run"), "where `up` left its state")
    parser.set_defaults(run=_down)


def _up(args: argparse.Namespace) -> int:
    config = StackConfig(
        policy=args.policy,
        order=policy_named(args.policy).order,
        max_pods=args.max_pods,
        pad_service_s=args.pad_service_s,
        model_dir=args.model_dir,
        log_dir=args.log_dir,
        dispatcher_port=args.port,
        controller_port=args.controller_port,
    )
    url = stack.up(config)
    print(f"ready, with no pod yet; try: curl -F file=@samples/cat.jpg {url.removeprefix('http://')}/add_to_queue")
    return 0


def _down(args: argparse.Namespace) -> int:
    stopped = stack.down(args.log_dir)
    print(f"stopped {stopped} processes" if stopped else "nothing to stop")
    return 0
