"""`up` and `down`: start and stop dispatcher and controller on this machine."""

import argparse
import os.path
import shlex
from collections.abc import Mapping
from pathlib import Path

from autoscaler_tuning.commands.flags import Flags, add_local, list_policies, positive_integer
from autoscaler_tuning.live import local_stack as stack
from autoscaler_tuning.live.local_stack import StackConfig
from autoscaler_tuning.policies.registry import policy_named

CONTROL_PORT = 8011
# Variables that make curl use a proxy for http:// addresses.
PROXIES = ("http_proxy", "all_proxy", "ALL_PROXY")


def add_up(parser: argparse.ArgumentParser, env: Mapping[str, str]) -> None:
    """Add the flags of `up`."""
    flags = Flags(parser, env)
    list_policies(parser)
    flags.add("--policy", str, "elastic", "policy, as NAME[setting=value,...]@ORDER")
    flags.add("--max-pods", positive_integer, 8, "upper bound on the pods")
    flags.add("--port", positive_integer, 8001, "port of the dispatcher")
    flags.add("--control-port", positive_integer, CONTROL_PORT, "port on which the dispatcher serves the controller")
    flags.add("--controller-port", positive_integer, 8002, "port on which the controller serves metrics")
    parser.add_argument(
        "--tuner-port", type=positive_integer, dest="controller_port", default=argparse.SUPPRESS, help=argparse.SUPPRESS
    )  # the name until 0.1
    add_local(flags)
    proxied = any(env.get(name) for name in PROXIES)
    parser.set_defaults(run=lambda args: _up(args, proxied))


def add_down(parser: argparse.ArgumentParser, env: Mapping[str, str]) -> None:
    """Add the flags of `down`."""
    Flags(parser, env).add("--log-dir", Path, Path(".run"), "folder with the state that `up` wrote")
    parser.set_defaults(run=_down)


def _up(args: argparse.Namespace, proxied: bool) -> int:
    config = StackConfig(
        policy=args.policy,
        order=policy_named(args.policy).order,
        max_pods=args.max_pods,
        pad_service_s=args.pad_service_s,
        model_dir=args.model_dir,
        log_dir=args.log_dir,
        dispatcher_host=stack.loopback_addresses(args.port),
        dispatcher_port=args.port,
        # only the controller that `up` starts needs to know it, so another dispatcher on 8011 is no obstacle
        control_port=stack.free_or_other(CONTROL_PORT) if args.control_port == CONTROL_PORT else args.control_port,
        controller_port=args.controller_port,
        journal=args.log_dir / "journal.sqlite3",
    )
    url = stack.up(config)
    print(f"ready, with no pod yet; try: {curl_line(url, proxied)}")
    print(f"the live page: http://127.0.0.1:{config.controller_port}/")
    return 0


def curl_line(url: str, proxied: bool) -> str:
    """Return a command that works as it is printed: from any folder, and where the environment names a proxy."""
    photograph = os.path.relpath(stack.ROOT / "samples" / "cat.jpg")
    direct = ["--noproxy", "*"] if proxied else []
    return shlex.join(["curl", *direct, "-F", f"file=@{photograph}", f"{url.removeprefix('http://')}/add_to_queue"])


def _down(args: argparse.Namespace) -> int:
    stopped = stack.down(args.log_dir)
    print(f"stopped {stopped} process{'' if stopped == 1 else 'es'}" if stopped else "nothing to stop")
    return 0
