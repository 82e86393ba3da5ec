"""Deploying and deleting: what changes in the cluster, in which order, and what is left alone."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from knative import installation
from knative.errors import ManifestError
from knative.installation import SERVICE_KIND
from knative.layouts import Layout
from knative.status import FOUND
from tests.knative.fake_cluster import FakeCluster, deployment, knative_service, lease, ours

IMAGES = {"dev.local/resnet18": "i", "dev.local/dispatcher": "d", "dev.local/controller": "c"}
RENEWED = "2026-08-21T10:00:00.000000Z"


def now() -> str:
    """Return the present time as a Lease has it."""
    return datetime.now(UTC).isoformat()


def layout(overlay: str = "tuned", name: str = "resnet18", parts: tuple[str, ...] = ()) -> Layout:
    return Layout(overlay, parts, "default", name, IMAGES)


def deployed(cluster: FakeCluster, what: Layout, timeout_s: float = 30) -> tuple[bool, list[str]]:
    said: list[str] = []
    return installation.deploy(what, cluster, timeout_s, said.append), said


def tuned_cluster() -> FakeCluster:
    cluster = FakeCluster()
    cluster.built = [knative_service("resnet18"), deployment("dispatcher"), ours("Role", "elastic-controller")]
    return cluster


def test_a_missing_key_is_generated_before_the_pods_that_read_it() -> None:
    cluster = tuned_cluster()
    deployed(cluster, layout())
    assert cluster.done[0] == "create secrets/dispatcher-control"
    key = cluster.things["secrets", "dispatcher-control"]["stringData"]["key"]
    assert len(bytes.fromhex(key)) == 32


def test_a_key_that_exists_is_kept() -> None:
    cluster = tuned_cluster()
    cluster.create(ours("Secret", "dispatcher-control", stringData={"key": "mine"}))
    deployed(cluster, layout())
    assert cluster.things["secrets", "dispatcher-control"]["stringData"] == {"key": "mine"}
    assert sum("secrets" in change for change in cluster.done) == 1


def test_it_waits_until_all_is_ready_and_says_what_is_missing() -> None:
    cluster = tuned_cluster()
    cluster.slow_looks = 1
    is_ready, said = deployed(cluster, layout())
    assert is_ready
    assert said[-2:] == ["waiting: dispatcher has 0 of 2 pods ready", "all is ready"]


def test_it_gives_up_after_the_timeout() -> None:
    cluster = tuned_cluster()
    cluster.slow_looks = 99
    assert deployed(cluster, layout(), timeout_s=0)[0] is False


def test_what_another_layout_left_is_removed_but_no_secret_volume_or_service() -> None:
    cluster = tuned_cluster()
    left = [deployment("elastic-controller"), ours("Role", "old"), knative_service("other")]
    for thing in (*left, ours("Secret", "redis"), ours("PersistentVolumeClaim", "data-redis-0")):
        cluster.create(thing)
    deployed(cluster, layout("kpa"))
    deleted = [change for change in cluster.done if change.startswith("delete")]
    assert deleted == ["delete deployments.apps/elastic-controller", "delete roles.rbac.authorization.k8s.io/old"]


@pytest.mark.parametrize("name", ["resnet18", "cats"])
def test_the_service_alone_changes_nothing_else_under_its_own_or_another_name(name: str) -> None:
    left = [deployment("dispatcher"), deployment("elastic-controller"), lease("elastic-resnet18", now())]
    cluster = FakeCluster(left)
    deployed(cluster, layout("service", name), timeout_s=0)
    assert cluster.done == [f"apply {SERVICE_KIND}/{name}"]


@pytest.mark.parametrize(
    "run",
    [
        pytest.param(lambda cluster: deployed(cluster, layout(name="cats")), id="deploy"),
        pytest.param(lambda cluster: deleted(cluster, "cats"), id="delete"),
    ],
)
def test_a_namespace_has_one_dispatcher_which_is_for_one_service(run: Callable[[FakeCluster], object]) -> None:
    cluster = FakeCluster([deployment("dispatcher", service="dogs")])
    with pytest.raises(ManifestError, match="must be 'dogs', which dispatcher in this namespace is for, got 'cats'"):
        run(cluster)
    assert cluster.done == []


def test_without_knative_the_controllers_lead_by_the_lease_of_the_deployment_which_goes_with_them() -> None:
    cluster = FakeCluster([lease("elastic-kubernetes.ml-app", now())])
    controllers = deployment("elastic-controller", service="ml-app")
    controllers["spec"]["template"]["spec"]["containers"][0]["env"] += [{"name": "TARGET", "value": "kubernetes"}]
    cluster.built = [controllers]
    for _ in ("the first time", "again"):
        assert deployed(cluster, layout("kubernetes-tuned"), timeout_s=0)[0]
    deleted(cluster)
    assert cluster.things == {}


def deleted(cluster: FakeCluster, name: str = "resnet18", with_volumes: bool = False) -> list[str]:
    said: list[str] = []
    installation.delete(name, cluster, with_volumes, said.append)
    return said


def test_the_controller_goes_first_then_the_dispatcher_then_the_rest() -> None:
    things = [ours("Role", "elastic-controller"), knative_service("resnet18"), deployment("dispatcher")]
    said = deleted(FakeCluster([*things, deployment("elastic-controller")]))
    assert said[:2] == ["deployments.apps/elastic-controller deleted", "deployments.apps/dispatcher deleted"]
    assert len(said) == 4


def test_only_what_is_ours_is_deleted() -> None:
    by_knative = ours("Deployment", "resnet18-00001-deployment", "apps/v1", spec={"replicas": 1})
    by_knative["metadata"]["ownerReferences"] = [{"kind": "Revision"}]
    theirs = deployment("web")
    theirs["metadata"]["labels"] = {}
    other = knative_service("other")
    volume = ours("PersistentVolumeClaim", "data-redis-0")
    cluster = FakeCluster([by_knative, theirs, other, volume, knative_service("resnet18")])
    assert deleted(cluster) == [f"{SERVICE_KIND}/resnet18 deleted"]
    assert deleted(cluster, with_volumes=True) == ["persistentvolumeclaims/data-redis-0 deleted"]


def test_the_lease_goes_too() -> None:
    assert deleted(FakeCluster([lease("elastic-resnet18", RENEWED)])) == [
        "leases.coordination.k8s.io/elastic-resnet18 deleted"
    ]


def test_a_lease_with_bounds_that_were_not_given_back_stays_while_their_service_does() -> None:
    theirs = knative_service("resnet18")
    theirs["metadata"]["labels"] = {}
    cluster = FakeCluster([theirs, lease("elastic-resnet18", RENEWED, **{f"{FOUND}uid": "{}"})])
    (said,) = deleted(cluster)
    assert said.startswith("lease/elastic-resnet18 is kept")
    assert cluster.done == []
