"""Writes a live run as a recorded run, from the load generator's result and the controller's record."""

import json
import os
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from math import inf
from pathlib import Path
from typing import Any

from autoscaler_tuning.live.local_stack import StackConfig
from autoscaler_tuning.policies.registry import KnativeClass, PolicySpec
from autoscaler_tuning.validation.fit import starts
from autoscaler_tuning.validation.recorded_run import from_record
from autoscaler_tuning.validation.run_file import DecisionLine, PodsLine, RequestLine, RunRecord, StartLine
from autoscaler_tuning.validation.run_setup import RunSetup, knobs_of

PACKAGES = ("elastic-ml-inference", "numpy", "aiohttp", "gunicorn", "onnxruntime", "openvino", "kubernetes")


@dataclass(frozen=True, slots=True)
class Traffic:
    """The part of a workload that the load generator replayed, with the meanings of RunSetup."""

    trace: str
    from_s: int
    seconds: int
    scale: float
    seed: int


def file_name(policy: str, seed: int) -> str:
    """Return the name of the file of one run: the policy without characters that a shell would interpret."""
    return f"{re.sub(r'[^A-Za-z0-9._=-]+', '_', policy).strip('_')}-{seed}.jsonl.gz"


def request_path(spec: PolicySpec, on_knative: bool) -> tuple[str, ...]:
    """Return the hops of a request in a live run of this policy.

    Knative's own autoscalers with their own queue order get the requests from the route, as their users have it; a
    dispatcher in front would change what they see. Knative's HPA class has no activator in the path.
    """
    if not on_knative:
        return ("dispatcher",)
    hpa = spec.entry.knative_class is KnativeClass.HPA
    stock = (hpa or spec.knobs is not None) and spec.order == spec.entry.order
    return (
        *(() if stock else ("dispatcher",)),
        "ingress",
        *(() if hpa else ("activator",)),
        "queue-proxy",
    )


def live_setup(spec: PolicySpec, stack: StackConfig, traffic: Traffic, notes: Sequence[str] = ()) -> RunSetup:
    """Return the set-up of a live run of this policy; what the stack does not know of the pods is None.

    notes: caveats of the run, such as the reasons for which the load generator calls it invalid.
    """
    most = min(stack.max_pods, spec.revision.max_pods or stack.max_pods)
    on_knative = stack.route is not None
    return RunSetup(
        policy=spec.name,
        target="knative" if on_knative else "local",
        path=request_path(spec, on_knative),
        knobs=knobs_of(spec),
        order=spec.order,
        slo_s=stack.slo_s,
        min_pods=min(most, spec.revision.min_pods),
        max_pods=most,
        service_time_s=None if on_knative else stack.pad_service_s or None,
        trace=traffic.trace,
        from_s=traffic.from_s,
        seconds=traffic.seconds,
        scale=traffic.scale,
        seed=traffic.seed,
        versions=dict(_versions()),
        machine=_machine(),
        about={"notes": "; ".join(notes)} if notes else {},
    )


def live_record(setup: RunSetup, result: Path, record: Path) -> RunRecord:
    """Return the run in the load generator's result and the controller's record.

    Both times are Unix time of one machine. Local pods tell their start times; Kubernetes has them in whole seconds, so
    there they are derived from the numbers of pods, which are recorded twice a second.
    """
    document = json.loads(result.read_text())
    started_unix_s = float(document["started_unix_s"])
    columns = document["requests"]
    rows = zip(*(columns[name] for name in ("intended_s", "sent_s", "done_s", "status")), strict=True)
    requests = sorted(
        (RequestLine(intended_s, sent_s, done_s, int(status or 0)) for intended_s, sent_s, done_s, status in rows),
        key=lambda one: one.intended_s,
    )
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    pods = tuple(_pods(line, started_unix_s) for line in lines)
    found = RunRecord(setup, tuple(requests), pods, tuple(_decisions(lines, started_unix_s)))
    pod_starts = _told_starts(lines, started_unix_s) if setup.target == "local" else _derived_starts(found)
    return replace(found, starts=tuple(pod_starts))


def _told_starts(lines: Sequence[Mapping[str, Any]], started_unix_s: float) -> list[StartLine]:
    told = (
        StartLine(one["pod"], *(round(one[name] - started_unix_s, 4) for name in ("created_unix_s", "ready_unix_s")))
        for line in lines
        for one in line["starts"]
    )
    return sorted(told, key=lambda one: one.created_s)


def _derived_starts(found: RunRecord) -> Iterator[StartLine]:
    created_s, ready_s = starts(from_record(found), -inf, inf)
    for number, times_s in enumerate(zip(created_s.tolist(), ready_s.tolist(), strict=True), 1):
        yield StartLine(f"start-{number}", *times_s)


def _pods(line: Mapping[str, Any], started_unix_s: float) -> PodsLine:
    time_s = round(line["unix_s"] - started_unix_s, 4)
    return PodsLine(time_s, line["ready"], line["starting"], line["terminating"], line.get("wanted_pods"))


def _decisions(lines: Sequence[Mapping[str, Any]], started_unix_s: float) -> Iterator[DecisionLine]:
    before: int | None = None
    for line in lines:
        pods = line.get("wanted_pods")
        if pods is not None and pods != before:
            yield DecisionLine(round(line["unix_s"] - started_unix_s, 4), pods, str(line.get("reason", "")))
            before = pods


def _versions() -> Iterator[tuple[str, str]]:
    yield "python", platform.python_version()
    for package in PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue


def _machine() -> dict[str, str]:
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "system": platform.platform(),
        "processor": platform.machine(),
        "cores": str(os.cpu_count()),
        "memory_bytes": str(memory_bytes),
    }
