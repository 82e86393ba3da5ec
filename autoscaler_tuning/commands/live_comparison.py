"""`compare --target local` and `--target knative`: runs the policies with real pods, in turn."""

import argparse
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import FrameType

import numpy as np

from autoscaler_tuning.commands.flags import Flags, output_folder, positive_number
from autoscaler_tuning.commands.prediction import FittedWorld, fitted_world, predictions
from autoscaler_tuning.experiments.compare import Bounds, Comparison, bound_config, cost_per_1000_in_slo
from autoscaler_tuning.experiments.live_summary import LiveRow, live_row
from autoscaler_tuning.experiments.reaction import reaction_s
from autoscaler_tuning.live.live_run import LiveConfig, live_run, restore_knobs, slow_starts
from autoscaler_tuning.live.local_stack import KnativeRoute, StackConfig, StackError
from autoscaler_tuning.live.replay import Show
from autoscaler_tuning.policies.registry import PolicySpec, policy_named
from autoscaler_tuning.results import PolicyRow, PolicyRun
from knative.client import KnativeClient

# Without --pod-start-s, this share of all starts is at most as long as the nominal one: those that had no company.
UNDISTURBED_RATIO = 0.1

RunOnce = Callable[[PolicySpec, LiveConfig, Show], tuple[PolicyRun, float]]


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
    flags.add(
        "--pod-start-s",
        positive_number,
        None,
        "live runs: nominal start time of a pod; a run in which half of the pods take over twice as long is marked "
        "INVALID (default: the shortest tenth of the starts of this comparison)",
    )
    flags.add(
        "--max-lag-ms",
        positive_number,
        5.0,
        "live runs: highest p99 send lag of the load generator, in milliseconds; a run above it is marked INVALID",
    )
    flags.add(
        "--predict-from",
        recorded_runs,
        None,
        "live runs: recorded runs, separated by commas, to fit the simulator to; its prediction is shown beside each "
        "row. The CPU use of pods for hpaN comes from a run of hpaN among them",
    )
    flags.add(
        "--metrics-resolution-s",
        positive_number,
        15.0,
        "with --predict-from and hpaN: time between two CPU measurements of the cluster, in seconds",
    )
    flags.switch(
        "--vary-arrivals", "live runs: draw the arrival times of each run anew (default: the same in all runs)"
    )


def fitted(args: argparse.Namespace) -> FittedWorld | None:
    """Return the world of --predict-from; None without it. Raises RecordedError."""
    if not args.predict_from:
        return None
    return fitted_world(args.predict_from, args.slo_s, args.max_pods, args.metrics_resolution_s)


def live_rows(runs: Sequence[PolicyRun], slo_s: float, world: FittedWorld | None) -> list[LiveRow]:
    """Return the rows of live runs, with the prediction for the arrivals of each run if there is a fitted world."""
    found = predictions(world, [(run.row.policy, run.intended_s) for run in runs]) if world else [None] * len(runs)
    return [live_row(run, slo_s, one) for run, one in zip(runs, found, strict=True)]


def recorded_runs(text: str) -> tuple[Path, ...]:
    """Parse the paths of recorded runs separated by commas; a missing one is an error before a long run."""
    paths = tuple(Path(part.strip()) for part in text.split(",") if part.strip())
    for path in paths:
        if not path.is_file():
            raise argparse.ArgumentTypeError(f"must be recorded runs separated by commas, got no file {str(path)!r}")
    return paths


def live_runs(
    args: argparse.Namespace, comparison: Comparison, progress: Show, run_once: RunOnce = live_run
) -> list[PolicyRun]:
    """Replay the counts of the comparison with real pods; return the runs, ordered by policy and then by run.

    The policies run in turn, so that a change of the machine meets all alike. The knobs of a Knative Service are
    restored at the end, and after SIGINT or SIGTERM. Raises StackError or KnativeError.
    """
    if args.record_runs:
        args.record_runs.mkdir(exist_ok=True)
    route = _route(args)
    runs: list[PolicyRun] = []
    restored = restore_knobs(KnativeClient(route.namespace), route.service) if route else nullcontext()
    with stopping_once(progress), restored:
        for number in range(args.seeds):
            for name in args.policies:
                label = f"{name}, run {number + 1} of {args.seeds}"
                progress(f"{label}: {len(comparison.counts)} s, waiting for zero pods")
                config = _config(args, comparison, route, number)
                run, _ = run_once(policy_named(name, args.slo_s), config, _labelled(label, progress))
                runs.append(run)
                progress(f"{label}: {_outcome(run.row)}")
    runs.sort(key=lambda run: args.policies.index(run.row.policy))  # stable, so each policy keeps its runs in order
    return [replace(run, row=_completed(run, comparison)) for run in judged(runs, args.pod_start_s)]


def judged(runs: Sequence[PolicyRun], nominal_s: float | None) -> list[PolicyRun]:
    """Return the runs, with a note on those whose pods started too slowly for a nominal start.

    nominal_s: None takes the shortest tenth of all starts.
    """
    all_s = [start_s for run in runs for start_s in run.live.starts_s]
    if nominal_s is None:
        nominal_s = float(np.quantile(all_s, UNDISTURBED_RATIO)) if all_s else 0.0
    found = []
    for run in runs:
        slow = slow_starts(run.live.starts_s, nominal_s)
        notes = (*run.row.notes, *([slow] if slow else []))
        found.append(replace(run, row=replace(run.row, notes=notes)))
    return found


@contextmanager
def stopping_once(show: Show) -> Iterator[None]:
    """Raise KeyboardInterrupt at the first SIGINT or SIGTERM in the with block, and ignore later ones: it restores."""
    numbers = (signal.SIGINT, signal.SIGTERM)

    def stop(number: int, frame: FrameType | None) -> None:
        for one in numbers:
            signal.signal(one, signal.SIG_IGN)
        show("stopping: pods, processes and the knobs of the Service are being restored, which takes up to a minute")
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _labelled(label: str, progress: Show) -> Show:
    return lambda text: progress(f"{label}: {text}")


def _outcome(row: PolicyRow) -> str:
    notes = "".join(f"; {note}" for note in row.notes)
    return f"{row.late} of {row.requests} late, {row.lost} lost, {row.pod_seconds:.0f} pod-seconds{notes}"


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
        workload=args.workload,
        images=args.images,
        from_s=args.from_s,
        seconds=len(comparison.counts),
        scale=args.scale,
        seed=run if args.vary_arrivals else 0,
        stack=stack,
        record_to=args.record_runs,
        run=run,
        max_lag_ms=args.max_lag_ms,
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
    bounds = Bounds(run.intended_s, service_s, bound_config(sim), comparison.bounds)
    return bounds.with_bounds(row, policy_named(row.policy).revision)
