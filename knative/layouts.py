"""What can be deployed: an overlay of manifests/, with optional parts, under other names and with other images."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from knative.errors import ManifestError
from knative.objects import SERVING_GROUP, Json
from knative.rendering import NAME_LABEL, check_all

MANIFESTS = Path(__file__).parent / "manifests"
# the Knative Service alone, for which no kustomize is needed
SERVICE = "service"
WITHOUT_KNATIVE = ("kubernetes", "kubernetes-tuned")
OVERLAYS = ("kpa", "hpa", "tuned", "private", "existing", *WITHOUT_KNATIVE)
PARTS = ("private", "redis", "eventing", "service-monitor", "network-policy")
# What a part needs, and the overlays that do not have it
NEEDS = {
    "private": (("existing", *WITHOUT_KNATIVE), "an overlay with the Knative Service"),
    "service-monitor": (WITHOUT_KNATIVE, "an overlay for a Knative Service, whose name is a label of each series"),
}

PART_OF = "app.kubernetes.io/part-of"
OURS = "elastic-ml-inference"
DEFAULT_NAME = "resnet18"
# Deployments whose variable SERVICE names the Knative Service, and their containers
DISPATCHER, CONTROLLER = "dispatcher", "elastic-controller"
CONTAINERS = {DISPATCHER: "dispatcher", CONTROLLER: "controller"}
# Secrets that are generated when they are missing, with the name of their one value
GENERATED = {"dispatcher-control": "key", "redis": "password"}


@dataclass(frozen=True, slots=True)
class Layout:
    """What to deploy, and where. images: by the names that the manifests have."""

    overlay: str
    parts: tuple[str, ...]
    namespace: str
    name: str
    images: Mapping[str, str]

    def __post_init__(self) -> None:
        for image in self.images.values():
            check_all(self.namespace, self.name, image)
        for what, names, known in (("overlay", (self.overlay,), (SERVICE, *OVERLAYS)), ("part", self.parts, PARTS)):
            for name in names:
                if name not in known:
                    raise ManifestError(f"{what} must be one of {', '.join(known)}, got {name!r}")
        self._check_needs()
        if self.overlay == SERVICE and self.parts:
            raise ManifestError(f"--with needs an overlay, one of {', '.join(OVERLAYS)}, got {SERVICE!r}")
        if self.overlay in WITHOUT_KNATIVE and self.name != DEFAULT_NAME:
            has_none = f"{self.overlay} has none"
            raise ManifestError(f"--name must be that of a Knative Service, and {has_none}, got {self.name!r}")

    def _check_needs(self) -> None:
        for part, (lacking, need) in NEEDS.items():
            if part in self.parts and self.overlay in lacking:
                raise ManifestError(f"the part {part} needs {need}, got {self.overlay!r}")

    def kustomization(self, manifests: str) -> Json:
        """Return the kustomization, for a folder from which this path leads to the manifests."""
        renames = [_service_rename(self.name), *map(self._variable, CONTAINERS), _monitor_rename(self.name)]
        return {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "namespace": self.namespace,
            "resources": [f"{manifests}/overlays/{self.overlay}"],
            "components": [f"{manifests}/components/{part}" for part in self.parts],
            "images": [_image(name, wanted) for name, wanted in self.images.items()],
            "patches": [] if self.name == DEFAULT_NAME else renames,
        }

    def _variable(self, deployment: str) -> Json:
        container = {"name": CONTAINERS[deployment], "env": [{"name": "SERVICE", "value": self.name}]}
        patch = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": deployment},
            "spec": {"template": {"spec": {"containers": [container]}}},
        }
        return {"target": {"kind": "Deployment", "name": deployment}, "patch": json.dumps(patch)}


def _service_rename(name: str) -> Json:
    label = NAME_LABEL.replace("/", "~1")
    places = ("/metadata/name", f"/metadata/labels/{label}", f"/spec/template/metadata/labels/{label}")
    return {
        "target": {"group": SERVING_GROUP, "kind": "Service", "name": DEFAULT_NAME},
        "patch": json.dumps([{"op": "replace", "path": place, "value": name} for place in places]),
        "options": {"allowNameChange": True},
    }


def _monitor_rename(name: str) -> Json:
    """Return the patch of the label `service` on the dispatchers' metrics; without the part it has no target."""
    return {
        "target": {"kind": "ServiceMonitor", "name": DISPATCHER},
        "patch": json.dumps([{"op": "replace", "path": "/spec/endpoints/0/relabelings/0/replacement", "value": name}]),
    }


def _image(name: str, wanted: str) -> Json:
    """Return kustomize's replacement of an image: NAME[:TAG][@DIGEST], where a registry's port is no tag."""
    rest, _, digest = wanted.partition("@")
    path, colon, tag = rest.rpartition(":")
    has_tag = bool(colon) and "/" not in tag
    replacement = {"name": name, "newName": path if has_tag else rest}
    if digest:
        return replacement | {"digest": digest}
    return replacement | ({"newTag": tag} if has_tag else {})


def secrets_of(things: Sequence[Json]) -> list[str]:
    """Return the generated Secrets that the pods of these objects read."""
    named = set(_secret_names(list(things)))
    return [name for name in GENERATED if name in named]


def _secret_names(value: object) -> Iterator[str]:
    """Yield the names of the Secrets in volumes and variables, wherever they stand."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "secretName":
                yield inner
            elif key == "secretKeyRef":
                yield inner["name"]
            else:
                yield from _secret_names(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _secret_names(inner)


def secret(name: str, value: str) -> Json:
    """Return a generated Secret with its one value."""
    labels = {PART_OF: OURS}
    metadata = {"name": name, "labels": labels}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {GENERATED[name]: value}}


def variable(deployment: Mapping[str, Any], name: str) -> str | None:
    """Return an environment variable of a Deployment's first container; None if it is not set there."""
    env = deployment["spec"]["template"]["spec"]["containers"][0].get("env") or ()
    return next((one.get("value") for one in env if one["name"] == name), None)
