"""`advise`: shows what min-scale, tuned knobs and elastic would have cost on a Service's own traffic."""

import argparse
import json
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from autoscaler_tuning.commands.flags import (
    Flags,
    bounds,
    non_negative_integer,
    number,
    output_file,
    positive_integer,
    positive_number,
    url,
    urls,
)
from autoscaler_tuning.commands.live_comparison import recorded_runs
from autoscaler_tuning.commands.prediction import fitted_world
from autoscaler_tuning.commands.terminal import progress_line, terminal_width
from autoscaler_tuning.commands.world_flags import add_world, service_time_text, start_range, start_text, world_of
from autoscaler_tuning.experiments.advise import HOUR_S, LEAST_BLOCK_S, LEAST_BLOCKS, Advice, advise, warm
from autoscaler_tuning.experiments.compare import Comparison
from autoscaler_tuning.live.serve import read_key
from autoscaler_tuning.live.service_traffic import (
    SeenTraffic,
    Show,
    TrafficError,
    from_dispatchers,
    from_prometheus,
    from_queue_proxies,
)
from autoscaler_tuning.policies.elastic.config import ElasticConfig
from autoscaler_tuning.policies.kpa.knobs import KpaKnobs
from autoscaler_tuning.policies.registry import policy_named
from autoscaler_tuning.report.advice_table import advice_table
from autoscaler_tuning.report.tables import plain
from autoscaler_tuning.simulator.world import SimConfig
from knative.client import KnativeClient
from knative.errors import KnativeError
from knative.objects import AUTOSCALING_GROUP, Revision
from loadgen.workload.workload import read_workload

# Start and service times of a Service that nobody measured: those of this project's own pods on Knative.
DEFAULT_STARTS, DEFAULT_SERVICE_TIME_S = "2-6", (0.1, 0.1)
QUERY = "dispatcher_answers_total"
DAY_S = 24 * HOUR_S


def add(parser: argparse.ArgumentParser, env: Mapping[str, str]) -> None:
    """Add the flags of `advise`."""
    flags = Flags(parser, env)
    flags.add("--service", str, "resnet18", "Knative Service whose traffic is read, and which the kn lines name")
    flags.add("--namespace", str, "default", "its namespace")
    flags.add("--minutes", positive_number, 10.0, "how long the traffic is read, or how far back in Prometheus")
    flags.add(
        "--dispatcher", urls, None, "control ports of the Service's dispatchers (default: read its queue-proxies)"
    )
    flags.add("--dispatcher-key-file", Path, None, "file with the key of --control-key-file of the dispatchers")
    flags.add("--prometheus", url, None, "address of a Prometheus server to read the traffic from instead")
    flags.add("--query", str, QUERY, "PromQL of counters of requests")
    flags.add("--step-s", positive_number, 15.0, "time between two samples of Prometheus, in seconds")
    flags.add("--arrivals", Path, None, "file of arrivals to use instead, in any format that loadgen reads")
    flags.add("--from-s", non_negative_integer, 0, "first second of --arrivals to use")
    flags.add("--seconds", positive_integer, None, "number of seconds of --arrivals to use (default: all)")
    add_world(flags)
    for name in ("service_time_s", "cold_start_s", "initial_pods"):
        if name.upper() not in env:
            parser.set_defaults(**{name: None})  # so that what was seen is used unless the flag is given
    flags.add("--predict-from", recorded_runs, None, "recorded runs to fit start and service times to")
    flags.add("--seeds", positive_integer, 5, "number of simulations of each setting")
    flags.add("--price-per-pod-hour", number, 0.04, "price of an hour of a ready or starting pod, in any currency")
    price = ElasticConfig().late_price
    flags.add("--late-price", number, price, f"price of one late request, in pod-seconds; elastic uses {price:g}")
    flags.add("--bounds", bounds, "milp", "clairvoyant lower bound to show: lp, milp or none")
    flags.add("--json", output_file, None, "file for all results, as JSON")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    revision = live_revision(args)
    with progress_line(in_files=True) as progress:
        traffic = read_traffic(args, progress)
    if not sum(traffic.counts):
        raise TrafficError(f"the traffic must have at least one request to advise on, got none in {_length(traffic)}")
    if revision and revision.max_pods:
        args.max_pods = min(args.max_pods, revision.max_pods)
    is_warm = args.initial_pods is None
    world = _world(args, traffic)
    comparison = Comparison(traffic.counts, world, 0, args.price_per_pod_hour, args.bounds)
    if is_warm:
        comparison = warm(comparison)
    with progress_line() as progress:
        found = advise(comparison, args.seeds, args.late_price, progress)
    about = _about(traffic, world, args.predict_from)
    print(about)
    print("\n" + advice_table(found).text(terminal_width()))
    print("\n" + "\n".join(caveats(traffic, found)))
    print("\n" + "\n".join(_choices(found, args, present_knobs(revision) if revision else ())))
    if args.json:
        document = {"about": about, "counts": traffic.counts, "advice": [asdict(one) for one in found]}
        args.json.write_text(json.dumps(plain(document), indent=1) + "\n", encoding="utf-8")
    return 0


def read_traffic(args: argparse.Namespace, show: Show) -> SeenTraffic:
    """Return the traffic of the source that the flags name. Raises TrafficError, WorkloadError or KnativeError."""
    given = [flag for flag in ("arrivals", "prometheus", "dispatcher") if getattr(args, flag)]
    if len(given) > 1:
        raise TrafficError(f"one source of traffic must be given, got --{' and --'.join(given)}")
    if args.arrivals:
        workload = read_workload(args.arrivals).part(args.from_s, args.seconds)
        return SeenTraffic(workload.counts, args.arrivals.name)
    if args.prometheus:
        return from_prometheus(args.prometheus, args.query, args.minutes, args.step_s, time.time())
    if args.dispatcher:
        return from_dispatchers(
            args.dispatcher, read_key(args.dispatcher_key_file, "--dispatcher-key-file"), args.minutes, show
        )
    return from_queue_proxies(KnativeClient(args.namespace), args.service, args.minutes, show)


def _world(args: argparse.Namespace, traffic: SeenTraffic) -> SimConfig:
    """Return the simulator's settings: of a flag, else of a fitted run, else as measured, else the default."""
    start_s, service_s = args.cold_start_s, args.service_time_s
    measured_s = None if traffic.service_time_s is None else (traffic.service_time_s, traffic.service_time_s)
    args.cold_start_s = start_s or traffic.start_s or start_range(DEFAULT_STARTS)
    args.initial_pods = args.initial_pods or 0
    world = world_of(args, service_s or measured_s or DEFAULT_SERVICE_TIME_S)
    if args.predict_from:
        fitted = fitted_world(args.predict_from, args.slo_s, args.max_pods).sim
        world = replace(
            fitted,
            initial_pods=args.initial_pods,
            cold_start_s=start_s or fitted.cold_start_s,
            service_time_s=world.service_time_s if service_s else fitted.service_time_s,
            service_samples_s=world.service_samples_s if service_s else fitted.service_samples_s,
        )
    return world


def live_revision(args: argparse.Namespace) -> Revision | None:
    """Return the live Revision of the Service; None for traffic that needs no cluster, if none answers.

    Raises KnativeError if the traffic is to be read from the cluster.
    """
    if args.prometheus or args.arrivals:
        return None
    try:
        return KnativeClient(args.namespace).live_revision(args.service)
    except KnativeError:
        if args.dispatcher:
            return None
        raise


def present_knobs(revision: Revision) -> tuple[str, ...]:
    """Return the names of the knobs that a Revision has, which a kn line removes if it does not set them."""
    keys = {name: f"{AUTOSCALING_GROUP}/{name}" for name in KpaKnobs.names() if name != "max-scale"}
    return tuple(name for name, key in keys.items() if key in revision.annotations)


def kn_line(policy: str, service: str, present: Sequence[str]) -> str:
    """Return the command that gives the Service this setting, in a new Revision; present: knobs that it has now."""
    knobs = policy_named(policy).knobs or KpaKnobs()
    wanted = {**knobs.annotations(), "min-scale": str(knobs.min_scale)}
    words = ["kn service update", shlex.quote(service)]
    words += [f"--annotation-revision {AUTOSCALING_GROUP}/{name}={value}" for name, value in wanted.items()]
    words += [f"--annotation-revision {AUTOSCALING_GROUP}/{name}-" for name in present if name not in wanted]
    return " ".join(words)


def _choices(found: Sequence[Advice], args: argparse.Namespace, present: Sequence[str]) -> list[str]:
    """Return the cheapest setting at the price of late requests, and the command of each."""
    best = min(found, key=lambda one: one.cost_per_hour)
    lines = [f"Cheapest if a late request is worth {args.late_price:g} pod-seconds (--late-price): {best.policy}", ""]
    for one in found:
        lines.append(f"{one.policy}:\n  {kn_line(one.policy, args.service, present)}")
    lines.append(
        "elastic also needs the dispatcher in front of the Service, and the controller:\n"
        f"  python -m autoscaler_tuning control --target knative --service {shlex.quote(args.service)} "
        "--dispatcher http://DISPATCHER:8011"
    )
    return lines


def caveats(traffic: SeenTraffic, found: Sequence[Advice]) -> list[str]:
    """Return what the record cannot tell, as sentences."""
    lines = [
        f"The record covers {_length(traffic)}. The figures are what these settings would have done with exactly this "
        "traffic."
    ]
    if len(traffic.counts) < DAY_S:
        lines.append("It is shorter than a day, so it tells nothing about other hours, nights and weekends.")
    if len(traffic.counts) < LEAST_BLOCKS * LEAST_BLOCK_S:
        lines.append(f"It is too short for an interval, which needs {LEAST_BLOCKS * LEAST_BLOCK_S / 60:g} minutes.")
    else:
        lines.append("The intervals are 95 % intervals over blocks of the record, as if other hours were like it.")
    requests = sum(traffic.counts)
    if any(one.late_ratio.value == 0 for one in found):
        lines.append(
            f"No late request among {requests} still allows up to {300 / requests:.2g} % late (rule of three)."
        )
    if traffic.step_s > 1:
        lines.append(
            f"The source has a sample each {traffic.step_s:g} s, so shorter bursts are invisible and late requests are "
            "underestimated."
        )
    return lines


def _about(traffic: SeenTraffic, world: SimConfig, fitted_to: Sequence[Path] | None) -> str:
    measured = "measured" if traffic.service_time_s is not None else "not measured"
    origin = f"fitted to {fitted_to[0].name}" if fitted_to else measured
    return (
        f"{traffic.source}: {_length(traffic)}, {sum(traffic.counts)} requests, at most {max(traffic.counts)} in one "
        f"second; {service_time_text(world)} ({origin}), {start_text(world)}, SLO {world.slo_s:g} s, at most "
        f"{world.max_pods} pods."
    )


def _length(traffic: SeenTraffic) -> str:
    seconds = len(traffic.counts)
    return (
        f"{seconds} s"
        if seconds < 120
        else f"{seconds / 60:.0f} minutes"
        if seconds < 2 * HOUR_S
        else f"{seconds / HOUR_S:.1f} hours"
    )
