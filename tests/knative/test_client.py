"""The client: the calls it makes, and the error for each failure."""

import json
import socket
import threading
from pathlib import Path

import pytest
from kubernetes.client.exceptions import ApiException

from knative.client import KnativeClient, connect, error_for, reason, translated
from knative.errors import (
    ClusterError,
    ConflictError,
    ForbiddenError,
    NotFoundError,
    NoTrafficError,
    UnauthorizedError,
    UnreachableError,
)
from knative.leases import Tenure, new_lease, release_patch, tenure_patch
from knative.objects import MAX_SCALE, MIN_SCALE, REVISIONS, SERVICES, WINDOW, PodCounts
from knative.rendering import service_manifest
from knative.workloads import DEPLOYMENTS, HPAS, selector_text
from tests.knative.fake_api import FakeApi, deployment_json, hpa_json, pod_json, ready, revision_json, service_json
from tests.knative.fake_server import FakeServer, write_kubeconfig

LIVE = "resnet18-00002"


def cluster() -> FakeApi:
    return FakeApi(
        services=[service_json("resnet18", {"revisionName": LIVE, "percent": 100})],
        revisions=[revision_json("resnet18-00001"), revision_json(LIVE, min_scale="0", max_scale="8", window="10s")],
        pods=[
            pod_json("a", LIVE, ready()),
            pod_json("b", LIVE, ready("False")),
            pod_json("c", "resnet18-00001", ready(), deleted=True),
        ],
    )


def test_annotations_are_written_on_the_live_revision_in_one_patch() -> None:
    api = cluster()
    client = KnativeClient("default", api)
    bounds = {MIN_SCALE: "2", MAX_SCALE: "2"}
    changed = client.patch_settings(REVISIONS, client.live_revision("resnet18").name, bounds)
    assert api.calls == [("patch", REVISIONS, LIVE, {"metadata": {"annotations": bounds}})]
    assert changed.settings == {**bounds, WINDOW: "10s"}
    assert api.get(REVISIONS, LIVE)["metadata"]["annotations"][WINDOW] == "10s"


def test_only_pods_of_the_revision_are_counted() -> None:
    client = KnativeClient("default", cluster())
    assert client.pod_counts(LIVE) == PodCounts(1, 1, 0)
    assert client.pod_counts("resnet18-00001") == PodCounts(0, 0, 1)
    assert client.pod_counts("resnet18-00009") == PodCounts(0, 0, 0)


def test_a_service_without_traffic_has_no_live_revision() -> None:
    with pytest.raises(NoTrafficError):
        KnativeClient("default", FakeApi(services=[service_json("resnet18")])).live_revision("resnet18")


def test_deploy_applies_the_manifest_and_returns_the_service() -> None:
    api, manifest = FakeApi(), service_manifest("default", "resnet18", "example.com/resnet18:1")
    service = KnativeClient("default", api).deploy(manifest)
    assert api.calls == [("apply", SERVICES, "resnet18", manifest)]
    assert (service.name, service.ready, service.url) == ("resnet18", False, None)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, UnauthorizedError),
        (403, ForbiddenError),
        (404, NotFoundError),
        (409, ConflictError),
        (400, ClusterError),
        (500, ClusterError),
        (0, UnreachableError),
        (None, UnreachableError),
    ],
)
def test_each_http_status_maps_to_its_own_error(status: int | None, kind: type[ClusterError]) -> None:
    assert type(error_for(status, "cannot get services/resnet18")) is kind


def test_the_error_of_a_refused_call_contains_the_call_the_reason_and_the_cause() -> None:
    refusal = ApiException(status=409, reason="Conflict")
    refusal.body = json.dumps({"kind": "Status", "message": "the object has been modified"})

    def call(**_: object) -> None:
        raise refusal

    with pytest.raises(ConflictError, match=r"cannot patch x: the object has been modified \(HTTP 409\)") as caught:
        translated("patch x", call)
    assert caught.value.__cause__ is refusal


@pytest.mark.parametrize("body", [None, "", "not json", "[]", "{}"])
def test_a_refusal_without_a_message_has_an_empty_reason(body: str | None) -> None:
    assert reason(body) == ""


@pytest.mark.integration
def test_an_api_server_that_does_not_listen_is_unreachable(tmp_path: Path) -> None:
    with socket.socket() as bound:  # bound but not listening, so connections are refused
        bound.bind(("127.0.0.1", 0))
        kubeconfig = write_kubeconfig(tmp_path, f"http://127.0.0.1:{bound.getsockname()[1]}")
        client = KnativeClient("default", connect("default", kubeconfig))
        with pytest.raises(UnreachableError, match="cannot get services/resnet18") as caught:
            client.service("resnet18")
        with pytest.raises(UnreachableError, match="cannot list pods"):
            client.pods("resnet18-00001")
    assert caught.value.__cause__ is not None


@pytest.mark.integration
def test_a_broken_connection_is_reported_at_once_and_not_retried(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        tries: list[int] = []

        def hang_up() -> None:
            while True:
                try:
                    server.accept()[0].close()
                except OSError:  # the test is over
                    return
                tries.append(1)

        threading.Thread(target=hang_up, daemon=True).start()
        kubeconfig = write_kubeconfig(tmp_path, f"http://127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(UnreachableError):
            KnativeClient("default", connect("default", kubeconfig)).service("resnet18")
        server.shutdown(socket.SHUT_RDWR)
    assert len(tries) <= 1


@pytest.mark.parametrize("text", [None, "", "not: [yaml", "a: b"])
def test_without_a_valid_kubeconfig_the_cluster_is_unreachable(tmp_path: Path, text: str | None) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    if text is not None:
        kubeconfig.write_text(text)
    with pytest.raises(UnreachableError, match="no cluster is configured"):
        connect("default", kubeconfig)


@pytest.mark.integration
def test_a_rotated_token_file_is_read_again_after_a_401(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    with FakeServer(cluster()).running() as server:
        server.token = "first"
        client = KnativeClient("default", connect("default", write_kubeconfig(tmp_path, server.url, tokenFile="token")))
        assert client.service("resnet18").ready
        server.token = "second"
        with pytest.raises(UnauthorizedError):
            client.service("resnet18")
        token.write_text("second\n")
        assert client.service("resnet18").ready
        assert client.pod_counts(LIVE) == PodCounts(1, 1, 0)


@pytest.mark.integration
def test_a_page_in_place_of_the_api_is_one_error(tmp_path: Path) -> None:
    with FakeServer(cluster()).running() as server:
        server.page = "<html><body>Please log in</body></html>"
        client = KnativeClient("default", connect("default", write_kubeconfig(tmp_path, server.url)))
        with pytest.raises(ClusterError, match=r"cannot get services/resnet18: the response is not the JSON of an API"):
            client.service("resnet18")
        with pytest.raises(ClusterError, match=r"cannot list pods with .*: the response is not the JSON"):
            client.pods(LIVE)


@pytest.mark.integration
def test_a_lease_is_created_once_and_patched_only_in_the_version_that_was_read(tmp_path: Path) -> None:
    with FakeServer(cluster()).running() as server:
        client = KnativeClient("default", connect("default", write_kubeconfig(tmp_path, server.url)))
        tenure = Tenure("me", 15, 1000.0, 1000.0, 0)
        assert client.lease("elastic-resnet18") is None
        lease = client.create_lease(new_lease("elastic-resnet18", tenure, {}))
        with pytest.raises(ConflictError):
            client.create_lease(new_lease("elastic-resnet18", tenure, {}))
        changed = client.patch_lease(lease.name, tenure_patch(lease.version, tenure))
        assert (changed.holder, changed.renewed) == ("me", "1970-01-01T00:16:40.000000Z")
        with pytest.raises(ConflictError):
            client.patch_lease(lease.name, release_patch(lease.version))


@pytest.mark.integration
def test_a_deployment_its_hpa_and_its_scale_are_read_and_written(tmp_path: Path) -> None:
    api = FakeApi()
    api.objects[DEPLOYMENTS]["ml-app"] = deployment_json("ml-app", 2)
    api.objects[HPAS]["any"] = hpa_json("any", "ml-app")
    with FakeServer(api).running() as server:
        client = KnativeClient("default", connect("default", write_kubeconfig(tmp_path, server.url)))
        read = client.deployment("ml-app")
        assert (read.replicas, read.selector) == (2, "app=ml-app")
        client.set_replicas(read, 5)
        assert client.deployment("ml-app").replicas == 5
        with pytest.raises(ConflictError):
            client.set_replicas(read, 3)
        assert client.hpa_of("ml-app") == "any"
        changed = client.patch_settings(HPAS, "any", {"minReplicas": "4", "maxReplicas": "10"})
        assert changed == client.scaled(HPAS, "any")
        assert changed.settings == {"minReplicas": "4", "maxReplicas": "10"}


@pytest.mark.parametrize(
    ("selector", "text"),
    [
        ({"matchLabels": {"app": "a", "tier": "b"}}, "app=a,tier=b"),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["a", "b"]}]}, "app in (a,b)"),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["a"]}]}, "app notin (a)"),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}, {"key": "b", "operator": "DoesNotExist"}]}, "a,!b"),
    ],
)
def test_a_selector_of_a_spec_becomes_that_of_a_query(selector: dict[str, object], text: str) -> None:
    assert selector_text(selector) == text
