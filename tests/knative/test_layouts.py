"""Layouts: what kustomize is told, and what is refused before a cluster sees it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from autoscaler_tuning.cli import build_parser
from knative.errors import ManifestError
from knative.installation import rendered
from knative.kubectl import Kubectl
from knative.layouts import MANIFESTS, OVERLAYS, PARTS, WITHOUT_KNATIVE, Layout, secrets_of, variable
from tests.knative.fake_cluster import deployment

IMAGES = {
    "dev.local/resnet18": "reg.example:5000/resnet18",
    "dev.local/dispatcher": "reg.example/dispatcher:2",
    "dev.local/controller": "reg.example/controller:2@sha256:" + "a" * 64,
}


def layout(overlay: str = "tuned", *parts: str, name: str = "resnet18") -> Layout:
    return Layout(overlay, parts, "team-a", name, IMAGES)


def folders(kind: str) -> list[str]:
    return sorted(folder.name for folder in (MANIFESTS / kind).iterdir())


def test_each_overlay_and_each_part_is_a_folder() -> None:
    assert sorted(OVERLAYS) == folders("overlays")
    assert sorted(PARTS) == folders("components")


def test_another_name_reaches_the_label_of_the_dispatchers_metrics() -> None:
    (patch,) = (
        json.loads(one["patch"])
        for one in layout("tuned", "service-monitor", name="cats").kustomization("m")["patches"]
        if one["target"] == {"kind": "ServiceMonitor", "name": "dispatcher"}
    )
    assert patch == [{"op": "replace", "path": "/spec/endpoints/0/relabelings/0/replacement", "value": "cats"}]
    monitors = (MANIFESTS / "components/service-monitor/monitors.yaml").read_text()
    (dispatcher,) = (one for one in yaml.safe_load_all(monitors) if one["metadata"]["name"] == "dispatcher")
    assert dispatcher["spec"]["endpoints"][0]["relabelings"][0] == {"targetLabel": "service", "replacement": "resnet18"}


def test_images_are_replaced_with_tag_and_digest() -> None:
    assert layout().kustomization("m")["images"] == [
        {"name": "dev.local/resnet18", "newName": "reg.example:5000/resnet18"},
        {"name": "dev.local/dispatcher", "newName": "reg.example/dispatcher", "newTag": "2"},
        {"name": "dev.local/controller", "newName": "reg.example/controller", "digest": "sha256:" + "a" * 64},
    ]


@pytest.mark.parametrize(
    ("overlay", "parts", "name", "rule"),
    [
        ("nope", (), "resnet18", "overlay must be one of service, kpa, .* got 'nope'"),
        ("tuned", ("nope",), "resnet18", "part must be one of private, redis, .* got 'nope'"),
        ("service", ("redis",), "resnet18", "--with needs an overlay"),
        ("existing", ("private",), "resnet18", "needs an overlay with the Knative Service, got 'existing'"),
        ("kubernetes", ("service-monitor",), "resnet18", "needs an overlay for a Knative Service, .* got 'kubernetes'"),
        ("kubernetes-tuned", ("private",), "resnet18", "with the Knative Service, got 'kubernetes-tuned'"),
        ("kubernetes", (), "cats", "--name must be that of a Knative Service, and kubernetes has none, got 'cats'"),
        ("kubernetes-tuned", (), "cats", "and kubernetes-tuned has none, got 'cats'"),
        ("tuned", (), "Cats", "name must be"),
    ],
)
def test_what_makes_no_sense_is_refused(overlay: str, parts: tuple[str, ...], name: str, rule: str) -> None:
    with pytest.raises(ManifestError, match=rule):
        layout(overlay, *parts, name=name)


def test_the_secrets_that_pods_read_are_found_in_volumes_and_variables() -> None:
    redis = {"env": [{"name": "P", "valueFrom": {"secretKeyRef": {"name": "redis", "key": "password"}}}]}
    foreign = {"volumes": [{"secret": {"secretName": "somebody-elses"}}]}
    assert secrets_of([deployment("dispatcher"), redis, foreign]) == ["dispatcher-control", "redis"]
    assert secrets_of([foreign]) == []


def built(what: Layout) -> dict[tuple[str, str], dict[str, Any]]:
    """Return what kustomize makes of a layout, by kind and name."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("needs kubectl, which contains kustomize; tests/cluster has one")
    things = rendered(what, Kubectl("team-a", {"PATH": str(Path(kubectl).parent)}))
    return {(thing["kind"], thing["metadata"]["name"]): thing for thing in things}


@pytest.mark.integration
def test_another_name_reaches_the_service_its_labels_and_every_program() -> None:
    things = built(layout("private", *PARTS, name="cats"))
    service = things["Service", "cats"]
    assert service["metadata"]["labels"]["app.kubernetes.io/name"] == "cats"
    assert service["metadata"]["labels"]["networking.knative.dev/visibility"] == "cluster-local"
    assert service["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/name"] == "cats"
    for name in ("dispatcher", "elastic-controller"):
        assert variable(things["Deployment", name], "SERVICE") == "cats"
    assert not [name for _, name in things if name == "resnet18"]
    assert {thing["metadata"]["namespace"] for thing in things.values()} == {"team-a"}


@pytest.mark.integration
@pytest.mark.parametrize("overlay", ["tuned", "private", "existing"])
def test_each_service_monitor_selects_a_service_with_the_port_that_it_names(overlay: str) -> None:
    things = built(layout(overlay, "service-monitor", name="cats"))
    services = [thing for (kind, _), thing in things.items() if kind == "Service" and thing["apiVersion"] == "v1"]
    for (kind, name), monitor in things.items():
        if kind == "ServiceMonitor":
            labels, (endpoint,) = monitor["spec"]["selector"]["matchLabels"], monitor["spec"]["endpoints"]
            selected = [one for one in services if labels.items() <= one["metadata"]["labels"].items()]
            ports = [port["name"] for one in selected for port in one["spec"]["ports"]]
            assert endpoint["port"] in ports, name


@pytest.mark.integration
def test_variables_are_defined_before_those_that_contain_them() -> None:
    """Kubernetes leaves $(NAME) as it is if NAME comes later."""
    for overlay in OVERLAYS:
        name = "resnet18" if overlay in WITHOUT_KNATIVE else "cats"
        for thing in built(layout(overlay, "redis", name=name)).values():
            if thing["kind"] in ("Deployment", "StatefulSet"):
                (container,) = thing["spec"]["template"]["spec"]["containers"]
                known: list[str] = []
                for one in container.get("env", ()):
                    words = [word.partition(")")[0] for word in str(one.get("value", "")).split("$(")[1:]]
                    assert set(words) <= set(known), (overlay, one)
                    known.append(one["name"])


@pytest.mark.integration
@pytest.mark.parametrize("overlay", WITHOUT_KNATIVE)
def test_without_knative_the_dispatchers_send_to_the_replicas(overlay: str) -> None:
    things = built(layout(overlay))
    assert secrets_of(list(things.values())) == ["dispatcher-control"]
    dispatcher = things["Deployment", "dispatcher"]
    assert variable(dispatcher, "ML_SERVICE_URL") == "http://ml-app:8000"
    assert ("Service", "dispatcher-control") in things
    replicas = things["HorizontalPodAutoscaler", "ml-app"]["spec"]
    assert (replicas["minReplicas"], replicas["maxReplicas"]) == (3, 8)
    # the dispatchers together keep the largest number of replicas busy, one request each
    assert int(variable(dispatcher, "BACKEND_CONCURRENCY") or 0) * dispatcher["spec"]["replicas"] == 8


@pytest.mark.integration
def test_without_knative_the_controller_leads_the_deployment_whose_hpa_is_deployed() -> None:
    things = built(layout("kubernetes-tuned"))
    (container,) = things["Deployment", "elastic-controller"]["spec"]["template"]["spec"]["containers"]
    settings = build_parser({one["name"]: one.get("value", "") for one in container["env"]}).parse_args(["control"])
    assert settings.target == "kubernetes"
    assert settings.dispatcher[0].startswith("dns+http://dispatcher-control.")
    (service,) = settings.service
    assert things["HorizontalPodAutoscaler", "ml-app"]["spec"]["scaleTargetRef"]["name"] == service.name
    assert ("Deployment", service.name) in things
    rules = things["Role", "elastic-controller"]["rules"]
    may = {resource: set(rule["verbs"]) for rule in rules for resource in rule["resources"]}
    assert may["horizontalpodautoscalers"] == {"get", "list", "patch"}
    assert (may["deployments"], may["deployments/scale"]) == ({"get"}, {"patch"})
    assert "revisions" not in may
