"""Renders what is deployed from manifests/: the Knative Service, or KServe's InferenceService."""

import re
from pathlib import Path

import yaml

from knative.errors import ManifestError
from knative.objects import Json

SERVICE_FILE = Path(__file__).parent / "manifests/base/service.yaml"
KSERVE_FILE = Path(__file__).parent / "manifests/kserve/inferenceservice.yaml"
NAME_LABEL = "app.kubernetes.io/name"
# a Service's name becomes a host name that must begin with a letter (RFC 1035); a namespace may begin with a digit
SERVICE_NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def service_manifest(namespace: str, name: str, image: str) -> Json:
    """Return the manifest with this name and image; raise ManifestError if a cluster would refuse it."""
    check_all(namespace, name, image)
    service: Json = yaml.safe_load(SERVICE_FILE.read_text())
    template = service["spec"]["template"]
    service["metadata"] |= {"name": name, "namespace": namespace}
    service["metadata"]["labels"][NAME_LABEL] = template["metadata"]["labels"][NAME_LABEL] = name
    template["spec"]["containers"][0]["image"] = image
    return service


def inference_service_manifest(namespace: str, name: str, image: str, storage_uri: str | None = None) -> Json:
    """Return KServe's manifest of the same pod; storage_uri names a model for KServe to mount.

    Raise ManifestError if a cluster would refuse the manifest.
    """
    check_all(namespace, name, image)
    if storage_uri is not None and "://" not in storage_uri:
        raise ManifestError(f"the storage URI must have the form scheme://..., got {storage_uri!r}")
    service: Json = yaml.safe_load(KSERVE_FILE.read_text())
    service["metadata"] |= {"name": name, "namespace": namespace}
    service["metadata"]["labels"][NAME_LABEL] = name
    container = service["spec"]["predictor"]["containers"][0]
    container["image"] = image
    if storage_uri is not None:
        container["env"] = [{"name": "STORAGE_URI", "value": storage_uri}]
    return service


def check_all(namespace: str, name: str, image: str) -> None:
    """Raise ManifestError unless all three are valid in a cluster."""
    check_name("namespace", namespace)
    check_name("name", name)
    if not image or any(character.isspace() for character in image):
        raise ManifestError(f"image must be a name without spaces, got {image!r}")


def check_name(what: str, name: str) -> None:
    """Raise ManifestError unless Kubernetes accepts the name; what is "namespace" or anything else with a name."""
    pattern, first = (NAMESPACE, "a letter or digit") if what == "namespace" else (SERVICE_NAME, "a letter")
    if not pattern.fullmatch(name):
        raise ManifestError(
            f"{what} must be 1 to 63 of a-z, 0-9 and -, begin with {first} and not end with -, got {name!r}"
        )


class _Dumper(yaml.SafeDumper):
    """Quotes y and n, which kubectl and kustomize read as booleans and PyYAML does not."""


_Dumper.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("[yYnN]$"), list("yYnN"))


def as_yaml(manifest: Json) -> str:
    """Return the manifest as YAML, for kubectl and kustomize."""
    return yaml.dump(manifest, Dumper=_Dumper, sort_keys=False)
