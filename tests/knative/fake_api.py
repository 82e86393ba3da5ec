"""A cluster in memory: the part of the API server that the client uses."""

from collections.abc import Callable, Iterable, Mapping

from knative.errors import ClusterError, ConflictError, NotFoundError
from knative.leases import LEASES
from knative.objects import (
    ACTIVATION_SCALE,
    AUTOSCALING_GROUP,
    MAX_SCALE,
    MIN_SCALE,
    REVISION_LABEL,
    REVISIONS,
    SERVICES,
    Json,
    annotation,
)
from knative.workloads import DEPLOYMENTS, HPAS, PODAUTOSCALERS


class FakeApi:
    """Implements Api; `calls` contains all writes, in order.

    refuse: called before each write with verb, plural and name; it may raise ClusterError, as a webhook or a role does.
    away: whether every call fails.
    copies: whether a PodAutoscaler has the annotations of its Revision at once, as in Knative 1.21 and newer.
    """

    def __init__(
        self, services: Iterable[Json] = (), revisions: Iterable[Json] = (), pods: Iterable[Json] = ()
    ) -> None:
        self.objects: dict[str, dict[str, Json]] = {
            SERVICES: {service["metadata"]["name"]: service for service in services},
            REVISIONS: {revision["metadata"]["name"]: revision for revision in revisions},
            LEASES: {},
            PODAUTOSCALERS: {},
            DEPLOYMENTS: {},
            HPAS: {},
        }
        self.copies = True
        self.pod_list = list(pods)
        self.calls: list[tuple[str, str, str, Json]] = []
        self.refuse: Callable[[str, str, str], None] = lambda verb, plural, name: None
        self.away = False
        self._version = 0

    def get(self, plural: str, name: str) -> Json:
        self._answer()
        if name not in self.objects[plural]:
            raise NotFoundError(f"cannot get {plural}/{name}: not found (HTTP 404)")
        return self.objects[plural][name]

    def create(self, plural: str, body: Json) -> Json:
        name = body["metadata"]["name"]
        if name in self.objects[plural]:
            raise ConflictError(f"cannot create {plural}/{name}: it exists (HTTP 409)")
        return self._write("create", plural, name, body, body)

    def apply(self, plural: str, name: str, body: Json) -> None:
        self._write("apply", plural, name, body, merged(self.objects[plural].get(name, {}), body))

    def merge_patch(self, plural: str, name: str, patch: Json) -> Json:
        found = self.get(plural, name)
        version = patch.get("metadata", {}).get("resourceVersion")
        if version is not None and version != found["metadata"].get("resourceVersion"):
            raise ConflictError(f"cannot patch {plural}/{name}: the object has been modified (HTTP 409)")
        return self._write("patch", plural, name, patch, merged(found, patch))

    def delete(self, plural: str, name: str) -> None:
        self.get(plural, name)
        self.refuse("delete", plural, name)
        self.calls.append(("delete", plural, name, {}))
        del self.objects[plural][name]

    def pod_get(self, pod: str, port: int, path: str) -> bytes:
        self._answer()
        raise NotFoundError(f"cannot get {path} of pod {pod}: not found (HTTP 404)")

    def patch_scale(self, plural: str, name: str, patch: Json) -> Json:
        return self.merge_patch(plural, name, patch)

    def all_of(self, plural: str) -> list[Json]:
        self._answer()
        return list(self.objects[plural].values())

    def pods(self, label_selector: str) -> list[Json]:
        self._answer()
        wanted = dict(term.split("=") for term in label_selector.split(","))
        return [pod for pod in self.pod_list if wanted.items() <= pod["metadata"]["labels"].items()]

    def annotations(self, revision: str) -> dict[str, str]:
        """Return the autoscaling annotations of a Revision, without their group."""
        found = self.objects[REVISIONS][revision]["metadata"].get("annotations", {})
        return {key.partition("/")[2]: value for key, value in found.items()}

    def edit(self, revision: str, **annotations: str | None) -> None:
        """Change annotations of a Revision as another client would."""
        changes = {f"{AUTOSCALING_GROUP}/{key.replace('_', '-')}": value for key, value in annotations.items()}
        found = self.objects[REVISIONS][revision]
        self.objects[REVISIONS][revision] = merged(found, {"metadata": {"annotations": changes}})

    def _answer(self) -> None:
        if self.away:
            raise ClusterError("cannot reach the API server")

    def _write(self, verb: str, plural: str, name: str, sent: Json, outcome: Json) -> Json:
        self._answer()
        self.refuse(verb, plural, name)
        if plural in (REVISIONS, PODAUTOSCALERS):
            validate_bounds(outcome["metadata"].get("annotations") or {})
        if plural == HPAS and not 1 <= outcome["spec"]["minReplicas"] <= outcome["spec"]["maxReplicas"]:
            raise ClusterError(f"{name} is invalid: {outcome['spec']} (HTTP 422)")
        self._version += 1
        self.calls.append((verb, plural, name, sent))
        self.objects[plural][name] = merged(outcome, {"metadata": {"resourceVersion": str(self._version)}})
        if self.copies and plural in (REVISIONS, PODAUTOSCALERS) and name in self.objects[PODAUTOSCALERS]:
            copied = self.objects[REVISIONS][name]["metadata"]["annotations"]
            self.objects[PODAUTOSCALERS][name]["metadata"]["annotations"] = dict(copied)
        return self.objects[plural][name]


def validate_bounds(annotations: Mapping[str, str]) -> None:
    """Refuse bounds that Knative's webhook refuses.

    Source: knative/serving pkg/apis/autoscaling/annotation_validation.go, validateMinMaxScale().
    """
    least, most, activation = (
        int(annotation(annotations, name) or 0) for name in (MIN_SCALE, MAX_SCALE, ACTIVATION_SCALE)
    )
    if (0 < most < least) or (activation and (least > activation or 0 < most < activation)):
        raise ClusterError(f"admission webhook denied the request: {least}, {activation}, {most} (HTTP 400)")


def merged(target: Json, patch: Json) -> Json:
    """Return the result of a JSON merge patch (RFC 7386)."""
    result = dict(target)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key, {}), value) if isinstance(value, dict) else value
    return result


def ready(state: str = "True") -> Json:
    """Return a status with the condition Ready."""
    return {"conditions": [{"type": "Ready", "status": state, "lastTransitionTime": "2026-08-21T10:00:03Z"}]}


def service_json(name: str, *traffic: Json) -> Json:
    """Return a Service with these traffic entries."""
    status = {**ready(), "url": f"http://{name}.default.example.com", "traffic": list(traffic)}
    return {"metadata": {"name": name}, "spec": {}, "status": status}


def revision_json(name: str, **annotations: str) -> Json:
    """Return a Revision; a keyword such as min_scale sets the annotation autoscaling.knative.dev/min-scale."""
    named = {f"{AUTOSCALING_GROUP}/{key.replace('_', '-')}": value for key, value in annotations.items()}
    return {"metadata": {"name": name, "uid": f"uid-of-{name}", "annotations": named}, "status": ready()}


def pod_json(name: str, revision: str, status: Json, deleted: bool = False) -> Json:
    """Return a pod of a Revision."""
    metadata = {
        "name": name,
        "labels": {REVISION_LABEL: revision},
        "creationTimestamp": "2026-08-21T10:00:00Z",
        **({"deletionTimestamp": "2026-08-21T10:01:00Z"} if deleted else {}),
    }
    return {"metadata": metadata, "status": status}


def pod_autoscaler_json(revision: str, **annotations: str) -> Json:
    """Return the PodAutoscaler of a Revision."""
    made = revision_json(revision, **annotations)
    return merged(made, {"metadata": {"uid": f"uid-of-pa-{revision}"}})


def deployment_json(name: str, replicas: int = 1) -> Json:
    """Return a Deployment whose pods have the label app."""
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}}
    return {"metadata": {"name": name, "resourceVersion": "0"}, "spec": spec, "status": {}}


def hpa_json(name: str, deployment: str, least: int = 1, most: int = 10) -> Json:
    """Return a HorizontalPodAutoscaler of a Deployment."""
    scaled = {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment}
    spec = {"scaleTargetRef": scaled, "minReplicas": least, "maxReplicas": most}
    return {"metadata": {"name": name, "uid": f"uid-of-{name}"}, "spec": spec}
