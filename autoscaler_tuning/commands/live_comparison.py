"""`compare --target local` and `--target knative`: runs the policies with real pods, one after the other."""

import argparse
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np

from autoscaler_tuning.commands.flags import Flags, output_folder
from autoscaler_tuning.experiments.compare import Bounds, Comparison, bound_config, cost_per_1000_in_slo
from autoscaler_tuning.experiments.reaction import reaction_s
from autoscaler_tuning.live.live_run import LiveConfig, live_run, restore_knobs
from autoscaler_tuning.live.local_stack import KnativeRoute, StackConfig, StackError
from autoscaler_tuning.policies.registry import policy_named
from autoscaler_tuning.results import PolicyRow, PolicyRun
from knative.client import KnativeClient


def add_live(flags: Flags) -> None:
    """Add the flags that only live runs use."""
    flags.add("--images", Path, Path("samples"), "live runs: folder of the images to send")
    flags.add("--model-dir", Path, Path("model"), "local pods: folder with the output of function.tools.export")
    flags.add("--log-dir", Path, Path(".run"), "live runs: folder for the logs of the processes")
    flags.add("--record-runs", output_folder, None, "live runs: folder for the recorded runs, which `validate` reads")
    flags.add("--namespace", str, "default", "Knative: namespace of the Service")
    flags.add("--service", str, "resnet18", "Knative: name of the Service")
    flags.add("--ml-service-url", str, None, "Knative: address of the Service's route, or of the gateway")
    flags.add("--ml-service-host", str, "", "Knative: host name of the Service, if the address is the gateway's")


def live_runs(args: argparse.Namespace, comparison: Comparison, progress: Callable[[str], None]) -> list[PolicyRun]:
    """Replay the counts of the comparison with real pods; return the runs, ordered by policy and then by seed.

    The knobs of a Knative Service are restored at the end.
    Raises StackError or KnativeError.
    """
    runs: list[PolicyRun] = []
    if args.record_runs:
        args.record_runs.mkdir(exist_ok=True)
    route = _route(args)
    with restore_knobs(KnativeClient(route.namespace), route.service) if route else nullcontext():
        for name in args.policies:
            for number_of_run in range(args.seeds):
                progress(f"{name}, run {number_of_run}: {len(comparison.counts)} s")
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
    return LiveConfig(
        args.workload, args.images, args.from_s, len(comparison.counts), args.scale, run, stack, args.record_runs
    )


def _route(args: argparse.Namespace) -> KnativeRoute | None:
    if args.target != "knative":
        return None
    if not args.ml_service_url:
        raise StackError(
            "--target knative needs --ml-service-url, the address of the Service's route or of the gateway", 2
        )
    return KnativeRoute(args.namespace, args.service, args.ml_service_url, args.ml_service_host)


def _completed(run: PolicyRun, comparison: Comparison) -> PolicyRow:
    """Return the row with bounds and reaction time; both assume the configured mean service time for each request."""
    service_s = np.full(len(run.intended_s), comparison.sim.service_time_s)
    sim = replace(comparison.sim, initial_pods=0)
    row = replace(
        run.row,
        reaction_s=reaction_s(comparison.counts, run.wanted_pods, comparison.sim.service_time_s),
        cost_per_1000_in_slo=cost_per_1000_in_slo(run.row, comparison.price_per_pod_hour),
    )
    return Bounds(run.intended_s, service_s, bound_config(sim), comparison.bounds).with_bounds(
        row, policy_named(row.policy).revision.zero_window_s
    )
