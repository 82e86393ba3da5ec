"""Frozen views of the cluster's objects, patches as values, and Knative's names, which are defined only here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Self

from knative.errors import BoundsError, NoTrafficError

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
WINDOW = f"{AUTOSCALING_GROUP}/window"
MIN_SCALE = f"{AUTOSCALING_GROUP}/min-scale"
MAX_SCALE = f"{AUTOSCALING_GROUP}/max-scale"


@dataclass(frozen=True, slots=True)
class ScaleBounds:
    """The range within which Knative may scale one Revision.

    max_pods is at least 1, because Knative reads a max-scale of 0 as "no limit". To scale to zero, set min_pods to 0:
    Knative then removes the last pod after its own window and grace period.
    """

    min_pods: int
    max_pods: int

    def __post_init__(self) -> None:
        if not 0 <= self.min_pods <= self.max_pods or self.max_pods < 1:
            got = f"got {self.min_pods}, {self.max_pods}"
            raise BoundsError(f"bounds must be 0 <= min_pods <= max_pods and max_pods >= 1, {got}")

    def annotations(self) -> dict[str, str]:
        """Return both annotations, always: Knative refuses a patch after which max is below min."""
        return {MIN_SCALE: str(self.min_pods), MAX_SCALE: str(self.max_pods)}


def revision_patch(bounds: ScaleBounds) -> Json:
    """Return the JSON merge patch (RFC 7386) for a serving.knative.dev/v1 Revision.

    It is not for the Service, where a changed template creates a new Revision, with its cold starts. Nor is it for the
    PodAutoscaler, over which Knative copies the Revision's annotations. It needs Knative 1.21 or newer.
    Source: knative/serving pkg/reconciler/revision/reconcile_resources.go.
    """
    return {"metadata": {"annotations": bounds.annotations()}}


@dataclass(frozen=True, slots=True)
class Revision:
    """A Revision and its bounds; without annotations, min_pods is 0 and max_pods is None, no limit."""

    name: str
    ready: bool
    min_pods: int
    max_pods: int | None

    @classmethod
    def from_json(cls, revision: Mapping[str, Any]) -> Self:
        """Return the Revision that the API server's JSON describes."""
        annotations = revision["metadata"].get("annotations") or {}
        return cls(
            name=revision["metadata"]["name"],
            ready=is_true(revision, "Ready"),
            min_pods=int(annotations.get(MIN_SCALE, 0)),
            max_pods=int(annotations.get(MAX_SCALE, 0)) or None,
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
    """

    name: str
    phase: Phase
    created_unix_s: float
    ready_unix_s: float | None

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
        )


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


def unix_s(timestamp: str) -> float:
    """Return a Kubernetes timestamp, such as "2026-08-21T10:00:00Z", in seconds of the Unix clock."""
    return datetime.fromisoformat(timestamp).timestamp()


def _has_restarted(pod: Mapping[str, Any]) -> bool:
    """Return whether a container of the pod has been started again."""
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return any(status.get("restartCount", 0) > 0 for status in statuses)


def _conditions(thing: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return (thing.get("status") or {}).get("conditions") or ()
