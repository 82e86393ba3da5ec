"""What limits the pods of a workload: annotations of Knative's objects, or the spec of a HorizontalPodAutoscaler."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from knative.errors import NotFoundError, OwnedError
from knative.objects import AUTOSCALING_GROUP, Json, Revision, refusal

# Knative's own object beside each Revision, of the same name; its autoscaler reads the annotations there.
PODAUTOSCALERS = "podautoscalers"
PODAUTOSCALER_GROUP = "autoscaling.internal.knative.dev"
PODAUTOSCALER_VERSION = "v1alpha1"

DEPLOYMENTS = "deployments"
APPS_GROUP = "apps"
APPS_VERSION = "v1"

HPAS = "horizontalpodautoscalers"
HPA_GROUP = "autoscaling"
HPA_VERSION = "v2"
MIN_REPLICAS = "minReplicas"
MAX_REPLICAS = "maxReplicas"


@dataclass(frozen=True, slots=True)
class ScaledObject:
    """An object whose settings limit the number of pods.

    plural: its kind, as in the API's paths.
    uid: differs between two objects of the same name, of which the first was deleted.
    settings: by name, as text: annotations of autoscaling.knative.dev, or minReplicas and maxReplicas of an HPA.
    """

    plural: str
    name: str
    uid: str
    settings: Mapping[str, str]

    @classmethod
    def from_json(cls, plural: str, thing: Mapping[str, Any]) -> Self:
        """Return the object of this kind that the API server's JSON describes."""
        metadata = thing["metadata"]
        if plural == HPAS:
            settings = {
                name: str(thing["spec"][name]) for name in (MIN_REPLICAS, MAX_REPLICAS) if name in thing["spec"]
            }
        else:
            found = metadata.get("annotations") or {}
            settings = {key: text for key, text in found.items() if key.startswith(f"{AUTOSCALING_GROUP}/")}
        return cls(plural, metadata["name"], metadata.get("uid", ""), settings)

    @classmethod
    def of_revision(cls, plural: str, revision: Revision) -> Self:
        """Return a Revision that was read already."""
        return cls(plural, revision.name, revision.uid, revision.annotations)


def settings_patch(plural: str, settings: Mapping[str, str | None]) -> Json:
    """Return the JSON merge patch (RFC 7386) that changes these settings, and removes those that are None."""
    if plural == HPAS:
        return {"spec": {name: None if text is None else int(text) for name, text in settings.items()}}
    return {"metadata": {"annotations": dict(settings)}}


@dataclass(frozen=True, slots=True)
class Deployment:
    """A Deployment; replicas are those that it should have.

    version: the resource version, which changes with each write.
    selector: the label selector of its pods, as text.
    problem: why pods cannot be created, such as an exceeded quota; None if nothing is known.
    """

    name: str
    version: str
    replicas: int
    selector: str
    problem: str | None

    @classmethod
    def from_json(cls, deployment: Mapping[str, Any]) -> Self:
        """Return the Deployment that the API server's JSON describes."""
        metadata, spec = deployment["metadata"], deployment["spec"]
        replicas = spec.get("replicas")
        return cls(
            name=metadata["name"],
            version=metadata.get("resourceVersion", ""),
            replicas=1 if replicas is None else replicas,
            selector=selector_text(spec["selector"]),
            problem=refusal(deployment, "ReplicaFailure", "True"),
        )

    def replicas_patch(self, replicas: int) -> Json:
        """Return the patch of its scale; the API server refuses it (409) if another client wrote since it was read."""
        return {"metadata": {"resourceVersion": self.version}, "spec": {"replicas": replicas}}


def selector_text(selector: Mapping[str, Any]) -> str:
    """Return a LabelSelector of a spec in the text form of a query."""
    terms = [f"{label}={value}" for label, value in (selector.get("matchLabels") or {}).items()]
    for rule in selector.get("matchExpressions") or ():
        label, values = rule["key"], ",".join(rule.get("values") or ())
        forms = {"In": f"{label} in ({values})", "NotIn": f"{label} notin ({values})"}
        terms.append({**forms, "Exists": label, "DoesNotExist": f"!{label}"}[rule["operator"]])
    return ",".join(terms)


def hpa_of(deployment: str, hpas: Sequence[Json]) -> str:
    """Return the name of the HorizontalPodAutoscaler that scales the Deployment.

    Raises NotFoundError if there is none, OwnedError if another program keeps its settings as they are.
    """
    for hpa in hpas:
        scaled = hpa["spec"]["scaleTargetRef"]
        if (scaled["kind"], scaled["name"]) == ("Deployment", deployment):
            for owner in hpa["metadata"].get("ownerReferences") or ():
                if owner.get("controller"):
                    raise OwnedError(
                        f"the HorizontalPodAutoscaler {hpa['metadata']['name']} must have no owner, which would undo "
                        f"changes, got {owner['kind']} {owner['name']}"
                    )
            return str(hpa["metadata"]["name"])
    raise NotFoundError(f"no HorizontalPodAutoscaler scales the Deployment {deployment}; see `kubectl autoscale`")
