"""Frozen views of the cluster's objects, patches as values, and Knative's names, which are defined only here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Self

from knative.errors import NoTrafficError

Json = dict[str, Any]
Phase = Literal["starting", "ready", "terminating"]

SERVING_GROUP = "serving.knative.dev"
SERVING_VERSION = "v1"
SERVICES = "services"
REVISIONS = "revisions"
REVISION_LABEL = f"{SERVING_GROUP}/revision"
SERVICE_LABEL = f"{SERVING_GROUP}/service"

AUTOSCALING_GROUP = "autoscaling.knative.dev"
CLASS = f"{AUTOSCALING_GROUP}/class"
METRIC = f"{AUTOSCALING_GROUP}/metric"
TARGET = f"{AUTOSCALING_GROUP}/target"
TARGET_UTILIZATION = f"{AUTOSCALING_GROUP}/target-utilization-percentage"
WINDOW = f"{AUTOSCALING_GROUP}/window"
MIN_SCALE = f"{AUTOSCALING_GROUP}/min-scale"
MAX_SCALE = f"{AUTOSCALING_GROUP}/max-scale"
ACTIVATION_SCALE = f"{AUTOSCALING_GROUP}/activation-scale"
HPA_CLASS = "hpa.autoscaling.knative.dev"

# Port of a pod on which its queue-proxy reports traffic to Knative's autoscaler.
QUEUE_METRICS_PORT = 9090

# A container waits for these reasons in every normal start.
NORMAL_WAITS = ("", "ContainerCreating", "PodInitializing")
MAX_PROBLEM_LENGTH = 300

# Knative's default target of a pod that sets no limit (container-concurrency-target-default).
DEFAULT_TARGET = 100


def spellings(name: str) -> tuple[str, str]:
    """Return the two names of an annotation that Knative reads, in its order: min-scale, then minScale.

    Source: knative/serving pkg/apis/autoscaling/register.go.
    """
    group, _, key = name.partition("/")
    first, *others = key.split("-")
    return name, f"{group}/{first}{''.join(word.capitalize() for word in others)}"


def annotation(annotations: Mapping[str, str], name: str) -> str | None:
    """Return the value that Knative reads for an annotation, in either spelling; None if it is not set."""
    return next((annotations[key] for key in spellings(name) if key in annotations), None)


@dataclass(frozen=True, slots=True)
class Revision:
    """A Revision and its bounds; without annotations, min_pods is 0 and max_pods is None, no limit.

    uid: differs between two Revisions of the same name, of which the first was deleted.
    concurrency: most requests in a pod at once (containerConcurrency); without a limit, the target of Knative's
        autoscaler.
    annotations: those of autoscaling.knative.dev.
    problem: why no pods can be created, such as an exceeded quota; None if nothing is known.
    """

    name: str
    ready: bool
    min_pods: int
    max_pods: int | None
    uid: str = ""
    concurrency: int = 1
    annotations: Mapping[str, str] = field(default_factory=dict)
    problem: str | None = None

    @classmethod
    def from_json(cls, revision: Mapping[str, Any]) -> Self:
        """Return the Revision that the API server's JSON describes."""
        metadata = revision["metadata"]
        group = f"{AUTOSCALING_GROUP}/"
        annotations = {key: text for key, text in (metadata.get("annotations") or {}).items() if key.startswith(group)}
        limit = (revision.get("spec") or {}).get("containerConcurrency")
        target = float(annotation(annotations, TARGET) or DEFAULT_TARGET)
        return cls(
            name=metadata["name"],
            ready=is_true(revision, "Ready"),
            min_pods=int(annotation(annotations, MIN_SCALE) or 0),
            max_pods=int(annotation(annotations, MAX_SCALE) or 0) or None,
            uid=metadata.get("uid", ""),
            concurrency=int(limit) or max(1, int(target)) if limit is not None else 1,
            annotations=annotations,
            problem=refusal(revision, "ResourcesAvailable"),
        )


@dataclass(frozen=True, slots=True)
class Service:
    """A Knative Service as clients see it; traffic maps Revisions to their percentages."""

    name: str
    ready: bool
    url: str | None
    traffic: Mapping[str, int]

    @classmethod
    def from_json(cls, service: Mapping[str, Any]) -> Self:
        """Return the Service that the API server's JSON describes; a new one has no status yet."""
        status = service.get("status") or {}
        traffic: dict[str, int] = {}
        for target in status.get("traffic") or ():  # a Revision can have a second entry with a tag
            traffic[target["revisionName"]] = traffic.get(target["revisionName"], 0) + target.get("percent", 0)
        return cls(service["metadata"]["name"], is_true(service, "Ready"), status.get("url"), traffic)

    def shares(self) -> dict[str, float]:
        """Return the Revisions that receive traffic with their shares of it, from 0 to 1; a tag alone has no share."""
        total = sum(self.traffic.values())
        return {name: percent / total for name, percent in sorted(self.traffic.items()) if percent > 0}

    def live_revision(self) -> str:
        """Return the Revision with the most traffic; of equals, the last by name, which usually is the newest.

        Raise NoTrafficError if none receives traffic.
        """
        percent, name = max(((percent, name) for name, percent in self.traffic.items()), default=(0, ""))
        if percent == 0:
            raise NoTrafficError(f"no Revision of the Service {self.name} receives traffic yet")
        return name


@dataclass(frozen=True, slots=True)
class Pod:
    """One pod of a Revision.

    ready_unix_s: when it became ready; None while it is not, and if a container has restarted, because the time in the
        pod's status is then that of the restart.
    problem: why it cannot start, such as `ImagePullBackOff`; None if nothing is known.
    ip: its address in the cluster; empty until it has one.
    port: the first one of its own container, not of Knative's queue-proxy; None if it names none.
    """

    name: str
    phase: Phase
    created_unix_s: float
    ready_unix_s: float | None
    problem: str | None = None
    ip: str = ""
    port: int | None = None

    @property
    def url(self) -> str:
        """The address at which the pod itself answers; empty if it is unknown."""
        return f"http://{self.ip}:{self.port}" if self.ip and self.port else ""

    @classmethod
    def from_json(cls, pod: Mapping[str, Any]) -> Self:
        """Return the pod that the API server's JSON describes."""
        metadata = pod["metadata"]
        ready_at = next((c.get("lastTransitionTime") for c in _conditions(pod) if c["type"] == "Ready"), None)
        ready = is_true(pod, "Ready")
        phase: Phase = "ready" if ready else "starting"
        return cls(
            name=metadata["name"],
            phase="terminating" if metadata.get("deletionTimestamp") else phase,
            created_unix_s=unix_s(metadata["creationTimestamp"]),
            ready_unix_s=unix_s(ready_at) if ready and ready_at and not _has_restarted(pod) else None,
            problem=None if ready else _pod_problem(pod),
            ip=(pod.get("status") or {}).get("podIP") or "",
            port=next((port["containerPort"] for one in _own_containers(pod) for port in one.get("ports") or ()), None),
        )


def _own_containers(pod: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    containers = (pod.get("spec") or {}).get("containers") or []
    return [container for container in containers if container.get("name") != "queue-proxy"]


def living_pods(pods: Sequence[Mapping[str, Any]]) -> tuple[Pod, ...]:
    """Return the pods that run or will run, oldest first, without finished ones whose object still exists."""
    living = [
        Pod.from_json(pod) for pod in pods if (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")
    ]
    return tuple(sorted(living, key=lambda pod: (pod.created_unix_s, pod.name)))


@dataclass(frozen=True, slots=True)
class PodCounts:
    """Numbers of a Revision's pods by phase."""

    ready_pods: int
    starting_pods: int
    terminating_pods: int

    @classmethod
    def of(cls, pods: Sequence[Pod]) -> Self:
        """Count the pods by phase."""
        phases = [pod.phase for pod in pods]
        return cls(phases.count("ready"), phases.count("starting"), phases.count("terminating"))


def is_true(thing: Mapping[str, Any], condition: str) -> bool:
    """Return whether a condition in the status is True; a missing condition is not."""
    return any(c["type"] == condition and c["status"] == "True" for c in _conditions(thing))


def _pod_problem(pod: Mapping[str, Any]) -> str | None:
    """Return why a pod cannot start: no node for it, or a container whose image or command fails."""
    if (unscheduled := refusal(pod, "PodScheduled")) is not None:
        return unscheduled
    status = pod.get("status") or {}
    for container in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason", "") not in NORMAL_WAITS:
            return _sentence(waiting)
    return None


def refusal(thing: Mapping[str, Any], condition: str, bad: str = "False") -> str | None:
    """Return the reason and message of a condition that has the bad status; None otherwise."""
    failed = (c for c in _conditions(thing) if c["type"] == condition and c["status"] == bad)
    return next(map(_sentence, failed), None)


def _sentence(cause: Mapping[str, Any]) -> str:
    message = " ".join(str(cause.get("message") or "").split())
    reason = str(cause.get("reason") or "unknown reason")
    return f"{reason}: {message}"[:MAX_PROBLEM_LENGTH] if message else reason


def unix_s(timestamp: str) -> float:
    """Return a Kubernetes timestamp, such as "2026-08-21T10:00:00Z", in seconds of the Unix clock."""
    return datetime.fromisoformat(timestamp).timestamp()


def _has_restarted(pod: Mapping[str, Any]) -> bool:
    """Return whether a container of the pod has been started again."""
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return any(status.get("restartCount", 0) > 0 for status in statuses)


def _conditions(thing: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return (thing.get("status") or {}).get("conditions") or ()
