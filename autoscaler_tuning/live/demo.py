"""The demo: one image from zero pods, then three autoscalers on the same traffic, live and simulated."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import requests

from autoscaler_tuning.experiments.compare import simulated_run
from autoscaler_tuning.live.direct import direct_session
from autoscaler_tuning.live.live_run import LiveConfig, live_run
from autoscaler_tuning.live.local_stack import LocalStack, StackConfig
from autoscaler_tuning.policies.registry import PolicySpec
from autoscaler_tuning.report.comparison_page import html_page
from autoscaler_tuning.report.comparison_plots import Section
from autoscaler_tuning.report.tables import rows_table
from autoscaler_tuning.results import PolicyRun
from autoscaler_tuning.simulator.world import SimConfig
from loadgen.workload.arrivals import arrival_times
from loadgen.workload.workload import Workload, read_workload

# CPU time of one request on this machine outside the pod: dispatcher, load generator, kernel.
OVERHEAD_CPU_S = 0.012
# Share of the cores that the replay may keep busy, so that the limit is the pods and not the cores.
CPU_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class DemoConfig:
    """Settings of the demo; its live part replays `seconds` of the workload from `from_s` on."""

    workload: Path
    images: Path
    photograph: Path
    out: Path
    model_dir: Path
    log_dir: Path
    policies: tuple[PolicySpec, ...]
    from_s: int = 90
    seconds: int = 90
    max_pods: int = 8
    pad_service_s: float = 0.1
    slo_s: float = 0.5
    seed: int = 0


Show = Callable[[str], None]


def run_demo(config: DemoConfig, show: Show, width: int | None = None) -> Path:
    """Run the demo and return the path of its report.

    show: prints one line of progress.
    width: width of the terminal; None means no limit.
    Raises StackError or WorkloadError.
    """
    workload = read_workload(config.workload)
    base = StackConfig(max_pods=config.max_pods, slo_s=config.slo_s, model_dir=config.model_dir, log_dir=config.log_dir)
    service_cpu_s = show_one_photograph(config, base, show)
    scale = fitting_scale(workload, config, service_cpu_s)
    live = _live_section(config, replace(base, pad_service_s=config.pad_service_s), scale, show)
    simulated = _simulated_section(config, workload, show)
    show(f"\nLive: {live.about}\nSimulated: {simulated.about}\n")
    show(rows_table([run.row for section in (live, simulated) for run in section.runs]).text(width))
    config.out.mkdir(parents=True, exist_ok=True)
    page = config.out / "index.html"
    page.write_text(html_page("Three autoscalers on the same traffic", [live, simulated]), encoding="utf-8")
    return page


def show_one_photograph(config: DemoConfig, stack: StackConfig, show: Show) -> float:
    """Send one image at zero pods, then a second one; return the CPU time of the second one in the pod, in seconds."""
    with LocalStack(stack) as running:
        show(f"dispatcher and controller are running with no pod; sending {config.photograph.name}")
        began_s = time.monotonic()
        response = _send(running.url, config.photograph)
        zero_to_response_s = time.monotonic() - began_s
        body = response.json()
        show(f"  {body['prediction']}   (model {body['model']['version']}, pod {response.headers['X-Pod']})")
        show(f"  from zero pods to the response: {zero_to_response_s:.2f} s")
        began_s = time.monotonic()
        again = _send(running.url, config.photograph)
        show(f"  next response, from the warm pod: {time.monotonic() - began_s:.3f} s")
        show(f"  timing inside the pod: {again.headers['Server-Timing']}")
        return min(1.0, again.elapsed.total_seconds())


def fitting_scale(workload: Workload, config: DemoConfig, service_cpu_s: float) -> float:
    """Return the factor on the rates, at most 1, with which the live part keeps at most CPU_SHARE of the cores busy."""
    peak_rps = max(workload.counts[config.from_s : config.from_s + config.seconds], default=0)
    cores = len(os.sched_getaffinity(0))
    return min(1.0, CPU_SHARE * cores / (max(1, peak_rps) * (service_cpu_s + OVERHEAD_CPU_S)))


def _send(url: str, photograph: Path) -> requests.Response:
    with photograph.open("rb") as image:
        response = direct_session().post(f"{url}/predict", files={"file": image}, timeout=60)
    response.raise_for_status()
    return response


def _live_section(config: DemoConfig, stack: StackConfig, scale: float, show: Show) -> Section:
    runs: list[PolicyRun] = []
    for spec in config.policies:
        show(f"live: {config.seconds} s of {config.workload.name} under {spec.name} ...")
        live = LiveConfig(config.workload, config.images, config.from_s, config.seconds, scale, config.seed, stack)
        run, _ = live_run(spec, live)
        runs.append(run)
        show(f"  {100 * run.row.late_ratio:.2f} % late, {run.row.lost} lost, {run.row.pod_seconds:.0f} pod-seconds")
    about = (
        f"{config.seconds} s of {config.workload.name} from second {config.from_s} on at {scale:.2f} times its rates, "
        f"with real pods on this machine (0 at the start, at most {config.max_pods}). Each request takes at least "
        f"{config.pad_service_s:g} s in a pod (--pad-service-s), so that the limit is the pods and not the cores; "
        f"SLO {config.slo_s:g} s."
    )
    return Section("Live pods on this machine", about, config.slo_s, tuple(runs))


def _simulated_section(config: DemoConfig, workload: Workload, show: Show) -> Section:
    arrivals_s = np.asarray(arrival_times(workload.counts, "count", config.seed))
    sim = SimConfig(service_time_s=config.pad_service_s, slo_s=config.slo_s)
    runs: list[PolicyRun] = []
    for spec in config.policies:
        began_s = time.monotonic()
        runs.append(simulated_run(spec, arrivals_s, sim, config.seed))
        show(f"simulated: all of {config.workload.name} under {spec.name}, {time.monotonic() - began_s:.1f} s")
    about = (
        f"all {workload.duration_s} s of {config.workload.name}, with at most {sim.max_pods} pods that start in "
        f"{sim.cold_start_s[0]:g} to {sim.cold_start_s[1]:g} s and take {sim.service_time_s:g} s, all of it CPU time, "
        f"for one request. The last pod stops after Knative's stable window and grace period; SLO {config.slo_s:g} s."
    )
    return Section("Simulated, the whole workload", about, config.slo_s, tuple(runs))
