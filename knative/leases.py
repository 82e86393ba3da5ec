"""Leases of coordination.k8s.io: frozen views, and patches that fail if another client has written in between."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from knative.objects import Json

LEASE_GROUP = "coordination.k8s.io"
LEASE_VERSION = "v1"
LEASES = "leases"


@dataclass(frozen=True, slots=True)
class Lease:
    """A Lease: its holder, empty if there is none, and the annotations that the holder keeps in it.

    version: the resource version, which changes with each write.
    renewed: the time stamp of the last renewal, as the holder wrote it.
    """

    name: str
    version: str
    holder: str
    renewed: str
    transitions: int
    annotations: Mapping[str, str]

    @classmethod
    def from_json(cls, lease: Mapping[str, Any]) -> Self:
        """Return the Lease that the API server's JSON describes."""
        metadata, spec = lease["metadata"], lease.get("spec") or {}
        return cls(
            name=metadata["name"],
            version=metadata.get("resourceVersion", ""),
            holder=spec.get("holderIdentity") or "",
            renewed=spec.get("renewTime") or "",
            transitions=int(spec.get("leaseTransitions") or 0),
            annotations=metadata.get("annotations") or {},
        )


@dataclass(frozen=True, slots=True)
class Tenure:
    """What the holder of a Lease writes into it; the times are Unix times."""

    holder: str
    duration_s: int
    acquired_unix_s: float
    renewed_unix_s: float
    transitions: int

    def spec(self) -> Json:
        """Return the spec of the Lease."""
        return {
            "holderIdentity": self.holder,
            "leaseDurationSeconds": self.duration_s,
            "acquireTime": micro_time(self.acquired_unix_s),
            "renewTime": micro_time(self.renewed_unix_s),
            "leaseTransitions": self.transitions,
        }


def new_lease(name: str, tenure: Tenure, annotations: Mapping[str, str]) -> Json:
    """Return a Lease to create."""
    metadata = {"name": name, "annotations": dict(annotations)}
    return {
        "apiVersion": f"{LEASE_GROUP}/{LEASE_VERSION}",
        "kind": "Lease",
        "metadata": metadata,
        "spec": tenure.spec(),
    }


def tenure_patch(version: str, tenure: Tenure) -> Json:
    """Return the patch that takes or renews a Lease; the API server refuses it (409) if the version is not current."""
    return {"metadata": {"resourceVersion": version}, "spec": tenure.spec()}


def release_patch(version: str) -> Json:
    """Return the patch that ends the tenure, so that another process need not wait until it expires."""
    return {"metadata": {"resourceVersion": version}, "spec": {"holderIdentity": None}}


def annotations_patch(version: str, annotations: Mapping[str, str | None]) -> Json:
    """Return the patch that sets annotations of the Lease and removes those that are None; refused as tenure_patch."""
    return {"metadata": {"resourceVersion": version, "annotations": dict(annotations)}}


def micro_time(unix_time_s: float) -> str:
    """Return a Unix time as Kubernetes' MicroTime, such as "2026-08-21T10:00:00.000000Z"."""
    return datetime.fromtimestamp(unix_time_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
