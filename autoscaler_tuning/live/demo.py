"""The demo: one image from zero pods, then three autoscalers on the same traffic, live and simulated."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import requests

from autoscaler_tuning.experiments.compare import simulated_run
from autoscaler_tuning.experiments.representative import RULE, representative_part
from autoscaler_tuning.live.direct import direct_session
from autoscaler_tuning.live.live_run import LiveConfig, live_run
from autoscaler_tuning.live.local_stack import LocalStack, StackConfig, StackError
from autoscaler_tuning.live.run_recording import file_name
from autoscaler_tuning.policies.registry import PolicySpec
from autoscaler_tuning.report.comparison_page import html_page
from autoscaler_tuning.report.comparison_plots import Section
from autoscaler_tuning.report.headline import LIVE, SIMULATED, Headline, differences, headline, of_row
from autoscaler_tuning.report.tables import rows_table
from autoscaler_tuning.results import PolicyRun
from autoscaler_tuning.simulator.world import SimConfig
from loadgen.workload.arrivals import arrival_times
from loadgen.workload.workload import Workload, WorkloadError, read_workload

# CPU time of one request on this machine outside the pod: dispatcher, load generator, kernel.
OVERHEAD_CPU_S = 0.012
# Share of the cores that the replay may keep busy, so that the limit is the pods and not the cores.
CPU_SHARE = 0.5
# Requests to the warm pod whose shortest time is taken as the CPU time of one: other work on the machine only adds.
WARM_REQUESTS = 5
OURS = "elastic"
TITLE = "Autoscalers on the same traffic"


@dataclass(frozen=True, slots=True)
class DemoConfig:
    """Settings of the demo.

    from_s, seconds: part of the workload that is replayed live; from_s None means the representative one.
    """

    workload: Path
    images: Path
    photograph: Path
    out: Path
    model_dir: Path
    log_dir: Path
    policies: tuple[PolicySpec, ...]
    from_s: int | None = None
    seconds: int = 75
    max_pods: int = 8
    pad_service_s: float = 0.1
    slo_s: float = 0.5
    seed: int = 0


Show = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class LivePart:
    """The part of the workload that is replayed live, at `scale` times its rates; why: how it was chosen."""

    from_s: int
    seconds: int
    scale: float
    why: str


def run_demo(config: DemoConfig, show: Show, width: int | None = None) -> Path:
    """Run the demo and return the path of its report.

    show: prints one line of progress.
    width: width of the terminal; None means no limit.
    Raises StackError or WorkloadError.
    """
    workload = read_workload(config.workload)
    chosen_part(workload, config)  # a bad part is an error before anything starts
    base = StackConfig(max_pods=config.max_pods, slo_s=config.slo_s, model_dir=config.model_dir, log_dir=config.log_dir)
    service_cpu_s = show_one_photograph(config, base, show)
    part = chosen_part(workload, config, service_cpu_s)
    show(f"\nThe live part is {part.why}.")
    live = _live_section(config, replace(base, pad_service_s=config.pad_service_s), part, show)
    world = pods_as_here(config, service_cpu_s, live.runs)
    same = [
        simulated_run(spec, live.runs[0].intended_s, replace(world, max_pods=config.max_pods), config.seed)
        for spec in config.policies
    ]
    simulated = _simulated_section(config, workload, world, show)
    answer = demo_headline(live.runs, same, simulated.runs, part.seconds)
    show(f"\nLive: {live.about}\nSimulated: {simulated.about}\n")
    for section in (live, simulated):
        show(f"{section.title}\n{rows_table([run.row for run in section.runs]).text(width)}\n")
    show("\n".join((f"{answer.title}.", *(f"  {sentence}" for sentence in answer.sentences))))
    config.out.mkdir(parents=True, exist_ok=True)
    page = config.out / "index.html"
    page.write_text(html_page(TITLE, answer, [live, simulated]), encoding="utf-8")
    return page


def chosen_part(workload: Workload, config: DemoConfig, service_cpu_s: float = 0.0) -> LivePart:
    """Return the part of the workload to replay live; raise WorkloadError if it has no request."""
    if config.from_s is None:
        found = representative_part(workload.counts, config.seconds)
        from_s, rule = found.from_s, f"of all parts of this length, the one whose {RULE}"
    else:
        from_s, rule = config.from_s, "as asked by --from-s, so it may not be representative"
    counts = workload.part(from_s, config.seconds).counts
    scale = fitting_scale(counts, service_cpu_s)
    if not sum(workload.part(from_s, config.seconds).scaled(scale).counts):
        raise WorkloadError(f"the live part must have requests, got none in {len(counts)} s from second {from_s} on")
    mean, whole = np.mean(counts), np.mean(workload.counts)
    why = (
        f"{len(counts)} s of {config.workload.name} from second {from_s} on: {rule}; "
        f"mean {mean:.1f} requests/s, of the whole {whole:.1f}"
    )
    return LivePart(from_s, len(counts), scale, why)


def pods_as_here(config: DemoConfig, service_cpu_s: float, runs: Sequence[PolicyRun]) -> SimConfig:
    """Return the simulator's settings for pods that start as those of the live runs did.

    A request takes the padded time even where other work made the real ones slower: the simulation of the whole shall
    not inherit that, and the live part is compared with its own simulation to show it.
    """
    starts_s = tuple(start_s for run in runs for start_s in run.live.starts_s if start_s > 0)
    service_time_s = config.pad_service_s or service_cpu_s
    return SimConfig(
        service_time_s=service_time_s,
        slo_s=config.slo_s,
        cold_start_samples_s=starts_s,
        cpu_per_request_s=min(service_cpu_s, service_time_s),
    )


def demo_headline(
    live: Sequence[PolicyRun], same: Sequence[PolicyRun], whole: Sequence[PolicyRun], seconds: int
) -> Headline:
    """Return who wins live and in the simulated whole, and why the two differ if they do.

    same: simulations of the live part.
    """
    ones, middle, others = ([of_row(run.row) for run in runs] for runs in (live, same, whole))
    real, model = headline(ones, OURS, LIVE), headline(others, OURS, SIMULATED)
    named = (ones, LIVE, "the live part"), (middle, SIMULATED, "its simulation"), (others, SIMULATED, "the whole")
    sentences = [*(f"Live: {sentence}" for sentence in real.sentences)]
    sentences += [f"Simulated, the whole workload: {sentence}" for sentence in model.sentences]
    if not (found := differences(named[0], named[2])):
        sentences.append("Live and simulated agree in the order of the policies.")
    else:
        gap = differences(named[0], named[1])
        why = (
            f"The simulation of the same {seconds} s differs from the live runs too ({'; '.join(gap)}), so the cause "
            "is this machine and not the part"
            if gap
            else f"The simulation of the same {seconds} s has the order of the live runs, so the cause is the part: it "
            "is short, starts from zero pods, and is sent at rates that this machine can serve"
        )
        sentences.append(f"Live and simulated differ: {'; '.join(found)}. {why}.")
    return Headline(f"Live, {real.title}. Simulated, {model.title}", tuple(sentences))


def show_one_photograph(config: DemoConfig, stack: StackConfig, show: Show) -> float:
    """Send one image at zero pods, then more to the warm pod; return the least time of those, about their CPU time."""
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
        warm_s = [_send(running.url, config.photograph).elapsed.total_seconds() for _ in range(WARM_REQUESTS)]
        return min(1.0, again.elapsed.total_seconds(), *warm_s)


def fitting_scale(counts: Sequence[int], service_cpu_s: float) -> float:
    """Return the factor on the rates, at most 1, with which the live part keeps at most CPU_SHARE of the cores busy."""
    peak_rps = max(counts, default=0)
    cores = len(os.sched_getaffinity(0))
    return min(1.0, CPU_SHARE * cores / (max(1, peak_rps) * (service_cpu_s + OVERHEAD_CPU_S)))


def _send(url: str, photograph: Path) -> requests.Response:
    """Send an image; raise StackError if it cannot be read or is not answered with 200."""
    try:
        with photograph.open("rb") as image:
            response = direct_session().post(f"{url}/predict", files={"file": image}, timeout=60)
    except requests.RequestException as error:
        raise StackError(f"{url}/predict did not answer {photograph}: {error}") from error
    except OSError as error:
        raise StackError(f"cannot read {photograph}: {error.strerror}", status=2) from error
    if response.status_code != requests.codes.ok:
        answer = response.text.strip()[:200]
        raise StackError(f"{url}/predict must answer {photograph} with 200, got {response.status_code}: {answer}")
    return response


def _live_section(config: DemoConfig, stack: StackConfig, part: LivePart, show: Show) -> Section:
    runs: list[PolicyRun] = []
    for spec in config.policies:
        show(f"live: {part.seconds} s under {spec.name} ...")
        traffic = (config.workload, config.images, part.from_s, part.seconds, part.scale, config.seed)
        page = config.out / file_name(spec.name, config.seed).replace(".jsonl.gz", ".html")
        run, _ = live_run(spec, LiveConfig(*traffic, replace(stack, page=page)))
        runs.append(run)
        show(f"  {100 * run.row.late_ratio:.2f} % late, {run.row.lost} lost, {run.row.pod_seconds:.0f} pod-seconds")
        show(f"  second by second: {page}")
    about = (
        f"{part.why}. Sent at {part.scale:.2f} times these rates to real pods on this machine (0 at the start, at most "
        f"{config.max_pods}), one run for each policy. Each request takes at least {config.pad_service_s:g} s in a pod "
        f"(--pad-service-s), so that the limit is the pods and not the cores; SLO {config.slo_s:g} s."
    )
    return Section("Live pods on this machine", about, config.slo_s, tuple(runs))


def _simulated_section(config: DemoConfig, workload: Workload, sim: SimConfig, show: Show) -> Section:
    arrivals_s = np.asarray(arrival_times(workload.counts, "count", config.seed))
    runs: list[PolicyRun] = []
    for spec in config.policies:
        began_s = time.monotonic()
        runs.append(simulated_run(spec, arrivals_s, sim, config.seed))
        show(f"simulated: all of {config.workload.name} under {spec.name}, {time.monotonic() - began_s:.1f} s")
    starts_s = sim.cold_start_samples_s or sim.cold_start_s
    source = "as the live ones did" if sim.cold_start_samples_s else "an assumption, because no live one started"
    about = (
        f"all {workload.duration_s} s of {config.workload.name} at its own rates, with at most {sim.max_pods} pods. "
        f"They start in {min(starts_s):.1f} to {max(starts_s):.1f} s, {source}, and take {sim.service_time_s:g} s for "
        f"a request, {sim.cpu_per_request_s:.3f} s of it CPU time. The last pod stops after Knative's stable window "
        f"and grace period; SLO {config.slo_s:g} s."
    )
    return Section("Simulated, the whole workload", about, config.slo_s, tuple(runs))
