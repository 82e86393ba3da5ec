"""The InferenceService: the same pod as the Knative Service, in KServe's terms."""

from typing import Any

import pytest
import yaml

from knative.cli import main
from knative.errors import ManifestError
from knative.objects import MAX_SCALE, METRIC, MIN_SCALE, TARGET
from knative.rendering import KSERVE_FILE, inference_service_manifest, service_manifest

# Fields of spec.predictor in InferenceService v1beta1 that this manifest uses, besides those of a pod.
COMPONENT_FIELDS = {"minReplicas", "maxReplicas", "scaleMetric", "scaleTarget", "containerConcurrency", "timeout"}


@pytest.fixture(params=[None, "pvc://models/resnet18"], ids=["own weights", "mounted weights"])
def manifest(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return the manifest, with and without a model for KServe to mount."""
    return inference_service_manifest("default", "resnet18", "example.com/resnet18:1", request.param)


def test_kserve_accepts_the_manifest(manifest: dict[str, Any]) -> None:
    assert (manifest["apiVersion"], manifest["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    predictor = manifest["spec"].pop("predictor")
    assert manifest["spec"] == {}
    assert predictor.keys() - COMPONENT_FIELDS == {"automountServiceAccountToken", "containers", "volumes"}
    assert [container["name"] for container in predictor["containers"]] == ["kserve-container"]
    assert yaml.safe_load(yaml.safe_dump(manifest)) == manifest


def test_its_pod_is_the_same_as_the_knative_services(manifest: dict[str, Any]) -> None:
    ours = service_manifest("default", "resnet18", "example.com/resnet18:1")["spec"]["template"]
    predictor = manifest["spec"]["predictor"]
    (container,) = predictor["containers"]
    (expected,) = ours["spec"]["containers"]
    assert {**expected, "name": "kserve-container", "ports": [{"containerPort": 8000, "protocol": "TCP"}]} == {
        key: value for key, value in container.items() if key != "env"
    }
    assert predictor["automountServiceAccountToken"] is ours["spec"]["automountServiceAccountToken"] is False
    assert predictor["volumes"] == ours["spec"]["volumes"]
    assert predictor["containerConcurrency"] == ours["spec"]["containerConcurrency"]
    assert predictor["timeout"] == ours["spec"]["timeoutSeconds"]
    scale = ours["metadata"]["annotations"]
    assert (str(predictor["minReplicas"]), str(predictor["maxReplicas"])) == (scale[MIN_SCALE], scale[MAX_SCALE])
    assert (predictor["scaleMetric"], str(predictor["scaleTarget"])) == (scale[METRIC], scale[TARGET])


def test_a_storage_uri_only_adds_its_variable(capsys: pytest.CaptureFixture[str]) -> None:
    rendered = []
    for more in ([], ["--storage-uri", "s3://models/resnet18"]):
        assert main(["render", "--kserve", "--image", "i", *more], {}) == 0
        rendered.append(yaml.safe_load(capsys.readouterr().out))
    plain, mounted = rendered
    assert mounted["spec"]["predictor"]["containers"][0].pop("env") == [
        {"name": "STORAGE_URI", "value": "s3://models/resnet18"}
    ]
    assert mounted == plain


def test_a_storage_uri_without_a_scheme_or_without_kserve_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ManifestError, match="scheme://"):
        inference_service_manifest("default", "resnet18", "i", "models/resnet18")
    assert main(["render", "--storage-uri", "s3://m"], {}) == 2
    assert "--storage-uri needs --kserve" in capsys.readouterr().err


def test_the_folder_for_kubectl_contains_the_same_manifest() -> None:
    folder = KSERVE_FILE.parent
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    (file,) = kustomization["resources"]
    shipped = yaml.safe_load((folder / file).read_text())
    rendered = inference_service_manifest("default", "resnet18", "dev.local/resnet18")
    del rendered["metadata"]["namespace"]
    assert shipped == rendered
