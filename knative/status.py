"""What is deployed and whether it is healthy, in lines for people: a pure function of the cluster's objects."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from knative.errors import NoTrafficError
from knative.layouts import CONTROLLER
from knative.leases import Lease
from knative.objects import (
    MAX_SCALE,
    MIN_SCALE,
    Json,
    PodCounts,
    Revision,
    Service,
    annotation,
    living_pods,
)

# The controller keeps what it found on a Revision in the Lease, under this and the Revision's UID.
FOUND = "elastic-ml-inference/found-"


@dataclass(frozen=True, slots=True)
class Found:
    """The objects that were found, as JSON; None or nothing if they do not exist.

    workloads: our Deployments and StatefulSets. pods: those of the Revision and of the workloads.
    """

    name: str
    service: Json | None
    revision: Json | None
    lease: Json | None
    workloads: Sequence[Json]
    pods: Sequence[Json]


@dataclass(frozen=True, slots=True)
class Status:
    """rows: what each line is about, and its text. problems: why something is not healthy; none if all is."""

    rows: tuple[tuple[str, str], ...]
    problems: tuple[str, ...]

    def lines(self) -> list[str]:
        """Return the lines to print, the last of which says whether all is healthy."""
        rows = [*self.rows, ("healthy", "no: " + "; ".join(self.problems) if self.problems else "yes")]
        return [f"{what:<12}{text}" for what, text in rows]


def status_of(found: Found, now: datetime) -> Status:
    """Return the status of what was found; now has a time zone."""
    rows: list[tuple[str, str]] = []
    problems: list[str] = []
    if found.service is not None:
        rows += _service_rows(found)
        problems += _service_problems(found)
    for workload in found.workloads:
        rows.append((_label(workload), _readiness(workload)))
        problems += _workload_problems(workload)
    led = any(workload["metadata"]["name"] == CONTROLLER for workload in found.workloads)
    if led or found.lease is not None:
        leader = _leader(found.lease, now)
        rows.append(("leader", leader or "none"))
        problems += ["no controller leads"] if led and leader is None else []
    if not rows:
        problems.append(f"neither a Service {found.name} nor anything else of ours exists")
    problems += _pod_problems(found)
    return Status(tuple(rows), tuple(dict.fromkeys(problems)))


def _service_rows(found: Found) -> list[tuple[str, str]]:
    service = Service.from_json(found.service or {})
    rows = [
        ("service", f"{service.name}, {'ready' if service.ready else 'not ready'}"),
        ("url", service.url or "-"),
    ]
    if found.revision is None:
        return [*rows, ("revision", "none receives traffic yet")]
    revision = Revision.from_json(found.revision)
    pods = PodCounts.of(living_pods(pods_of(found.pods, revision.name)))
    counts = f"{pods.ready_pods} ready, {pods.starting_pods} starting, {pods.terminating_pods} terminating"
    rows += [
        ("revision", f"{revision.name}, {'ready' if revision.ready else 'not ready'}"),
        ("bounds", _bounds(revision.annotations)),
    ]
    before = _found_bounds(found.lease, revision.uid)
    if before is not None:
        rows.append(("found", f"{_bounds(before)}; given back when the controller stops"))
    return [*rows, ("pods", counts)]


def pods_of(pods: Sequence[Json], revision: str) -> list[Json]:
    """Return the pods of a Revision."""
    label = "serving.knative.dev/revision"
    return [pod for pod in pods if (pod["metadata"].get("labels") or {}).get(label) == revision]


def _bounds(annotations: Mapping[str, str]) -> str:
    least, most = annotation(annotations, MIN_SCALE), annotation(annotations, MAX_SCALE)
    return f"min-scale {least or '0'}, max-scale {'no limit' if most in (None, '0') else most}"


def _found_bounds(lease: Json | None, uid: str) -> Mapping[str, str] | None:
    """Return the annotations that the controller found on the Revision; None if it has written nothing."""
    with suppress(ValueError, TypeError, KeyError, AttributeError):
        stored = ((lease or {})["metadata"].get("annotations") or {})[FOUND + uid]
        found: Any = json.loads(stored)["annotations"]
        return {str(key): str(value) for key, value in found.items()}
    return None


def _leader(lease: Json | None, now: datetime) -> str | None:
    """Return who holds the Lease and since when it was renewed; None if nobody does, or the Lease has expired."""
    if lease is None:
        return None
    seen = Lease.from_json(lease)
    if not seen.holder or not seen.renewed:
        return None
    age_s = (now - datetime.fromisoformat(seen.renewed).astimezone(UTC)).total_seconds()
    if age_s > lease["spec"].get("leaseDurationSeconds", 15):
        return None
    return f"{seen.holder}, renewed {max(0.0, age_s):.0f} s ago"


def _label(workload: Json) -> str:
    names = {CONTROLLER: "controllers", "dispatcher": "dispatchers"}
    name = str(workload["metadata"]["name"])
    return names.get(name, name)


def _readiness(workload: Json) -> str:
    ready, updated, wanted = _numbers(workload)
    return f"{ready} of {wanted} ready" + (f", {updated} of them updated" if updated < wanted else "")


def _numbers(workload: Json) -> tuple[int, int, int]:
    """Return how many pods are ready, are of the newest template and are wanted."""
    status = workload.get("status") or {}
    return status.get("readyReplicas") or 0, status.get("updatedReplicas") or 0, workload["spec"].get("replicas", 1)


def _workload_problems(workload: Json) -> list[str]:
    ready, updated, wanted = _numbers(workload)
    name = workload["metadata"]["name"]
    if ready < wanted or updated < wanted:
        return [f"{name} has {min(ready, updated)} of {wanted} pods ready{_why(workload, 'ReplicaFailure')}"]
    if (workload.get("status") or {}).get("observedGeneration", 0) < workload["metadata"].get("generation", 0):
        return [f"{name} has {ready} of {wanted} pods ready, of an older version"]
    return []


def _service_problems(found: Found) -> list[str]:
    service = found.service or {}
    if Service.from_json(service).ready:
        seen, meant = (service.get("status") or {}).get("observedGeneration"), service["metadata"].get("generation")
        return [] if seen == meant else [f"Knative has not read the newest Service {found.name} yet"]
    return [f"the Service {found.name} is not ready{_why(service, 'Ready')}"]


def _why(thing: Json, condition: str) -> str:
    """Return the reason and message of a condition, in brackets; nothing if the condition is not there."""
    for one in (thing.get("status") or {}).get("conditions") or ():
        if one["type"] == condition:
            words = " ".join(f"{one.get('reason') or ''}: {one.get('message') or ''}".split()).strip(": ")
            return f" ({words})" if words else ""
    return ""


def _pod_problems(found: Found) -> list[str]:
    """Return why pods cannot start; the same reason once, with the first of the pods."""
    reasons: dict[str, str] = {}
    for pod in living_pods(found.pods):
        if pod.problem and pod.phase == "starting":
            reasons.setdefault(pod.problem, pod.name)
    return [f"pod {name}: {reason}" for reason, name in reasons.items()]


def live_revision_name(service: Json | None) -> str | None:
    """Return the Revision that receives most of the traffic; None if there is none."""
    try:
        return None if service is None else Service.from_json(service).live_revision()
    except NoTrafficError:
        return None
