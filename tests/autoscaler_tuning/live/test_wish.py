"""The wish as KEDA and an HPA on external metrics read it."""

import pytest

from autoscaler_tuning.live.wish import API_PATH, Wish, answer

WISH = Wish("apps", {"ml-app": 3, "blind": None}, 0.0)
VALUES = f"{API_PATH}/namespaces/apps/wanted-pods"


def item(name: str, value: str) -> dict[str, object]:
    labels = {"service": name}
    return {"metricName": "wanted-pods", "metricLabels": labels, "timestamp": "1970-01-01T00:00:00Z", "value": value}


@pytest.mark.parametrize(
    ("query", "items"),
    [
        pytest.param("", [item("ml-app", "3")], id="without a selector"),
        pytest.param("labelSelector=service%3Dml-app", [item("ml-app", "3")], id="one Deployment"),
        pytest.param("labelSelector=service%3Dblind", [], id="not known at the moment"),
        pytest.param("labelSelector=service%3Dother", [], id="another one"),
    ],
)
def test_an_hpa_reads_what_is_known(query: str, items: list[object]) -> None:
    status, body = answer(VALUES, query, WISH)
    assert (status, body["kind"], body["items"]) == (200, "ExternalMetricValueList", items)


def test_the_api_server_learns_the_metric() -> None:
    status, body = answer(f"{API_PATH}/", "", WISH)
    resources = body["resources"]
    assert isinstance(resources, list)
    assert (status, body["groupVersion"]) == (200, "external.metrics.k8s.io/v1beta1")
    assert [resource["name"] for resource in resources] == ["wanted-pods"]


@pytest.mark.parametrize("path", [f"{API_PATH}/namespaces/other/wanted-pods", f"{API_PATH}/namespaces/apps/other"])
def test_another_namespace_or_metric_is_404(path: str) -> None:
    status, body = answer(path, "", WISH)
    assert (status, body["kind"]) == (404, "Status")


@pytest.mark.parametrize(
    ("query", "status", "body"),
    [
        pytest.param("service=ml-app", 200, {"service": "ml-app", "wanted_pods": 3}, id="by name"),
        pytest.param("service=blind", 503, {"error": "no decision on fresh signals for blind"}, id="not known"),
        pytest.param("service=x", 404, {"error": "service must be one of ml-app, blind, got 'x'"}, id="unknown name"),
    ],
)
def test_keda_reads_one_number(query: str, status: int, body: object) -> None:
    assert answer("/wish", query, WISH) == (status, body)


def test_one_service_needs_no_name_and_of_several_all_are_shown() -> None:
    assert answer("/wish", "", Wish("apps", {"ml-app": 3}, 0.0)) == (200, {"service": "ml-app", "wanted_pods": 3})
    assert answer("/wish", "", WISH) == (200, {"wanted_pods": {"ml-app": 3, "blind": None}})


def test_before_anything_is_served_the_wish_is_404() -> None:
    assert answer("/wish", "", Wish("apps", {}, 0.0))[0] == 404
