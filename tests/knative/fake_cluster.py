"""A cluster in memory for the command line: it keeps what is applied, and its pods become ready after some looks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from knative.installation import KINDS, SERVICE_KIND
from knative.layouts import OURS, PART_OF
from tests.knative.fake_api import service_json

Json = dict[str, Any]


def key(kind: str, group: str = "") -> str:
    """Return the name of a kind, such as deployments.apps, for any of its spellings."""
    kind = {"secret": "secrets", "deployment": "deployments", "lease": "leases"}.get(kind, kind)
    for known in (*KINDS, "leases.coordination.k8s.io", "revisions.serving.knative.dev", "pods"):
        singular = known.partition(".")[0].removesuffix("s")
        full = known.partition(".")[2]
        if kind == known or (not group and kind == known.partition(".")[0] and full != "serving.knative.dev"):
            return known
        if kind.lower() in (singular, singular.removesuffix("ie") + "y") and group == full:
            return known
    raise AssertionError(f"no such kind: {kind} of {group!r}")


class FakeCluster:
    """Implements knative.kubectl.Cluster. slow_looks: how often Deployments are seen without ready pods.

    done: the changes in their order. built: what kustomize makes.
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
        (overlay,) = (folder / resource for resource in self.kustomization["resources"])
        assert (overlay / "kustomization.yaml").exists()
        return self.built

    def get(self, kind: str, name: str) -> Json | None:
        return self.things.get((key(kind), name))

    def select(self, kinds: str, selector: str) -> list[Json]:
        label, _, value = selector.partition("=")
        wanted = {key(kind) for kind in kinds.split(",")}
        found = [
            thing
            for (kind, _), thing in self.things.items()
            if kind in wanted and (thing["metadata"].get("labels") or {}).get(label) == value
        ]
        if "deployments.apps" in wanted and len(wanted) > 1:
            self.slow_looks -= 1
            for thing in found:
                thing["status"] = workload_status(thing) if self.slow_looks < 0 else {}
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
        del self.things[key(kind), name]
        self.done.append(f"delete {kind}/{name}")

    def _keep(self, thing: Json) -> str:
        group = thing["apiVersion"].rpartition("/")[0]
        kind, name = key(thing["kind"], group), thing["metadata"]["name"]
        if kind == SERVICE_KIND:
            ready = service_json(name, {"revisionName": f"{name}-00001", "percent": 100})
            thing = {**thing, "status": {**ready["status"], "observedGeneration": 1}}
            thing["metadata"] = {**thing["metadata"], "generation": 1}
        self.things[kind, name] = thing
        return f"{kind}/{name}"


def workload_status(thing: Json) -> Json:
    wanted = thing["spec"].get("replicas", 1)
    return {"readyReplicas": wanted, "updatedReplicas": wanted}


def ours(kind: str, name: str, api_version: str = "v1", **more: Any) -> Json:
    """Return an object with the label of the manifests."""
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "labels": {PART_OF: OURS}}, **more}


def deployment(name: str, service: str = "resnet18", replicas: int = 2) -> Json:
    container = {"name": name, "env": [{"name": "SERVICE", "value": service}]}
    spec = {"replicas": replicas, "template": {"spec": {"containers": [container]}}}
    return ours("Deployment", name, "apps/v1", spec=spec)
