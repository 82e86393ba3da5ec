"""The status: ten lines of a healthy installation, and the reason of each that is not."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from autoscaler_tuning.live import leader
from knative.objects import MAX_SCALE, MIN_SCALE
from knative.status import FOUND, Found, live_revision_name, status_of
from tests.knative.fake_api import pod_json, ready, revision_json, service_json
from tests.knative.fake_cluster import deployment, lease

NOW = datetime(2026, 8, 21, 10, 0, 10, tzinfo=UTC)
RENEWED = "2026-08-21T10:00:07.000000Z"
STORED = json.dumps({"revision": "resnet18-00001", "annotations": {MIN_SCALE: "0", MAX_SCALE: "8"}})
LEASE = lease("elastic-resnet18", RENEWED, **{f"{FOUND}uid-of-resnet18-00001": STORED})


def workload(name: str, ready_pods: int = 2) -> dict[str, Any]:
    return {**deployment(name), "status": {"readyReplicas": ready_pods, "updatedReplicas": ready_pods}}


def found(**changes: Any) -> Found:
    """Return a healthy installation with these changes."""
    service = service_json("resnet18", {"revisionName": "resnet18-00001", "percent": 100})
    service["status"]["observedGeneration"] = service["metadata"]["generation"] = 1
    healthy: dict[str, Any] = {
        "name": "resnet18",
        "service": service,
        "revision": revision_json("resnet18-00001", min_scale="2", max_scale="8"),
        "lease": LEASE,
        "workloads": [workload("dispatcher"), workload("elastic-controller")],
        "pods": [pod_json("a", "resnet18-00001", ready()), pod_json("b", "resnet18-00001", {})],
    }
    return Found(**{**healthy, **changes})


def test_a_healthy_installation_is_ten_lines() -> None:
    assert status_of(found(), NOW).lines() == [
        "service     resnet18, ready",
        "url         http://resnet18.default.example.com",
        "revision    resnet18-00001, ready",
        "bounds      min-scale 2, max-scale 8",
        "found       min-scale 0, max-scale 8; given back when the controller stops",
        "pods        1 ready, 1 starting, 0 terminating",
        "dispatchers 2 of 2 ready",
        "controllers 2 of 2 ready",
        "leader      elastic-controller-a, renewed 3 s ago",
        "healthy     yes",
    ]


def failing(condition: str, reason: str) -> dict[str, Any]:
    return {"conditions": [{"type": condition, "status": "False", "reason": reason, "message": "too bad"}]}


STARTING = {
    "conditions": [],
    "containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}],
}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        pytest.param({"lease": None}, "no controller leads", id="no Lease"),
        pytest.param(
            {"lease": lease("elastic-resnet18", "2026-08-21T09:59:54.000000Z")}, "no controller leads", id="expired"
        ),
        pytest.param(
            {"workloads": [workload("dispatcher", 1)]}, "dispatcher has 1 of 2 pods ready", id="a pod is missing"
        ),
        pytest.param(
            {"service": {"metadata": {"name": "resnet18"}, "status": failing("Ready", "RevisionFailed")}},
            "the Service resnet18 is not ready (RevisionFailed: too bad)",
            id="the Service failed",
        ),
        pytest.param(
            {"pods": [pod_json("a", "resnet18-00001", STARTING), pod_json("b", "resnet18-00001", STARTING)]},
            "pod a: ImagePullBackOff: no such image",
            id="no image",
        ),
    ],
)
def test_what_is_wrong_is_said_once(changes: dict[str, Any], problem: str) -> None:
    status = status_of(found(**changes), NOW)
    assert status.problems == (problem,)
    assert status.lines()[-1] == f"healthy     no: {problem}"


def test_an_update_that_is_not_rolled_out_yet_is_not_healthy() -> None:
    old = workload("dispatcher")
    old["status"]["updatedReplicas"] = 1
    assert status_of(found(workloads=[old]), NOW).problems == ("dispatcher has 1 of 2 pods ready",)
    unseen = workload("dispatcher")
    unseen["metadata"]["generation"], unseen["status"]["observedGeneration"] = 2, 1
    assert status_of(found(workloads=[unseen]), NOW).problems == (
        "dispatcher has 2 of 2 pods ready, of an older version",
    )


def test_a_service_that_knative_has_not_read_yet_is_not_healthy() -> None:
    changed = found()
    assert changed.service is not None
    changed.service["metadata"]["generation"] = 2
    assert status_of(changed, NOW).problems == ("Knative has not read the newest Service resnet18 yet",)


def test_without_a_controller_no_leader_is_missed() -> None:
    status = status_of(found(workloads=[workload("dispatcher")], lease=None), NOW)
    assert status.problems == ()
    assert "leader" not in dict(status.rows)


def test_an_empty_namespace_is_said() -> None:
    nothing = found(service=None, revision=None, lease=None, workloads=[], pods=[])
    assert status_of(nothing, NOW).lines() == [
        "healthy     no: neither a Service resnet18 nor anything else of ours exists"
    ]


def test_a_service_without_traffic_has_no_live_revision() -> None:
    assert live_revision_name(service_json("resnet18")) is None
    assert live_revision_name(None) is None


@pytest.mark.parametrize("text", ["", "[]", '{"annotations": 1}', "{}"])
def test_a_lease_that_somebody_broke_shows_no_bounds(text: str) -> None:
    broken = lease("elastic-resnet18", RENEWED, **{f"{FOUND}uid-of-resnet18-00001": text})
    assert "found" not in dict(status_of(found(lease=broken), NOW).rows)


def test_it_reads_what_the_controller_writes() -> None:
    assert leader.FOUND == FOUND
