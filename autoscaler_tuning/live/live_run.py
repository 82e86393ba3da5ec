"""Runs one policy with real pods, on this machine or of a Knative Service, under traffic of the load generator."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from autoscaler_tuning.live.local_stack import LocalStack, StackConfig, StackError, dies_with_parent, environment
from autoscaler_tuning.live.run_recording import Traffic, file_name, live_record, live_setup
from autoscaler_tuning.policies.kpa.knobs import KpaKnobs
from autoscaler_tuning.policies.registry import KnativeClass, PolicySpec
from autoscaler_tuning.results import Cost, PolicyRun, TimedPodCounts, summarise
from autoscaler_tuning.validation.run_file import write_run
from knative.client import KnativeClient


@dataclass(frozen=True, slots=True)
class LiveConfig:
    """One replay of a part of a workload by the load generator.

    from_s, seconds: start and length of the part.
    scale: factor on its rates.
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

    def traffic(self) -> Traffic:
        """Return what the load generator replays, for the record."""
        return Traffic(self.workload.name, self.from_s, self.seconds, self.scale, self.seed)


def live_run(spec: PolicySpec, config: LiveConfig) -> tuple[PolicyRun, float]:
    """Run one policy from zero pods; return the run and its start as Unix time.

    On Knative, KPA is Knative's own: its knobs are written to the live Revision, and our controller only observes and
    counts. A run that the load generator reports as invalid has the reasons in its notes.
    Raises StackError if the stack or the load generator fails to run, KnativeError if the cluster rejects a request.
    """
    with tempfile.TemporaryDirectory() as folder:
        record, result = Path(folder) / "record.jsonl", Path(folder) / "result.json"
        stack = replace(config.stack, policy=spec.name, order=spec.order, record=record)
        if stack.route:
            prepare(KnativeClient(stack.route.namespace), stack.route.service, spec, stack.max_pods)
            stack = replace(stack, shadow=spec.knobs is not None)
        with LocalStack(stack) as running:
            status = _replay(f"{running.url}/predict", config, result)
        if status not in (0, 3):
            raise StackError(f"the load generator exited with status {status}")
        notes = [f"INVALID: {line}" for line in _invalid_reasons(result)] if status == 3 else []
        if config.seconds < spec.revision.longest_window_s:
            notes.append(f"{config.seconds} s is shorter than the policy's {spec.revision.longest_window_s:g} s window")
        run, started_unix_s = read_run(spec.name, result, record, stack.slo_s, notes)
        target = "knative" if stack.route else "local"
        if config.record_to:
            setup = live_setup(spec, stack, config.traffic(), notes)
            write_run(config.record_to / file_name(spec.name, config.seed), live_record(setup, result, record))
        return replace(run, row=replace(run.row, target=target, seed=config.seed)), started_unix_s


def prepare(client: KnativeClient, service: str, spec: PolicySpec, max_pods: int, timeout_s: float = 300.0) -> None:
    """Replace the knobs of the live Revision with those of this policy, and wait until it has no pod.

    Raises StackError for HPA, because the class of a live Revision cannot change, and if pods remain after timeout_s.
    """
    if spec.entry.knative_class is KnativeClass.HPA:
        raise StackError(
            f"{spec.name} needs a Service deployed with Knative's HPA class; a live Revision cannot change its class", 2
        )
    knobs = spec.knobs or KpaKnobs()
    revision = client.live_revision(service).name
    most = min(max_pods, knobs.max_scale or max_pods)
    bounds = {"min-scale": str(min(most, knobs.min_scale)), "max-scale": str(most)}
    client.annotate(revision, {**dict.fromkeys(KpaKnobs.names()), **knobs.annotations(), "min-scale": "0"})
    deadline_s = time.monotonic() + timeout_s
    while client.pods(revision):
        if time.monotonic() > deadline_s:
            raise StackError(f"{revision} still has pods after {timeout_s:g} s without traffic")
        time.sleep(1)
    client.annotate(revision, bounds)


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
    """Return a run, from the load generator's result and the controller's record, and its start as Unix time."""
    document = json.loads(result.read_text())
    started_unix_s = float(document["started_unix_s"])
    columns = document["requests"]
    intended_s = np.array(columns["intended_s"], dtype=float)
    done_s = np.array(columns["done_s"], dtype=float)
    done_s[np.array(columns["status"]) != 200] = np.nan
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    before = [line for line in lines if line["unix_s"] <= started_unix_s] or lines[:1]
    first, last = before[-1], lines[-1]
    cost = Cost(*(last[key] - first[key] for key in ("pod_seconds", "terminating_pod_seconds", "cold_starts")))
    pods = tuple(
        TimedPodCounts(
            line["unix_s"] - started_unix_s, line["ready"], line["starting"], line["terminating"], line["waiting"]
        )
        for line in lines
        if line["unix_s"] >= first["unix_s"]
    )
    row = replace(summarise(name, "live", intended_s, done_s, slo_s, cost), notes=tuple(notes))
    return PolicyRun(row, intended_s, done_s, pods, _wanted_pods(lines, started_unix_s)), started_unix_s


def _wanted_pods(lines: Sequence[dict[str, Any]], started_unix_s: float) -> tuple[tuple[float, int], ...]:
    """Return (time_s, pods) of each change of the wanted pods in the record."""
    changes: list[tuple[float, int]] = []
    for line in lines:
        pods = line.get("wanted_pods")
        if pods is not None and (not changes or changes[-1][1] != pods):
            changes.append((line["unix_s"] - started_unix_s, pods))
    return tuple(changes)


def _replay(url: str, config: LiveConfig, result: Path) -> int:
    argv = [sys.executable, "-m", "loadgen", url, "--workload", str(config.workload), "--images", str(config.images)]
    argv += ["--from-s", str(config.from_s), "--seconds", str(config.seconds), "--scale", str(config.scale)]
    argv += ["--seed", str(config.seed), "--json", str(result), "--quiet"]
    timeout_s = ceil(config.seconds) + 120
    with subprocess.Popen(dies_with_parent(argv), env=environment(), stdout=subprocess.DEVNULL) as process:
        try:
            return process.wait(timeout_s)
        finally:
            process.kill()


def _invalid_reasons(result: Path) -> list[str]:
    return list(json.loads(result.read_text())["summary"]["invalid"])
