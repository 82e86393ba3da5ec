"""The command line: parses and calls, nothing else."""

import argparse
import csv
import json
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from autoscaler_tuning import commands_validate, conformance, stack
from autoscaler_tuning.compare import simulated_run
from autoscaler_tuning.conformance import VectorsError
from autoscaler_tuning.demo import DemoConfig, run_demo
from autoscaler_tuning.policies import PolicySpec, UnknownPolicyError, policy_named
from autoscaler_tuning.recorded import RecordedError
from autoscaler_tuning.report import Section, html_page, rows_as_dicts, text_table
from autoscaler_tuning.results import Row
from autoscaler_tuning.serve import ServeConfig, serve
from autoscaler_tuning.simulator.world import SimConfig, SimulationError
from autoscaler_tuning.stack import StackConfig, StackError
from knative.errors import KnativeError
from loadgen.arrivals import arrival_times
from loadgen.workload import WorkloadError, read_workload

PROGRAM = "autoscaler_tuning"


class Flags:
    """Adds flags whose defaults can be set by the environment variable of the same name: --max-pods by MAX_PODS."""

    def __init__(self, parser: argparse.ArgumentParser, env: Mapping[str, str]) -> None:
        self._parser, self._env = parser, env

    def add(self, flag: str, parse: Callable[[str], object], default: object, about: str) -> None:
        """A string default goes through parse as well, as argparse has it."""
        given = self._env.get(flag.lstrip("-").replace("-", "_").upper(), default)
        self._parser.add_argument(flag, type=parse, default=given, metavar=parse.__name__.upper(), help=about)


def number(text: str) -> float:
    """A finite number that is not negative."""
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be finite and not negative, was {text}")
    return value


def whole(text: str) -> int:
    """A whole number above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number above 0, was {text!r}")
    return int(text)


def span(text: str) -> tuple[float, float]:
    """`4`, or `2-6` for anything from 2 to 6."""
    least, _, most = text.partition("-")
    return number(least), number(most or least)


def urls(text: str) -> tuple[str, ...]:
    """Addresses separated by commas."""
    found = tuple(url.strip() for url in text.split(",") if url.strip())
    if not found or not all(url.startswith(("http://", "https://")) for url in found):
        raise argparse.ArgumentTypeError(f"must be http:// or https:// addresses separated by commas, was {text!r}")
    return found


def policies(text: str) -> tuple[PolicySpec, ...]:
    """Names separated by commas."""
    try:
        return tuple(policy_named(name.strip()) for name in text.split(","))
    except UnknownPolicyError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def build_parser(env: Mapping[str, str]) -> argparse.ArgumentParser:
    """All subcommands; defaults come from env where a variable is set."""
    parser = argparse.ArgumentParser(prog=PROGRAM, description="Decide how many pods, and compare who decides best.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_conformance(commands.add_parser("conformance", help="check the ports of KPA and HPA against vectors"))
    _add_compare(commands.add_parser("compare", help="simulate policies on a workload"), env)
    _add_control(commands.add_parser("control", help="scale live pods"), env)
    _add_demo(
        commands.add_parser("demo", help="a photograph from zero, then three autoscalers, live and simulated"), env
    )
    _add_up(commands.add_parser("up", help="start dispatcher and controller on this machine"), env)
    commands_validate.add_commands(commands)
    down = commands.add_parser("down", help="stop what `up` started")
    Flags(down, env).add("--log-dir", Path, Path(".run"), "where `up` left its state")
    down.set_defaults(run=_down)
    return parser


def _add_conformance(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="vectors, .json.gz")
    parser.set_defaults(run=_conformance)


def _add_compare(parser: argparse.ArgumentParser, env: Mapping[str, str]) -> None:
    flags = Flags(parser, env)
    flags.add("--workload", Path, Path("workload.txt"), "requests per second")
    flags.add("--policies", policies, "kpa,hpa,elastic", "names separated by commas")
    flags.add("--service-time-s", number, 0.1, "mean time in a pod")
    flags.add("--cold-start-s", span, "2-6", "time from decision to ready, one number or a uniform range")
    flags.add("--slo-s", number, 0.5, "an answer later than this is late")
    flags.add("--seeds", whole, 1, "how many seeds, from 0")
    flags.add("--initial-pods", int, 0, "pods that are ready at the start")
    flags.add("--max-pods", whole, 40, "bound of every policy")
    flags.add("--json", Path, None, "write the rows here")
    flags.add("--csv", Path, None, "write the rows here")
    flags.add("--html", Path, None, "write one page with plots here")
    parser.set_defaults(run=_compare)


def _add_control(parser: argparse.ArgumentParser, env: Mapping[str, str]) -> None:
    flags = Flags(parser, env)
    parser.add_argument("--target", choices=("local", "knative"), default=env.get("TARGET", "local"))
    flags.add("--policy", str, "elastic", "who decides")
    flags.add("--dispatcher", urls, "http://127.0.0.1:8001", "dispatchers, separated by commas")
    flags.add("--port", whole, 8002, "port of its metrics")
    flags.add("--max-pods", whole, 8, "never more than this")
    flags.add("--slo-s", number, 0.5, "an answer later than this is late")
    flags.add("--record", Path, None, "write a JSON line a second here")
    flags.add("--for-s", number, None, "stop after this time")
    flags.add("--namespace", str, "default", "of the Knative Service")
    flags.add("--service", str, "resnet18", "name of the Knative Service")
    _add_local(flags)
    parser.set_defaults(run=_control)


def _add_local(flags: Flags) -> None:
    flags.add("--pad-service-s", number, 0.0, "hold each request at least this long in the pod, for experiments")
    flags.add("--model-dir", Path, Path("model"), "what function.export wrote")
    flags.add("--log-dir", Path, Path(".run"), "logs of the processes")


def _add_demo(parser: argparse.ArgumentParser, env: Mapping[str, str]) -> None:
    flags = Flags(parser, env)
    flags.add("--workload", Path, Path("workload.txt"), "requests per second")
    flags.add("--images", Path, Path("samples"), "photographs to send")
    flags.add("--photograph", Path, Path("samples/cat.jpg"), "the first one")
    flags.add("--out", Path, Path("report"), "folder of index.html")
    flags.add("--policies", policies, "kpa,hpa,elastic", "names separated by commas")
    flags.add("--from-s", int, 90, "second of the workload at which the live part starts")
    flags.add("--seconds", whole, 90, "length of the live part")
    flags.add("--max-pods", whole, 8, "live pods at the most")
    _add_local(flags)
    parser.set_defaults(run=_demo, pad_service_s=number(env.get("PAD_SERVICE_S", "0.1")))


def _add_up(parser: argparse.ArgumentParser, env: Mapping[str, str]) -> None:
    flags = Flags(parser, env)
    flags.add("--policy", str, "elastic", "who decides")
    flags.add("--max-pods", whole, 8, "never more than this")
    flags.add("--port", whole, 8001, "port of the dispatcher")
    flags.add("--tuner-port", whole, 8002, "port of the controller's metrics")
    _add_local(flags)
    parser.set_defaults(run=_up)


def _conformance(args: argparse.Namespace) -> int:
    agreed = True
    for path in args.files:
        for line, agrees in conformance.lines(path):
            print(line)
            agreed = agreed and agrees
    return 0 if agreed else 1


def _compare(args: argparse.Namespace) -> int:
    workload = read_workload(args.workload)
    sim = SimConfig(
        service_time_s=args.service_time_s,
        cold_start_s=args.cold_start_s,
        slo_s=args.slo_s,
        initial_pods=args.initial_pods,
        max_pods=args.max_pods,
    )
    runs = []
    for seed in range(args.seeds):
        arrivals_s = np.asarray(arrival_times(workload.counts, "count", seed))
        runs += [simulated_run(spec, arrivals_s, sim, seed) for spec in args.policies]
    rows = [run.row for run in runs]
    print(text_table(rows))
    _write_rows(args, rows)
    if args.html:
        about = f"{args.workload.name}: {workload.duration_s} s, {sum(workload.counts)} requests; plots show seed 0."
        section = Section("Simulated", about, args.slo_s, tuple(runs[: len(args.policies)]))
        args.html.write_text(html_page("Policies on the same arrivals", [section]), encoding="utf-8")
    return 0


def _write_rows(args: argparse.Namespace, rows: Sequence[Row]) -> None:
    dicts = rows_as_dicts(rows)
    if args.json:
        args.json.write_text(json.dumps(dicts, indent=1), encoding="utf-8")
    if args.csv:
        with args.csv.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(dicts[0]))
            writer.writeheader()
            writer.writerows(dicts)


def _control(args: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        serve(
            ServeConfig(
                target=args.target,
                policy=policy_named(args.policy, args.slo_s),
                dispatchers=args.dispatcher,
                port=args.port,
                max_pods=args.max_pods,
                record=args.record,
                for_s=args.for_s,
                pad_service_s=args.pad_service_s,
                model_dir=args.model_dir,
                log_dir=args.log_dir,
                namespace=args.namespace,
                service=args.service,
            )
        )
    except OSError as error:
        print(f"{PROGRAM}: port {args.port} cannot be had: {stack.port_holder(args.port)} ({error})", file=sys.stderr)
        return 2
    return 0


def _demo(args: argparse.Namespace) -> int:
    config = DemoConfig(
        workload=args.workload,
        images=args.images,
        photograph=args.photograph,
        out=args.out,
        model_dir=args.model_dir,
        log_dir=args.log_dir,
        policies=args.policies,
        from_s=args.from_s,
        seconds=args.seconds,
        max_pods=args.max_pods,
        pad_service_s=args.pad_service_s,
    )
    page = run_demo(config, partial(print, flush=True))
    print(f"\nThe report with its plots: {page}")
    return 0


def _up(args: argparse.Namespace) -> int:
    config = StackConfig(
        policy=args.policy,
        order=policy_named(args.policy).order,
        max_pods=args.max_pods,
        pad_service_s=args.pad_service_s,
        model_dir=args.model_dir,
        log_dir=args.log_dir,
        dispatcher_port=args.port,
        tuner_port=args.tuner_port,
    )
    url = stack.up(config)
    print(f"ready, with no pod yet; try: curl -F file=@samples/cat.jpg {url.removeprefix('http://')}/add_to_queue")
    return 0


def _down(args: argparse.Namespace) -> int:
    stopped = stack.down(args.log_dir)
    print(f"stopped {stopped} processes" if stopped else "nothing to stop")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, call, print; returns the exit status: 2 for bad input, 1 for a failure, 130 when interrupted."""
    args = build_parser(os.environ).parse_args(argv)
    try:
        return int(args.run(args))
    except (
        WorkloadError,
        UnknownPolicyError,
        SimulationError,
        VectorsError,
        RecordedError,
        FileNotFoundError,
    ) as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 2
    except StackError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return error.status
    except KnativeError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{PROGRAM}: interrupted; everything it started is stopped", file=sys.stderr)
        return 130
