"""Views and patches: what is read from the cluster's objects and written to them."""

import pytest

from knative.errors import NoTrafficError
from knative.objects import PodCounts, Revision, Service, living_pods
from tests.knative.fake_api import pod_json, ready, revision_json, service_json


@pytest.mark.parametrize(
    ("annotations", "bounds"),
    [
        pytest.param({"min_scale": "2", "max_scale": "8"}, (2, 8), id="both"),
        pytest.param({}, (0, None), id="none: from zero, no limit"),
        pytest.param({"max_scale": "0"}, (0, None), id="0 means no limit"),
        pytest.param({"minScale": "2", "maxScale": "5"}, (2, 5), id="old spelling"),
        pytest.param({"minScale": "2", "min_scale": "3"}, (3, None), id="the new spelling comes first"),
    ],
)
def test_bounds_are_read_from_a_revisions_annotations(
    annotations: dict[str, str], bounds: tuple[int, int | None]
) -> None:
    revision = Revision.from_json(revision_json("resnet18-00001", **annotations))
    assert (revision.min_pods, revision.max_pods) == bounds
    assert revision.ready


def test_a_service_has_its_url_and_live_revision() -> None:
    service = Service.from_json(service_json("resnet18", {"revisionName": "resnet18-00002", "percent": 100}))
    assert service.url == "http://resnet18.default.example.com"
    assert service.ready
    assert service.live_revision() == "resnet18-00002"


def test_the_live_revision_is_the_one_with_the_most_traffic() -> None:
    service = Service.from_json(
        service_json(
            "resnet18",
            {"revisionName": "resnet18-00001", "percent": 30, "tag": "old"},
            {"revisionName": "resnet18-00003", "percent": 40},
            {"revisionName": "resnet18-00001", "percent": 30},
            {"revisionName": "resnet18-00004", "tag": "next"},
        )
    )
    assert service.live_revision() == "resnet18-00001"


def test_of_equal_revisions_the_newer_is_live() -> None:
    half = [{"revisionName": f"resnet18-0000{number}", "percent": 50} for number in (2, 1)]
    assert Service.from_json(service_json("resnet18", *half)).live_revision() == "resnet18-00002"


@pytest.mark.parametrize(
    "service",
    [
        pytest.param({"metadata": {"name": "new"}}, id="just created"),
        pytest.param(service_json("new"), id="no route yet"),
        pytest.param(service_json("new", {"revisionName": "new-00001", "tag": "next"}), id="only a tag"),
    ],
)
def test_without_traffic_there_is_no_live_revision(service: dict[str, object]) -> None:
    with pytest.raises(NoTrafficError, match="new"):
        Service.from_json(service).live_revision()


def test_pods_are_counted_by_phase() -> None:
    pods = living_pods(
        [
            pod_json("a", "r", ready()),
            pod_json("b", "r", ready("False")),
            pod_json("c", "r", {"phase": "Pending"}),
            pod_json("d", "r", ready(), deleted=True),
            pod_json("e", "r", {"phase": "Failed"}),
            pod_json("f", "r", {"phase": "Succeeded", **ready("False")}),
            pod_json("g", "r", {}),
        ]
    )
    assert [pod.name for pod in pods] == ["a", "b", "c", "d", "g"]
    assert PodCounts.of(pods) == PodCounts(ready_pods=1, starting_pods=3, terminating_pods=1)


def test_a_ready_pod_records_when_it_became_ready() -> None:
    (pod,) = living_pods([pod_json("a", "r", ready())])
    assert pod.ready_unix_s is not None
    assert pod.ready_unix_s - pod.created_unix_s == 3.0


def test_a_pod_whose_container_restarted_does_not_say_when_it_became_ready() -> None:
    """Its condition Ready changed when the container was back, maybe hours after the pod's start."""
    statuses = [{"name": "user-container", "restartCount": 1}, {"name": "queue-proxy", "restartCount": 0}]
    (pod,) = living_pods([pod_json("a", "r", {**ready(), "containerStatuses": statuses})])
    assert (pod.phase, pod.ready_unix_s) == ("ready", None)


@pytest.mark.parametrize(
    ("spec", "annotations", "concurrency"),
    [
        pytest.param({"containerConcurrency": 10}, {}, 10, id="a limit"),
        pytest.param({"containerConcurrency": 0}, {}, 100, id="no limit: Knative's default target"),
        pytest.param({"containerConcurrency": 0}, {"target": "7.5"}, 7, id="no limit: its own target"),
        pytest.param({"containerConcurrency": 0}, {"target": "0.1"}, 1, id="at least one request"),
        pytest.param({}, {}, 1, id="unknown"),
    ],
)
def test_the_concurrency_of_a_revision(spec: dict[str, int], annotations: dict[str, str], concurrency: int) -> None:
    assert Revision.from_json({**revision_json("r", **annotations), "spec": spec}).concurrency == concurrency


def test_shares_of_a_split_leave_out_what_has_only_a_tag() -> None:
    service = Service.from_json(
        service_json(
            "resnet18",
            {"revisionName": "resnet18-00001", "percent": 20, "tag": "old"},
            {"revisionName": "resnet18-00003", "percent": 75},
            {"revisionName": "resnet18-00001", "percent": 5},
            {"revisionName": "resnet18-00004", "tag": "next"},
        )
    )
    assert service.shares() == {"resnet18-00001": 0.25, "resnet18-00003": 0.75}


def waits(reason: str, message: str = "") -> dict[str, object]:
    waiting = {"reason": reason, "message": message}
    return {"phase": "Pending", "containerStatuses": [{"state": {"running": {}}}, {"state": {"waiting": waiting}}]}


UNSCHEDULABLE = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes\n fit"}


@pytest.mark.parametrize(
    ("status", "problem"),
    [
        pytest.param({}, None, id="just created"),
        pytest.param(waits("ContainerCreating"), None, id="a normal start"),
        pytest.param(ready(), None, id="ready"),
        pytest.param(waits("ImagePullBackOff", "no such image"), "ImagePullBackOff: no such image", id="image"),
        pytest.param(waits("CrashLoopBackOff"), "CrashLoopBackOff", id="crash loop"),
        pytest.param({"conditions": [UNSCHEDULABLE]}, "Unschedulable: 0/1 nodes fit", id="no node"),
        pytest.param(waits("ErrImagePull", "x" * 1000), "ErrImagePull: " + "x" * 286, id="cut to one line of 300"),
    ],
)
def test_why_a_pod_cannot_start(status: dict[str, object], problem: str | None) -> None:
    assert living_pods([pod_json("a", "r", status)])[0].problem == problem


def test_an_exceeded_quota_is_seen_on_the_revision() -> None:
    condition = {"type": "ResourcesAvailable", "status": "False", "reason": "FailedCreate", "message": "exceeded quota"}
    revision = Revision.from_json({**revision_json("r"), "status": {"conditions": [condition]}})
    assert revision.problem == "FailedCreate: exceeded quota"
