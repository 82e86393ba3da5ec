"""A copy of a Knative Service under Knative's HPA class, for as long as a comparison needs it.

The class of a live Revision cannot change. A new Revision in the user's own Service would need its template changed and
restored; a copy leaves the Service alone, whatever ends the comparison.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from urllib.parse import urlsplit

from autoscaler_tuning.live.local_stack import KnativeRoute, StackError
from autoscaler_tuning.policies.hpa.hpa import HpaConfig
from autoscaler_tuning.policies.kpa.knobs import KpaKnobs
from autoscaler_tuning.policies.registry import PolicySpec
from knative.client import KnativeClient
from knative.errors import NotFoundError
from knative.objects import (
    AUTOSCALING_GROUP,
    CLASS,
    HPA_CLASS,
    MAX_SCALE,
    METRIC,
    SERVICE_LABEL,
    SERVICES,
    SERVING_GROUP,
    SERVING_VERSION,
    TARGET,
    Json,
    Service,
    living_pods,
    spellings,
)

OWNER_LABEL, OWNER = "app.kubernetes.io/managed-by", "elastic-ml-inference-compare"
POLL_EVERY_S = 0.5

NOTE = (
    "HPA: a copy of the Service in the HPA class, made for this run and deleted after it; at least 1 pod, because that "
    "class does not scale to zero, and 1 pod at the start; the target is a share of the pod's CPU request"
)


def hpa_manifest(service: Json, spec: PolicySpec, max_pods: int) -> Json:
    """Return the manifest of a copy of this Service, whose template is in Knative's HPA class.

    Knobs of KPA and min-scale are left out, so that Kubernetes' defaults hold, as for a user who sets class, metric and
    target alone. Raises StackError if the policy has settings that no annotation has.
    """
    target = spec.config.target_utilization_percent
    if spec.config != HpaConfig(target_utilization_percent=target):
        raise StackError(f"on Knative hpa has only the setting target_utilization_percent, got {spec.name}", 2)
    template = service["spec"]["template"]
    metadata = template.get("metadata") or {}
    dropped = {key for name in KpaKnobs.names() for key in spellings(f"{AUTOSCALING_GROUP}/{name}")}
    kept = {key: text for key, text in (metadata.get("annotations") or {}).items() if key not in dropped}
    scaled = {CLASS: HPA_CLASS, METRIC: "cpu", TARGET: str(target), MAX_SCALE: str(max_pods)}
    labels = {**(metadata.get("labels") or {}), OWNER_LABEL: OWNER}
    return {
        "apiVersion": f"{SERVING_GROUP}/{SERVING_VERSION}",
        "kind": "Service",
        "metadata": {"name": copy_name(service["metadata"]["name"], target), "labels": {OWNER_LABEL: OWNER}},
        "spec": {
            "template": {"metadata": {"annotations": {**kept, **scaled}, "labels": labels}, "spec": template["spec"]}
        },
    }


def copy_name(service: str, target_percent: int) -> str:
    """Return the name of the copy; a name that is too long for a host name is cut."""
    return f"{service[:50].rstrip('-')}-hpa{target_percent}"


@contextmanager
def hpa_copy(
    client: KnativeClient, route: KnativeRoute, spec: PolicySpec, max_pods: int, timeout_s: float = 300.0
) -> Iterator[KnativeRoute]:
    """Yield the route of a ready copy of the Service; at the end, delete it and wait until it has no pod.

    A copy that a killed comparison left is replaced. Raises StackError if the copy does not become ready in timeout_s,
    or if a Service of that name exists which is no such copy; KnativeError if the cluster rejects a request.
    """
    manifest = hpa_manifest(client.api.get(SERVICES, route.service), spec, max_pods)
    name = manifest["metadata"]["name"]
    with suppress(NotFoundError):
        if (client.api.get(SERVICES, name)["metadata"].get("labels") or {}).get(OWNER_LABEL) != OWNER:
            raise StackError(f"{spec.name} needs the name of a copy of the Service, but another Service has it: {name}")
        _delete(client, name, timeout_s)
    try:
        client.api.create(SERVICES, manifest)
        wait_until(lambda: _is_ready(client, name), f"{name} is not ready", timeout_s)
        yield _route_of(route, client.service(name))
    finally:
        with suppress(NotFoundError):
            _delete(client, name, timeout_s)


def wait_until(done: Callable[[], bool], failure: str, timeout_s: float) -> None:
    """Poll until the condition holds; raise StackError with the failure after timeout_s."""
    deadline_s = time.monotonic() + timeout_s
    while not done():
        if time.monotonic() > deadline_s:
            raise StackError(f"{failure} after {timeout_s:g} s")
        time.sleep(POLL_EVERY_S)


def _is_ready(client: KnativeClient, name: str) -> bool:
    service = client.service(name)
    return service.ready and any(pod.phase == "ready" for pod in client.pods(service.live_revision()))


def _delete(client: KnativeClient, name: str, timeout_s: float) -> None:
    client.api.delete(SERVICES, name)
    selector = f"{SERVICE_LABEL}={name}"
    wait_until(lambda: not living_pods(client.api.pods(selector)), f"{name} is deleted and still has pods", timeout_s)


def _route_of(route: KnativeRoute, copy: Service) -> KnativeRoute:
    """Return the copy's route: at the same gateway if the Service is reached through one, else at its own URL."""
    url = copy.url or ""
    if route.host:
        return replace(route, service=copy.name, host=urlsplit(url).netloc)
    return replace(route, service=copy.name, url=url)
