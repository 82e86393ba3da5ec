"""A cluster in memory for the command line: it keeps what is applied, and its pods become ready after some looks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from knative.installation import KINDS, SERVICE_KIND
from knative.layouts import OURS, PART_OF
from tests.knative.fake_api import service_json

Json = dict[str, Any]

LEASES = "leases.coordination.k8s.io"
REVISIONS = "revisions.serving.knative.dev"
# Other words for a kind that kubectl accepts
ALIASES = {
    "deployment": "deployments.apps",
    "deployments": "deployments.apps",
    "statefulsets": "statefulsets.apps",
    "secret": "secrets",
    "lease": LEASES,
}
NAMES = {
    "Deployment": "deployments.apps",
    "StatefulSet": "statefulsets.apps",
    "Secret": "secrets",
    "Role": "roles.rbac.authorization.k8s.io",
    "PersistentVolumeClaim": "persistentvolumeclaims",
    "Lease": LEASES,
    "Revision": REVISIONS,
    "Pod": "pods",
}


class FakeCluster:
    """Implements knative.kubectl.ClusterTool.

    things: by kind and name. done: the changes in their order. built: what kustomize makes.
    slow_looks: how often Deployments are seen without ready pods.
    """

    def __init__(self, things: Sequence[Json] = (), slow_looks: int = 0) -> None:
        self.things: dict[tuple[str, str], Json] = {}
        self.done: list[str] = []
        self.kustomization: Json = {}
        self.built: list[Json] = []
        self.slow_looks = slow_looks
        for thing in things:
            self._keep(thing)

    def kustomize(self, folder: Path) -> list[Json]:
        self.kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
        for name in (*self.kustomization["resources"], *self.kustomization["components"]):
            assert (folder / name / "kustomization.yaml").exists()
        return self.built

    def get(self, kind: str, name: str) -> Json | None:
        return self.things.get((ALIASES.get(kind, kind), name))

    def select(self, kinds: str, selector: str) -> list[Json]:
        label, _, value = selector.partition("=")
        wanted = {ALIASES.get(kind, kind) for kind in kinds.split(",")}
        found = [
            thing
            for (kind, _), thing in self.things.items()
            if kind in wanted and (thing["metadata"].get("labels") or {}).get(label) == value
        ]
        if kinds == "deployments,statefulsets":
            self.slow_looks -= 1
            for thing in found:
                replicas = thing["spec"]["replicas"] if self.slow_looks < 0 else 0
                thing["status"] = {"readyReplicas": replicas, "updatedReplicas": replicas}
        return found

    def kinds(self) -> frozenset[str]:
        return frozenset(KINDS) - {"servicemonitors.monitoring.coreos.com"}

    def create(self, thing: Json) -> None:
        self.done.append(f"create {self._keep(thing)}")

    def apply(self, things: Sequence[Json]) -> list[str]:
        names = [self._keep(thing) for thing in things]
        self.done += [f"apply {name}" for name in names]
        return [f"{name} serverside-applied" for name in names]

    def delete(self, kind: str, name: str) -> None:
        del self.things[kind, name]
        self.done.append(f"delete {kind}/{name}")

    def _keep(self, thing: Json) -> str:
        name = thing["metadata"]["name"]
        is_knative = thing["apiVersion"] == "serving.knative.dev/v1" and thing["kind"] == "Service"
        kind = SERVICE_KIND if is_knative else NAMES[thing["kind"]]
        if is_knative and "status" not in thing:
            status = service_json(name, {"revisionName": f"{name}-00001", "percent": 100})["status"]
            metadata = {**thing["metadata"], "generation": 1}
            thing = {**thing, "metadata": metadata, "status": {**status, "observedGeneration": 1}}
        self.things[kind, name] = thing
        return f"{kind}/{name}"


def ours(kind: str, name: str, api_version: str = "v1", **more: Any) -> Json:
    """Return an object with the label of the manifests."""
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "labels": {PART_OF: OURS}}, **more}


def knative_service(name: str) -> Json:
    return ours("Service", name, "serving.knative.dev/v1", spec={})


def deployment(name: str, service: str = "resnet18", replicas: int = 2) -> Json:
    """Return one of our Deployments, which reads the key of the control port."""
    container = {"name": name, "env": [{"name": "SERVICE", "value": service}]}
    volume = {"name": "key", "secret": {"secretName": "dispatcher-control"}}
    spec = {"replicas": replicas, "template": {"spec": {"containers": [container], "volumes": [volume]}}}
    return ours("Deployment", name, "apps/v1", spec=spec)


def lease(name: str, renewed: str, **annotations: str) -> Json:
    """Return a Lease that is valid for 15 s after renewed."""
    spec = {"holderIdentity": "elastic-controller-a", "renewTime": renewed, "leaseDurationSeconds": 15}
    metadata = {"name": name, "annotations": annotations}
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
