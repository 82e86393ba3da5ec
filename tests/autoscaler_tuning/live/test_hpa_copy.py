"""HPA in a live comparison: a copy of the Service in Knative's HPA class, which leaves the Service alone."""

import pytest

from autoscaler_tuning.live.hpa_copy import OWNER, OWNER_LABEL, copy_name, hpa_copy, hpa_manifest
from autoscaler_tuning.live.local_stack import KnativeRoute, StackError
from autoscaler_tuning.policies.registry import policy_named
from knative.client import KnativeClient
from knative.objects import AUTOSCALING_GROUP, SERVICE_LABEL, SERVICES, Json
from tests.knative.fake_api import FakeApi, pod_json, ready, service_json

ROUTE = KnativeRoute("default", "resnet18", "http://10.0.0.1", "resnet18.default.example.com")
HPA70 = policy_named("hpa70")


def service(**annotations: str) -> Json:
    """Return a Service whose template has these annotations."""
    named = {f"{AUTOSCALING_GROUP}/{key.replace('_', '-')}": text for key, text in annotations.items()}
    template = {"metadata": {"annotations": {"mine": "kept", **named}}, "spec": {"containers": [{"image": "x"}]}}
    return {**service_json("resnet18"), "spec": {"template": template}}


class Cluster(FakeApi):
    """A cluster that makes each created Service ready at once, with one pod; deleting it deletes the pod."""

    def create(self, plural: str, body: Json) -> Json:
        name = body["metadata"]["name"]
        served = service_json(name, {"revisionName": f"{name}-00001", "percent": 100})
        made = super().create(plural, {**body, "status": served["status"]})
        pod = pod_json("a", f"{name}-00001", ready())
        pod["metadata"]["labels"][SERVICE_LABEL] = name
        self.pod_list.append(pod)
        return made

    def delete(self, plural: str, name: str) -> None:
        super().delete(plural, name)
        self.pod_list.clear()


def annotations(manifest: Json) -> dict[str, str]:
    """Return the annotations of the template, without the group of Knative's autoscaling."""
    found: dict[str, str] = manifest["spec"]["template"]["metadata"]["annotations"]
    return {key.removeprefix(f"{AUTOSCALING_GROUP}/"): text for key, text in found.items()}


def test_the_copy_has_the_template_in_the_hpa_class_without_knobs_of_kpa() -> None:
    manifest = hpa_manifest(service(window="6s", min_scale="0", minScale="0", target="1"), HPA70, 40)
    hpa = {"class": "hpa.autoscaling.knative.dev", "metric": "cpu", "target": "70", "max-scale": "40"}
    assert annotations(manifest) == {"mine": "kept", **hpa}
    assert manifest["spec"]["template"]["spec"] == {"containers": [{"image": "x"}]}
    assert manifest["metadata"] == {"name": "resnet18-hpa70", "labels": {OWNER_LABEL: OWNER}}


def test_the_name_of_the_copy_is_short_enough_for_a_host_name() -> None:
    assert len(copy_name("x" * 63, 100)) <= 63


def test_a_setting_that_no_annotation_has_is_refused() -> None:
    with pytest.raises(StackError, match="hpa has only the setting target_utilization_percent, got hpa70") as caught:
        hpa_manifest(service(), policy_named("hpa70[sync_s=5]"), 40)
    assert caught.value.status == 2


def test_the_copy_is_reached_at_the_same_gateway_and_is_gone_afterwards() -> None:
    api = Cluster(services=[service()])
    with hpa_copy(KnativeClient("default", api), ROUTE, HPA70, 40) as route:
        assert route == KnativeRoute(
            "default", "resnet18-hpa70", "http://10.0.0.1", "resnet18-hpa70.default.example.com"
        )
        assert "resnet18-hpa70" in api.objects[SERVICES]
    assert list(api.objects[SERVICES]) == ["resnet18"]
    assert [name for _, _, name, _ in api.calls] == ["resnet18-hpa70"] * 2  # the Service itself was not written


def test_without_a_gateway_the_copy_is_reached_at_its_own_url() -> None:
    route = KnativeRoute("default", "resnet18", "http://resnet18.default.example.com")
    with hpa_copy(KnativeClient("default", Cluster(services=[service()])), route, HPA70, 40) as found:
        assert (found.url, found.host) == ("http://resnet18-hpa70.default.example.com", "")


def test_an_interrupt_deletes_the_copy() -> None:
    api = Cluster(services=[service()])

    def interrupted() -> None:
        with hpa_copy(KnativeClient("default", api), ROUTE, HPA70, 40):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(api.objects[SERVICES]) == ["resnet18"]


def test_a_copy_that_a_killed_comparison_left_is_replaced() -> None:
    api = Cluster(services=[service()])
    api.create(SERVICES, hpa_manifest(service(), HPA70, 7))
    with hpa_copy(KnativeClient("default", api), ROUTE, HPA70, 40):
        assert annotations(api.objects[SERVICES]["resnet18-hpa70"])["max-scale"] == "40"


def test_a_service_of_somebody_else_is_left_alone() -> None:
    api = Cluster(services=[service(), service_json("resnet18-hpa70")])
    with (
        pytest.raises(StackError, match="another Service has it: resnet18-hpa70"),
        hpa_copy(KnativeClient("default", api), ROUTE, HPA70, 40),
    ):
        pass
    assert "resnet18-hpa70" in api.objects[SERVICES]


def test_a_copy_that_does_not_become_ready_is_deleted() -> None:
    api = FakeApi(services=[service()])  # nothing becomes ready here
    with (
        pytest.raises(StackError, match="resnet18-hpa70 is not ready after 0 s"),
        hpa_copy(KnativeClient("default", api), ROUTE, HPA70, 40, timeout_s=0),
    ):
        pass
    assert list(api.objects[SERVICES]) == ["resnet18"]
