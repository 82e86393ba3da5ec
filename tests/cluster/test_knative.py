"""A real Knative: deployed as in the README, answers from zero, scaled by our client without a new Revision."""

import json
from pathlib import Path

import pytest

from knative.errors import ClusterError, ForbiddenError, NotFoundError
from knative.leases import Tenure, new_lease, release_patch
from knative.objects import WINDOW, PodCounts
from knative.rendering import service_manifest
from tests.cluster.cluster import IMAGE, NAMESPACE, Cluster, wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


def has_pods(cluster: Cluster, revision: str, ready: int) -> bool:
    """Return whether there is exactly this number of ready pods, and none starting or terminating."""
    return cluster.client().pod_counts(revision) == PodCounts(ready, 0, 0)


def test_an_image_is_classified_from_zero_pods(cluster: Cluster, deployed_service: str, samples_dir: Path) -> None:
    revision = cluster.client().live_revision(deployed_service)
    wait_until(lambda: has_pods(cluster, revision.name, 0), "no pods", timeout_s=180)
    answer = cluster.predict(deployed_service, samples_dir / "cat.jpg")
    assert answer.status_code == 200, answer.text
    assert answer.json()["label"] in answer.json()["prediction"]
    assert answer.json()["label"]
    assert answer.headers["X-Pod"].startswith(revision.name)
    print(f"from zero to response: {answer.elapsed.total_seconds():.2f} s")


def test_bounds_on_the_live_revision_scale_it_without_creating_a_new_one(
    cluster: Cluster, deployed_service: str
) -> None:
    client = cluster.client()
    revision = client.live_revision(deployed_service)
    wanted = len(client.pods(revision.name)) + 1
    client.annotate(revision.name, {"min-scale": str(wanted), "max-scale": str(wanted)})
    assert client.revision(revision.name).min_pods == wanted
    took_s = wait_until(lambda: has_pods(cluster, revision.name, wanted), f"{wanted} ready pods", timeout_s=60)
    assert cluster.revisions(deployed_service) == [revision.name]
    print(f"{wanted} pods after {took_s:.1f} s")
    client.annotate(revision.name, {"min-scale": "0", "max-scale": "1"})
    wait_until(lambda: has_pods(cluster, revision.name, 0), "no pods", timeout_s=180)
    assert cluster.revisions(deployed_service) == [revision.name]
    assert client.live_revision(deployed_service).name == revision.name


def test_knative_refuses_a_max_scale_below_min_scale(cluster: Cluster, deployed_service: str) -> None:
    revision = cluster.client().live_revision(deployed_service)
    with pytest.raises(ClusterError, match="max-scale=1 is less than min-scale=2"):
        cluster.client().annotate(revision.name, {"min-scale": "2", "max-scale": "1"})


def test_missing_objects_raise_not_found(cluster: Cluster) -> None:
    with pytest.raises(NotFoundError, match="no-such"):
        cluster.client().service("no-such")
    with pytest.raises(NotFoundError, match="no-such"):
        cluster.client().annotate("no-such", {"min-scale": "0"})


def test_redeploying_our_manifest_creates_a_revision_only_if_it_changed(cluster: Cluster, samples_dir: Path) -> None:
    client = cluster.client()
    manifest = service_manifest(NAMESPACE, "ours", IMAGE)
    client.deploy(manifest)
    wait_until(lambda: client.service("ours").ready, "the Service is ready")
    assert cluster.predict("ours", samples_dir / "coffee.jpg").status_code == 200
    client.deploy(manifest)
    assert cluster.revisions("ours") == ["ours-00001"]
    manifest["spec"]["template"]["metadata"]["annotations"][WINDOW] = "6s"
    client.deploy(manifest)
    wait_until(lambda: client.live_revision("ours").name == "ours-00002", "the second Revision receives the traffic")
    cluster.run("kubectl", "delete", "ksvc", "ours", "-n", NAMESPACE)


def test_the_controllers_account_can_scale_but_not_deploy(
    cluster: Cluster, deployed_service: str, tmp_path: Path
) -> None:
    cluster.run("kubectl", "apply", "-n", NAMESPACE, "-f", "knative/manifests/controller/rbac.yaml")
    token = cluster.run("kubectl", "create", "token", "elastic-controller", "-n", NAMESPACE).strip()
    config = json.loads(cluster.kubeconfig.read_text())
    config["clusters"][0]["cluster"]["certificate-authority"] = str(cluster.kubeconfig.parent / "pki/ca.crt")
    config["users"][0]["user"] = {"token": token}
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    controller = cluster.client(tmp_path / "kubeconfig")
    revision = controller.live_revision(deployed_service)
    controller.annotate(revision.name, {"min-scale": "0", "max-scale": "3"})
    assert controller.revision(revision.name).max_pods == 3
    controller.pod_counts(revision.name)
    lease = controller.create_lease(new_lease("elastic-permissions", Tenure("a-test", 15, 0.0, 0.0, 0), {}))
    controller.patch_lease(lease.name, release_patch(lease.version))
    cluster.run("kubectl", "delete", "lease", lease.name, "-n", NAMESPACE)
    with pytest.raises(ForbiddenError, match="elastic-controller"):
        controller.deploy(service_manifest(NAMESPACE, deployed_service, IMAGE))
