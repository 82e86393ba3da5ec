"""`control`: a policy scales live pods, or only looks on."""

import argparse
import logging
import sys
from collections.abc import Mapping
from pathlib import Path

from autoscaler_tuning.commands.flags import PROGRAM, Flags, add_local, number, target_among, url, urls, whole
from autoscaler_tuning.live.serve import ServeConfig, serve
from autoscaler_tuning.policies.registry import policy_named
from knative.ports import bind_failure


def add(parser: argparse.ArgumentParser, env: Mapping[str, str]) -> None:
    """Its flags."""
    flags = Flags(parser, env)
    flags.add("--target", target_among("local", "knative"), "local", "pods of this machine, or of a Knative Service")
    flags.add("--policy", str, "elastic", "who decides")
    flags.add("--dispatcher", urls, "http://127.0.0.1:8001", "dispatchers, separated by commas")
    flags.add("--host", str, "0.0.0.0", "address of its metrics")
    flags.add("--port", whole, 8002, "port of its metrics")
    flags.add("--max-pods", whole, 8, "never more than this")
    flags.add("--slo-s", number, 0.5, "an answer later than this is late")
    flags.add("--record", Path, None, "write a JSON line a second here")
    flags.add("--for-s", number, None, "stop after this time")
    flags.add("--namespace", str, "default", "of the Knative Service")
    flags.add("--service", str, "resnet18", "name of the Knative Service")
    parser.add_argument("--shadow", action="store_true", help="write nothing; export what the policy would have done")
    flags.add("--watch", url, "http://127.0.0.1:8002", "with --shadow on this machine: the controller that scales")
    add_local(flags)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        serve(
            ServeConfig(
                target=args.target,
                policy=policy_named(args.policy, args.slo_s),
                dispatchers=args.dispatcher,
                host=args.host,
                port=args.port,
                max_pods=args.max_pods,
                record=args.record,
                for_s=args.for_s,
                pad_service_s=args.pad_service_s,
                model_dir=args.model_dir,
                log_dir=args.log_dir,
                namespace=args.namespace,
                service=args.service,
                slo_s=args.slo_s,
                shadow=args.shadow,
                watch=args.watch,
            )
        )
    except OSError as error:
        print(f"{PROGRAM}: {bind_failure(args.host, args.port, error)}", file=sys.stderr)
        return 2
    return 0
