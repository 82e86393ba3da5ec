"""Manifests: what is deployed, and with which hardened defaults."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from autoscaler_tuning.cli import build_parser
from dispatcher.config import FLAGS, parse_config
from knative.errors import ManifestError
from knative.objects import AUTOSCALING_GROUP, CLASS, MAX_SCALE, METRIC, MIN_SCALE, TARGET, WINDOW
from knative.rendering import SERVICE_FILE, as_yaml, service_manifest
from tests.paths import ROOT

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
        WINDOW: "30s",
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
            body = document.get("spec", {})
            spec = body.get("predictor") or body.get("template", {}).get("spec", {})
            for container in spec.get("containers", []):
                if "image" not in container:  # a patch
                    continue
                where = f"{file.relative_to(MANIFESTS)} {document['metadata']['name']}"
                found.append(pytest.param(spec, container, id=where))
    return found


@pytest.mark.parametrize(("pod", "container"), containers())
def test_every_container_is_restricted(pod: dict[str, Any], container: dict[str, Any]) -> None:
    context = {**pod.get("securityContext", {}), **container["securityContext"]}
    ids = {key: context.pop(key) for key in ("runAsUser", "runAsGroup", "fsGroup") if key in context}
    assert 0 not in ids.values()
    assert context == {
        "runAsNonRoot": True,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert {"requests", "limits"} <= container["resources"].keys()


@pytest.mark.parametrize(("pod", "container"), containers())
def test_an_image_that_the_nodes_have_is_not_pulled(pod: dict[str, Any], container: dict[str, Any]) -> None:
    """Without a tag Kubernetes always pulls, unless it is told not to; our images may be loaded into the nodes."""
    if container["image"].startswith("dev.local/"):
        assert container["imagePullPolicy"] == "IfNotPresent"


def test_only_the_controller_has_a_token_of_the_api_server() -> None:
    names = {param.id: param.values[0].get("automountServiceAccountToken", True) for param in containers()}
    assert [name.partition(" ")[0] for name, mounted in names.items() if mounted] == ["controller/controller.yaml"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(MANIFESTS)))
def test_every_file_that_a_kustomization_names_exists_and_no_other(file: Path) -> None:
    for document in documents(file):
        if document.get("kind") in ("Kustomization", "Component"):
            named = [*document.get("resources", ()), *document.get("components", ())]
            named += [patch["path"] for patch in document.get("patches", [])]
            assert all((file.parent / name).exists() for name in named)
            files = {other.name for other in file.parent.glob("*.yaml")} - {"kustomization.yaml"}
            assert files == {name for name in named if name.endswith(".yaml")}


def test_overlays_set_class_and_metric() -> None:
    classes = {}
    for file in MANIFESTS.glob("overlays/*/autoscaling.yaml"):
        (patch,) = documents(file)
        annotations = patch["spec"]["template"]["metadata"]["annotations"]
        classes[file.parent.name] = annotations[CLASS].partition(".")[0]
        assert METRIC in annotations
    assert classes == {"kpa": "kpa", "hpa": "hpa", "tuned": "kpa"}


def shipped(file: str, kind: str) -> dict[str, Any]:
    (found,) = (document for document in documents(MANIFESTS / file) if document["kind"] == kind)
    return found


def environment(file: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the container of a file's Deployment and its variables."""
    (container,) = shipped(file, "Deployment")["spec"]["template"]["spec"]["containers"]
    return container, {one["name"]: one.get("value", "") for one in container["env"]}


def test_the_dispatchers_memory_fits_twice_the_bodies_that_it_may_hold() -> None:
    container, env = environment("dispatcher/dispatcher.yaml")
    assert container["resources"]["limits"]["memory"] == "512Mi"
    assert int(env["QUEUE_BYTES"]) * 2 <= 512 * 2**20


def test_redis_keeps_all_that_the_journal_may_hold_and_evicts_nothing() -> None:
    (container,) = shipped("components/redis/redis.yaml", "StatefulSet")["spec"]["template"]["spec"]["containers"]
    (patch,) = documents(MANIFESTS / "components/redis/dispatcher.yaml")
    env = {one["name"]: one.get("value") for one in patch["spec"]["template"]["spec"]["containers"][0]["env"]}
    settings = dict(zip(container["args"][::2], container["args"][1::2], strict=True))
    assert (settings["--maxmemory"], settings["--maxmemory-policy"]) == ("768mb", "noeviction")
    assert settings["--appendonly"] == "yes"
    assert int(env["JOURNAL_BYTES"]) < 768 * 2**20
    assert container["resources"]["limits"]["memory"] == "1280Mi"


def test_the_settings_in_the_manifests_are_settings_of_the_programs() -> None:
    """A misspelt variable would be ignored in silence."""
    _, dispatcher = environment("dispatcher/dispatcher.yaml")
    _, controller = environment("controller/controller.yaml")
    known = parse_config([], {name: text for name, text in dispatcher.items() if name not in ("ML_SERVICE_URL",)})
    assert (known.queue_bytes, known.control_host, known.drain_timeout_s) == (2**28, "0.0.0.0", 60)
    args = build_parser(controller).parse_args(["control"])
    assert (args.target, args.policy, args.max_pods) == ("knative", "elastic", 8)
    assert [service.name for service in args.service] == ["resnet18"]
    assert args.dispatcher == ("dns+http://dispatcher-control.$(NAMESPACE).svc.cluster.local:8011",)
    variables = {f.lstrip("-").replace("-", "_").upper() for f, *_ in FLAGS} | {"NAMESPACE", "SERVICE"}
    assert dispatcher.keys() <= variables
    assert controller.keys() <= {"NAMESPACE", *(name.upper() for name in vars(args))}


@pytest.mark.parametrize("component", ["dispatcher", "autoscaler_tuning"])
def test_no_flag_in_an_images_command_overrules_a_variable_of_the_manifests(component: str) -> None:
    command = json.loads((ROOT / component / "Dockerfile").read_text().rpartition("\nCMD ")[2])
    assert not [word for word in command if word.startswith("--")]


def test_the_policy_lets_the_api_server_and_keda_read_the_wish() -> None:
    policies = documents(MANIFESTS / "components/network-policy/policies.yaml")
    (policy,) = (one["spec"] for one in policies if one["metadata"]["name"] == "elastic-controller")
    metrics, wish = policy["ingress"]
    spaces = [one["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] for one in metrics["from"]]
    assert spaces == ["monitoring", "keda"]
    assert wish == {"ports": [{"port": build_parser({}).parse_args(["control"]).tls_port}]}


def test_the_controller_may_do_no_more_than_read_patch_revisions_and_hold_leases() -> None:
    rules = shipped("controller/rbac.yaml", "Role")["rules"]
    verbs = {resource: set(rule["verbs"]) for rule in rules for resource in rule["resources"]}
    assert verbs["leases"] == {"get", "create", "patch"}
    assert verbs["revisions"] == {"get", "list", "watch", "patch"}
    assert all(verbs[name] == {"get", "list", "watch"} for name in ("services", "pods"))
    assert not [document for file in FILES for document in documents(file) if "Cluster" in document.get("kind", "")]


@pytest.mark.parametrize("name", ["y", "n", "no", "on", "1", "true", "null"])
def test_a_name_that_yaml_could_take_for_something_else_is_quoted(name: str) -> None:
    assert as_yaml({"namespace": name}) == f"namespace: '{name}'\n"
