"""`compare --target local` and `--target knative`: the same rows from real pods, one policy after the other."""

import argparse
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np

from autoscaler_tuning.commands.flags import Flags
from autoscaler_tuning.experiments.compare import Bounds, Comparison, bound_config, cost_per_1000_in_slo
from autoscaler_tuning.experiments.reaction import reaction_s
from autoscaler_tuning.live.live_run import LiveConfig, knobs_kept, live_run
from autoscaler_tuning.live.local_stack import KnativeRoute, StackConfig, StackError
from autoscaler_tuning.policies.registry import policy_named
from autoscaler_tuning.results import PolicyRow, PolicyRun
from knative.client import KnativeClient


def add_live(flags: Flags) -> None:
    """Flags that only live runs look at."""
    flags.add("--images", Path, Path("samples"), "live: photographs to send")
    flags.add("--model-dir", Path, Path("model"), "local: what function.tools.export wrote")
    flags.add("--log-dir", Path, Path(".run"), "live: logs of the processes")
    flags.add("--namespace", str, "default", "knative: of the Service")
    flags.add("--service", str, "resnet18", "knative: name of the Service")
    flags.add("--ml-service-url", str, None, "knative: address of its route or of the gateway")
    flags.add("--ml-service-host", str, "", "knative: its host name, where the address is a gateway's")


def live_runs(args: argparse.Namespace, comparison: Comparison, said: Callable[[str], None]) -> list[PolicyRun]:
    """By policy and then seed; comparison has the counts that are replayed. Raises StackError or KnativeError.

    A Knative Service's own knobs are back afterwards.
    """
    runs: list[PolicyRun] = []
    route = _route(args)
    with knobs_kept(KnativeClient(route.namespace), route.service) if route else nullcontext():
        for name in args.policies:
            for number_of_run in range(args.seeds):
                said(f"{name}, run {number_of_run}: {len(comparison.counts)} s")
                run, _ = live_run(policy_named(name, args.slo_s), _config(args, comparison, route, number_of_run))
                runs.append(replace(run, row=_completed(run, comparison)))
    return runs


def _config(args: argparse.Namespace, comparison: Comparison, route: KnativeRoute | None, run: int) -> LiveConfig:
    stack = StackConfig(
        max_pods=args.max_pods,
        slo_s=args.slo_s,
        pad_service_s=comparison.sim.service_time_s,
        model_dir=args.model_dir,
        log_dir=args.log_dir,
        route=route,
    )
    return LiveConfig(args.workload, args.images, args.from_s, len(comparison.counts), args.scale, run, stack)


def _route(args: argparse.Namespace) -> KnativeRoute | None:
    if args.target != "knative":
        return None
    if not args.ml_service_url:
        raise StackError("--target knative needs --ml-service-url, the address of the route or of the gateway", 2)
    return KnativeRoute(args.namespace, args.service, args.ml_service_url, args.ml_service_host)


def _completed(run: PolicyRun, comparison: Comparison) -> PolicyRow:
    """Bounds take the mean service time for each request, and the shortest start that was given."""
    service_s = np.full(len(run.intended_s), comparison.sim.service_time_s)
    sim = replace(comparison.sim, initial_pods=0)
    row = replace(
        run.row,
        reaction_s=reaction_s(comparison.counts, run.wanted_pods, comparison.sim.service_time_s),
        cost_per_1000_in_slo=cost_per_1000_in_slo(run.row, comparison.price_per_pod_hour),
    )
    return Bounds(run.intended_s, service_s, bound_config(sim), comparison.bounds).of(
        row, policy_named(row.policy).revision.zero_window_s
    )
