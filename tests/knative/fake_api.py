"""A cluster in memory: the part of the API server that the client uses."""

from collections.abc import Iterable

from knative.errors import NotFoundError
from knative.objects import AUTOSCALING_GROUP, REVISION_LABEL, REVISIONS, SERVICES, Json


class FakeApi:
    """Implements Api; `calls` contains all writes, in order."""

    def __init__(
        self, services: Iterable[Json] = (), revisions: Iterable[Json] = (), pods: Iterable[Json] = ()
    ) -> None:
        self.objects = {
            SERVICES: {service["metadata"]["name"]: service for service in services},
            REVISIONS: {revision["metadata"]["name"]: revision for revision in revisions},
        }
        self._pods = list(pods)
        self.calls: list[tuple[str, str, str, Json]] = []

    def get(self, plural: str, name: str) -> Json:
        if name not in self.objects[plural]:
            raise NotFoundError(f"cannot get {plural}/{name}: not found (HTTP 404)")
        return self.objects[plural][name]

    def apply(self, plural: str, name: str, body: Json) -> None:
        self._write("apply", plural, name, body, merged(self.objects[plural].get(name, {}), body))

    def merge_patch(self, plural: str, name: str, patch: Json) -> Json:
        return self._write("patch", plural, name, patch, merged(self.get(plural, name), patch))

    def pods(self, label_selector: str) -> list[Json]:
        label, _, value = label_selector.partition("=")
        return [pod for pod in self._pods if pod["metadata"]["labels"].get(label) == value]

    def _write(self, verb: str, plural: str, name: str, sent: Json, outcome: Json) -> Json:
        self.calls.append((verb, plural, name, sent))
        self.objects[plural][name] = outcome
        return self.objects[plural][name]


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
    return {"metadata": {"name": name, "annotations": named}, "status": ready()}


def pod_json(name: str, revision: str, status: Json, deleted: bool = False) -> Json:
    """Return a pod of a Revision."""
    metadata = {
        "name": name,
        "labels": {REVISION_LABEL: revision},
        "creationTimestamp": "2026-08-21T10:00:00Z",
        **({"deletionTimestamp": "2026-08-21T10:01:00Z"} if deleted else {}),
    }
    return {"metadata": metadata, "status": status}
