"""Deploys, inspects and deletes a layout in one namespace."""

import os
import secrets
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from knative.errors import ManifestError
from knative.kubectl import ClusterTool
from knative.layouts import (
    CONTAINERS,
    CONTROLLER,
    DISPATCHER,
    MANIFESTS,
    OURS,
    PART_OF,
    SERVICE,
    Layout,
    secret,
    secrets_of,
    variable,
)
from knative.objects import Json
from knative.rendering import as_yaml, service_manifest
from knative.status import FOUND, Found, Status, live_revision_name, status_of

Say = Callable[[str], None]

SELECTOR = f"{PART_OF}={OURS}"
SERVICE_KIND = "services.serving.knative.dev"
CLAIMS = "persistentvolumeclaims"
# The kinds that the manifests contain; those that the cluster has are looked through for what is ours.
KINDS = (
    "deployments.apps",
    "statefulsets.apps",
    SERVICE_KIND,
    "services",
    "poddisruptionbudgets.policy",
    "horizontalpodautoscalers.autoscaling",
    "networkpolicies.networking.k8s.io",
    "triggers.eventing.knative.dev",
    "brokers.eventing.knative.dev",
    "servicemonitors.monitoring.coreos.com",
    "podmonitors.monitoring.coreos.com",
    "prometheusrules.monitoring.coreos.com",
    "rolebindings.rbac.authorization.k8s.io",
    "roles.rbac.authorization.k8s.io",
    "serviceaccounts",
    "secrets",
    CLAIMS,
)
# Deleted first, one after the other: the controller gives bounds back, which needs its Role, and the dispatcher
# finishes what it has accepted, which needs the classifier.
FIRST = (CONTROLLER, DISPATCHER)
LOOK_EVERY_S = 1.0
# of the controllers of the overlay kubernetes-tuned, which scale the Deployment ml-app
DEPLOYMENT_LEASE = "elastic-kubernetes.ml-app"


def rendered(layout: Layout, cluster: ClusterTool) -> list[Json]:
    """Return the objects of a layout. Raises ManifestError or ClusterError."""
    if layout.overlay == SERVICE:
        return [service_manifest(layout.namespace, layout.name, layout.images["dev.local/resnet18"])]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        way = os.path.relpath(MANIFESTS.resolve(), folder)  # kustomize refuses absolute paths
        (folder / "kustomization.yaml").write_text(as_yaml(layout.kustomization(way)))
        return cluster.kustomize(folder)


def deploy(layout: Layout, cluster: ClusterTool, timeout_s: float, say: Say) -> bool:
    """Apply a layout, remove what another layout left, and wait until all is healthy; return whether it is.

    say: gets a line for each object, and one whenever what is missing has changed.
    Raises ManifestError or ClusterError.
    """
    things = rendered(layout, cluster)
    if layout.overlay != SERVICE:
        _refuse_other_name(layout.name, cluster)
    for name in secrets_of(things):
        if cluster.get("secret", name) is None:
            cluster.create(secret(name, secrets.token_hex(32)))
            say(f"secret/{name} generated")
    for line in cluster.apply(things):
        say(line)
    if layout.overlay != SERVICE:
        kept = {(thing["kind"], thing["metadata"]["name"]) for thing in things}
        left = [(kind, thing) for kind, thing in _ours(layout.name, cluster) if _key(thing) not in kept]
        _delete([(kind, thing) for kind, thing in left if kind not in (SERVICE_KIND, "secrets", CLAIMS)], cluster, say)
    return _healthy_in_time(layout.name, cluster, timeout_s, say)


def _healthy_in_time(name: str, cluster: ClusterTool, timeout_s: float, say: Say) -> bool:
    until_s = time.monotonic() + timeout_s
    said: str | None = None
    while True:
        status = look(name, cluster)
        missing = "; ".join(status.problems)
        if missing != said:
            say(f"waiting: {missing}" if missing else "all is ready")
            said = missing
        if not missing or time.monotonic() >= until_s:
            return not missing
        time.sleep(LOOK_EVERY_S)


def look(name: str, cluster: ClusterTool) -> Status:
    """Return the status of the Service of this name and of everything else of ours. Raises ClusterError."""
    service = cluster.get(SERVICE_KIND, name)
    live = live_revision_name(service)
    pods = {pod["metadata"]["name"]: pod for pod in cluster.select("pods", SELECTOR)}
    if live is not None:  # a Service that is not from our manifests has other labels
        revisions = cluster.select("pods", f"serving.knative.dev/revision={live}")
        pods |= {pod["metadata"]["name"]: pod for pod in revisions}
    return status_of(
        Found(
            name=name,
            service=service,
            revision=None if live is None else cluster.get("revisions.serving.knative.dev", live),
            lease=_lease(name, cluster),
            workloads=[thing for thing in cluster.select("deployments,statefulsets", SELECTOR) if _is_top(thing)],
            pods=list(pods.values()),
        ),
        datetime.now(UTC),
    )


def delete(name: str, cluster: ClusterTool, with_volumes: bool, say: Say) -> None:
    """Delete what the manifests have made for the Service of this name, and nothing else. Raises ClusterError."""
    _refuse_other_name(name, cluster)
    found = [(kind, thing) for kind, thing in _ours(name, cluster) if with_volumes or kind != CLAIMS]
    _delete(found, cluster, say)
    lease = _lease(name, cluster)
    if lease is None:
        return
    kept = [key for key in lease["metadata"].get("annotations") or {} if key.startswith(FOUND)]
    if kept and cluster.get(SERVICE_KIND, name) is not None:
        say(f"lease/{lease['metadata']['name']} is kept: it has bounds of a Revision that were not given back")
        return
    _delete([("leases.coordination.k8s.io", lease)], cluster, say)


def _lease(name: str, cluster: ClusterTool) -> Json | None:
    """Return the Lease of the controllers: that of the Service, or without Knative that of the Deployment."""
    return cluster.get("lease", f"elastic-{name}") or cluster.get("lease", DEPLOYMENT_LEASE)


def _refuse_other_name(name: str, cluster: ClusterTool) -> None:
    """Raise ManifestError if the dispatcher or the controller of the namespace works for another Service."""
    for deployment in CONTAINERS:
        found = cluster.get("deployment", deployment)
        if found is None or variable(found, "TARGET") == "kubernetes":
            continue
        other = variable(found, "SERVICE") or name
        if other != name:
            raise ManifestError(f"--name must be {other!r}, which {deployment} in this namespace is for, got {name!r}")


def _ours(name: str, cluster: ClusterTool) -> list[tuple[str, Json]]:
    """Return kind and object of all that the manifests make; of Knative Services the one of this name, and the sink."""
    known = cluster.kinds()
    found = [
        (kind, thing)
        for kind in KINDS
        if kind in known
        for thing in cluster.select(kind, SELECTOR)
        if _is_top(thing) and (kind != SERVICE_KIND or thing["metadata"]["name"] in (name, "event-display"))
    ]
    return sorted(found, key=lambda pair: _turn(pair[1]))


def _turn(thing: Json) -> int:
    """Return the place of an object in the order of deletion."""
    name = thing["metadata"]["name"]
    return FIRST.index(name) if thing["kind"] == "Deployment" and name in FIRST else len(FIRST)


def _delete(found: Sequence[tuple[str, Json]], cluster: ClusterTool, say: Say) -> None:
    for kind, thing in found:
        cluster.delete(kind, thing["metadata"]["name"])
        say(f"{kind}/{thing['metadata']['name']} deleted")


def _is_top(thing: Mapping[str, Mapping[str, object]]) -> bool:
    """Return whether nothing else owns the object; Knative copies our labels to what it makes for a Service."""
    return not thing["metadata"].get("ownerReferences")


def _key(thing: Json) -> tuple[str, str]:
    return thing["kind"], thing["metadata"]["name"]
