"""Manifests: what is deployed, and with which hardened defaults."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from knative.errors import ManifestError
from knative.objects import AUTOSCALING_GROUP, CLASS, MAX_SCALE, METRIC, MIN_SCALE, TARGET
from knative.rendering import SERVICE_FILE, as_yaml, service_manifest

MANIFESTS = SERVICE_FILE.parent.parent
FILES = sorted(MANIFESTS.rglob("*.yaml"))


def documents(file: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(file.read_text()) if document]


def test_name_namespace_and_image_are_filled_in() -> None:
    service = service_manifest("team-a", "cats", "example.com/cats:1")
    assert service["metadata"]["name"] == service["metadata"]["labels"]["app.kubernetes.io/name"] == "cats"
    assert service["metadata"]["namespace"] == "team-a"
    assert service["spec"]["template"]["spec"]["containers"][0]["image"] == "example.com/cats:1"
    assert yaml.safe_load(as_yaml(service)) == service


@pytest.mark.parametrize(
    ("namespace", "name", "image", "rule"),
    [
        ("default", "Cats", "i", "name must be"),
        ("default", "", "i", "name must be"),
        ("default", "a" * 64, "i", "name must be"),
        ("default", "cats-", "i", "name must be"),
        ("default", "cats\n", "i", "name must be"),
        ("default", "2024-cats", "i", "name must be"),
        ("default; rm", "cats", "i", "namespace must be"),
        ("default", "cats", "", "image must be"),
        ("default", "cats", "a b", "image must be"),
    ],
)
def test_values_that_a_cluster_would_refuse_are_refused(namespace: str, name: str, image: str, rule: str) -> None:
    with pytest.raises(ManifestError, match=rule):
        service_manifest(namespace, name, image)


def test_a_namespace_may_begin_with_a_digit() -> None:
    assert service_manifest("2024-team", "cats", "i")["metadata"]["namespace"] == "2024-team"


def test_the_service_scales_from_zero_on_concurrency_with_one_request_per_pod() -> None:
    template = service_manifest("default", "resnet18", "i")["spec"]["template"]
    assert template["spec"]["containerConcurrency"] == 1
    assert template["metadata"]["annotations"] == {
        CLASS: f"kpa.{AUTOSCALING_GROUP}",
        METRIC: "concurrency",
        TARGET: "1",
        MIN_SCALE: "0",
        MAX_SCALE: "8",
    }
    (container,) = template["spec"]["containers"]
    assert container["ports"] == [{"containerPort": 8000}]
    assert container["resources"] == {
        "requests": {"cpu": "200m", "memory": "512Mi"},
        "limits": {"cpu": "1", "memory": "1Gi"},
    }


def containers() -> list[Any]:
    found = []
    for file in FILES:
        for document in documents(file):
            spec = document.get("spec", {}).get("template", {}).get("spec", {})
            for container in spec.get("containers", []):
                where = f"{file.relative_to(MANIFESTS)} {document['metadata']['name']}"
                found.append(pytest.param(spec, container, id=where))
    return found


@pytest.mark.parametrize(("pod", "container"), containers())
def test_every_container_is_restricted(pod: dict[str, Any], container: dict[str, Any]) -> None:
    context = {**pod.get("securityContext", {}), **container["securityContext"]}
    assert context == {
        "runAsNonRoot": True,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert {"requests", "limits"} <= container["resources"].keys()
    assert "httpGet" in container["readinessProbe"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(MANIFESTS)))
def test_every_file_that_a_kustomization_names_exists(file: Path) -> None:
    for document in documents(file):
        if document.get("kind") == "Kustomization":
            named = [*document["resources"], *(patch["path"] for patch in document.get("patches", []))]
            assert all((file.parent / name).exists() for name in named)


def test_overlays_set_class_and_metric() -> None:
    classes = {}
    for file in MANIFESTS.glob("overlays/*/autoscaling.yaml"):
        (patch,) = documents(file)
        annotations = patch["spec"]["template"]["metadata"]["annotations"]
        classes[file.parent.name] = annotations[CLASS].partition(".")[0]
        assert METRIC in annotations
    assert classes == {"kpa": "kpa", "hpa": "hpa", "tuned": "kpa"}
