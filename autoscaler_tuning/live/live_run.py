"""Runs one policy with real pods, on this machine or of a Knative Service, under traffic of the load generator."""

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import nan
from pathlib import Path
from typing import Any

import numpy as np

from autoscaler_tuning.experiments.live_summary import INVALID
from autoscaler_tuning.live.hpa_copy import NOTE, hpa_copy, wait_until
from autoscaler_tuning.live.local_stack import KnativeRoute, LocalStack, StackConfig
from autoscaler_tuning.live.pod_watch import PodWatch
from autoscaler_tuning.live.replay import Show, replay, silent
from autoscaler_tuning.live.run_recording import Traffic, file_name, live_record, live_setup, request_path
from autoscaler_tuning.policies.kpa.knobs import KpaKnobs
from autoscaler_tuning.policies.registry import KnativeClass, PolicySpec
from autoscaler_tuning.results import Cost, LiveFacts, PolicyRun, TimedPodCounts, summarise
from autoscaler_tuning.validation.run_file import write_run
from autoscaler_tuning.validation.run_setup import RecordedError
from knative.client import KnativeClient
from knative.objects import SERVICES

# Pods that take longer than this many times their nominal start measure the machine, not the policy.
SLOW_START_RATIO = 2.0


@dataclass(frozen=True, slots=True)
class LiveConfig:
    """One replay of a part of a workload by the load generator.

    from_s, seconds: start and length of the part.
    scale: factor on its rates.
    run: number of the run among those of its policy.
    seed: of the arrival times.
    max_lag_ms: highest p99 send lag of a valid run.
    record_to: folder for the recorded run; None records none.
    """

    workload: Path
    images: Path
    from_s: int
    seconds: int
    scale: float
    seed: int
    stack: StackConfig
    record_to: Path | None = None
    run: int = 0
    max_lag_ms: float = 5.0

    def traffic(self) -> Traffic:
        """Return what the load generator replays, for the record."""
        return Traffic(self.workload.name, self.from_s, self.seconds, self.scale, self.seed)

    def loadgen_argv(self) -> list[str]:
        """Return the flags of the load generator for this replay."""
        argv = ["--workload", str(self.workload), "--images", str(self.images), "--scale", str(self.scale)]
        argv += ["--from-s", str(self.from_s), "--seconds", str(self.seconds), "--seed", str(self.seed)]
        return [*argv, "--slo-s", str(self.stack.slo_s), "--max-lag-ms", str(self.max_lag_ms)]


def live_run(spec: PolicySpec, config: LiveConfig, show: Show = silent) -> tuple[PolicyRun, float]:
    """Run one policy from zero pods; return the run and its start as Unix time.

    On Knative, KPA and HPA are Knative's own: their requests go straight to the route, and we only count their pods.
    KPA's knobs are written to the live Revision; HPA gets a copy of the Service. A run that the load generator reports
    as invalid has the reasons in its notes.
    show: called with a line of progress every ten seconds.
    Raises StackError if the stack or the load generator fails to run, KnativeError if the cluster rejects a request.
    """
    path = request_path(spec, config.stack.route is not None)
    with tempfile.TemporaryDirectory() as folder:
        record, result = Path(folder) / "record.jsonl", Path(folder) / "result.json"
        stack = replace(config.stack, policy=spec.name, order=spec.order, record=record)
        before = _latest_revision(stack)
        with _serving(spec, stack, "dispatcher" in path) as endpoint:
            invalid = replay([*endpoint, *config.loadgen_argv()], config.seconds, result, record, show)
        notes = _notes(spec, config, invalid)
        made = 0 if before is None else int(_latest_revision(stack) != before)
        starts_s: tuple[float, ...] = ()
        try:
            recorded = live_record(live_setup(spec, stack, config.traffic(), notes), result, record)
            starts_s = tuple(one.ready_s - one.created_s for one in recorded.starts if one.ready_s is not None)
            if config.record_to:
                write_run(config.record_to / file_name(spec.name, config.run), recorded)
        except RecordedError as error:  # such as pods that were not seen for 10 s; the other runs must not be lost
            notes.append(f"{INVALID}: not recorded: {error}")
        run, started_unix_s = read_run(spec.name, result, record, stack.slo_s, notes)
    facts = LiveFacts(path, _first_ready_s(run), starts_s, made)
    target = "knative" if stack.route else "local"
    return replace(run, row=replace(run.row, target=target, seed=config.run), live=facts), started_unix_s


def _notes(spec: PolicySpec, config: LiveConfig, invalid: Sequence[str]) -> list[str]:
    """Return what a reader must know of a run; invalid: the load generator's reasons."""
    notes = [f"{INVALID}: {reason}" for reason in invalid]
    if config.seconds < spec.revision.longest_window_s:
        notes.append(f"{config.seconds} s is shorter than the policy's {spec.revision.longest_window_s:g} s window")
    if config.stack.route and _is_hpa(spec):
        notes.append(NOTE)
    return notes


@contextmanager
def _serving(spec: PolicySpec, stack: StackConfig, with_dispatcher: bool) -> Iterator[list[str]]:
    """Start what serves the requests, from zero pods; yield the load generator's flags that address it."""
    if stack.route is None:
        with LocalStack(stack) as running:
            yield [f"{running.url}/predict"]
        return
    client = KnativeClient(stack.route.namespace)
    revision = prepare(client, stack.route.service, spec, stack.max_pods)
    with _routed(client, spec, stack.route, stack.max_pods) as route:
        if with_dispatcher:
            with LocalStack(replace(stack, route=route, shadow=spec.knobs is not None or _is_hpa(spec))) as running:
                yield [f"{running.url}/predict"]
            return
        revision = client.live_revision(route.service).name if _is_hpa(spec) else revision
        if stack.record is None:
            raise ValueError("a live run needs a file for its record, got None")
        with PodWatch(client, revision, stack.record):
            yield [f"{route.url.rstrip('/')}/predict", *(("--host", route.host) if route.host else ())]


@contextmanager
def _routed(client: KnativeClient, spec: PolicySpec, route: KnativeRoute, max_pods: int) -> Iterator[KnativeRoute]:
    """Yield the route of the Service that the policy scales: HPA has a copy for its own class."""
    if _is_hpa(spec):
        with hpa_copy(client, route, spec, max_pods) as copy:
            yield copy
    else:
        yield route


def _is_hpa(spec: PolicySpec) -> bool:
    return spec.entry.knative_class is KnativeClass.HPA


def _latest_revision(stack: StackConfig) -> str | None:
    """Return the Revision that was made last for the Service; None without a cluster."""
    if stack.route is None:
        return None
    status = KnativeClient(stack.route.namespace).api.get(SERVICES, stack.route.service).get("status") or {}
    return str(status.get("latestCreatedRevisionName"))


def prepare(client: KnativeClient, service: str, spec: PolicySpec, max_pods: int, timeout_s: float = 300.0) -> str:
    """Replace the knobs of the live Revision with those of this policy, and wait until it has no pod; return its name.

    With a min-scale, also wait until that many are ready: such a Revision always has them. For HPA, which scales a
    copy, the Revision only has to have no pod. Raises StackError if that takes longer than timeout_s.
    """
    knobs = spec.knobs or KpaKnobs()
    revision = client.live_revision(service).name
    most = min(max_pods, knobs.max_scale or max_pods)
    bounds = {"min-scale": str(min(most, knobs.min_scale)), "max-scale": str(most)}
    client.annotate(revision, {**dict.fromkeys(KpaKnobs.names()), **knobs.annotations(), "min-scale": "0"})
    wait_until(lambda: not client.pods(revision), f"{revision} still has pods without traffic", timeout_s)
    client.annotate(revision, bounds)
    least = int(bounds["min-scale"])
    wait_until(
        lambda: client.pod_counts(revision).ready_pods >= least, f"{revision} has not {least} ready pods", timeout_s
    )
    return revision


@contextmanager
def restore_knobs(client: KnativeClient, service: str) -> Iterator[None]:
    """Restore the knobs and bounds of the live Revision at the end of the with block, even after an exception."""
    revision = client.live_revision(service).name
    before = client.annotations(revision)
    try:
        yield
    finally:
        client.annotate(revision, {name: before.get(name) for name in KpaKnobs.names()})


def read_run(name: str, result: Path, record: Path, slo_s: float, notes: Sequence[str]) -> tuple[PolicyRun, float]:
    """Return a run, from the load generator's result and the controller's record, and its start as Unix time.

    As in the simulator, pods count until the whole second after the last request, or until the last answer.
    """
    document = json.loads(result.read_text())
    started_unix_s = float(document["started_unix_s"])
    columns = document["requests"]
    intended_s = np.array(columns["intended_s"], dtype=float)
    done_s = np.array(columns["done_s"], dtype=float)
    done_s[np.array(columns["status"]) != 200] = np.nan
    end_s = max(np.floor(intended_s.max()) + 1, np.nanmax(done_s, initial=0.0))
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    cost = _cost(lines, started_unix_s, started_unix_s + end_s)
    first = _last_line(lines, started_unix_s)
    pods = tuple(
        TimedPodCounts(
            line["unix_s"] - started_unix_s, line["ready"], line["starting"], line["terminating"], line["waiting"]
        )
        for line in lines
        if line["unix_s"] >= first["unix_s"]
    )
    row = replace(summarise(name, "live", intended_s, done_s, slo_s, cost), until_s=float(end_s), notes=tuple(notes))
    return PolicyRun(row, intended_s, done_s, pods, _wanted_pods(lines, started_unix_s)), started_unix_s


def _cost(lines: Sequence[dict[str, Any]], from_unix_s: float, to_unix_s: float) -> Cost:
    """Return the cost between two moments: pods count as constant between two lines, and from the last one on.

    Lines are as far apart as decisions, so whole lines would charge a policy that decides seldom for a longer time.
    """
    last = lines[-1]
    rest_s = max(0.0, to_unix_s - last["unix_s"])
    end = {
        "unix_s": last["unix_s"] + rest_s,
        "pod_seconds": last["pod_seconds"] + rest_s * (last["ready"] + last["starting"]),
        "terminating_pod_seconds": last["terminating_pod_seconds"] + rest_s * last["terminating"],
    }
    moments_s = [line["unix_s"] for line in (*lines, end)]

    def used(name: str) -> float:
        begun, ended = np.interp((from_unix_s, to_unix_s), moments_s, [line[name] for line in (*lines, end)])
        return float(ended - begun)

    started = _last_line(lines, to_unix_s)["cold_starts"] - _last_line(lines, from_unix_s)["cold_starts"]
    return Cost(used("pod_seconds"), used("terminating_pod_seconds"), started)


def _last_line(lines: Sequence[dict[str, Any]], unix_s: float) -> dict[str, Any]:
    """Return the last line that was written up to a moment, or the first one."""
    return next((line for line in reversed(lines) if line["unix_s"] <= unix_s), lines[0])


def _first_ready_s(run: PolicyRun) -> float:
    return next((max(0.0, counts.time_s) for counts in run.pods if counts.ready_pods), nan)


def slow_starts(starts_s: Sequence[float], nominal_s: float) -> str | None:
    """Return why the starts of a run's pods make it invalid; None if their median is at most twice the nominal."""
    if not starts_s or np.median(starts_s) <= SLOW_START_RATIO * nominal_s:
        return None
    return (
        f"{INVALID}: half of the {len(starts_s)} pods took {np.median(starts_s):.1f} s or more to start, over "
        f"{SLOW_START_RATIO:g} times their nominal {nominal_s:.1f} s: the run measures the machine"
    )


def _wanted_pods(lines: Sequence[dict[str, Any]], started_unix_s: float) -> tuple[tuple[float, int], ...]:
    """Return (time_s, pods) of each change of the wanted pods in the record."""
    changes: list[tuple[float, int]] = []
    for line in lines:
        pods = line.get("wanted_pods")
        if pods is not None and (not changes or changes[-1][1] != pods):
            changes.append((line["unix_s"] - started_unix_s, pods))
    return tuple(changes)
