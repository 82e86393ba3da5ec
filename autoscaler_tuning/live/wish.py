"""The wish as a metric: answers that KEDA and an HPA on external metrics understand, without any I/O."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qs

GROUP_VERSION = "external.metrics.k8s.io/v1beta1"
API_PATH = f"/apis/{GROUP_VERSION}"
METRIC = "wanted-pods"
LABEL = "service"
WISH_PATH = "/wish"

Body = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Wish:
    """The pods wanted for each Service or Deployment of a namespace; None if that is not known at the moment."""

    namespace: str
    pods: Mapping[str, int | None]
    unix_s: float

    def selected(self, selector: str) -> dict[str, int]:
        """Return what is known for a label selector: none, or `service=NAME`."""
        named = {name: pods for name, pods in self.pods.items() if selector in ("", f"{LABEL}={name}")}
        return {name: pods for name, pods in named.items() if pods is not None}


WishSource = Callable[[], Wish]


def answer(path: str, query: str, wish: Wish) -> tuple[int, Body]:
    """Return the HTTP status and the JSON for a path of the wish or of the external metrics API."""
    path = path.rstrip("/")
    if path == WISH_PATH:
        return _plain(query, wish)
    if path == API_PATH:
        return 200, _resources()
    if path == f"{API_PATH}/namespaces/{wish.namespace}/{METRIC}":
        selector = parse_qs(query).get("labelSelector", [""])[0]
        return 200, _values(wish.selected(selector), wish.unix_s)
    known = f"{WISH_PATH}, {API_PATH}/namespaces/{wish.namespace}/{METRIC}"
    return 404, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404, "message": f"known: {known}"}


def _plain(query: str, wish: Wish) -> tuple[int, Body]:
    """Return one number, for KEDA's metrics-api scaler; without a known wish 503, which makes KEDA use its fallback.

    Of several Services without a name in the query, all numbers, with null for those that are not known.
    """
    named = parse_qs(query).get(LABEL)
    if named is None and len(wish.pods) > 1:
        return 200, {"wanted_pods": dict(wish.pods)}
    name = named[0] if named else next(iter(wish.pods), "")
    pods = wish.pods.get(name)
    if name not in wish.pods:
        return 404, {"error": f"{LABEL} must be one of {', '.join(wish.pods)}, got {name!r}"}
    if pods is None:
        return 503, {"error": f"no decision on fresh signals for {name}"}
    return 200, {LABEL: name, "wanted_pods": pods}


def _resources() -> Body:
    """Return the discovery document, from which the API server learns what is served here."""
    resource = {
        "name": METRIC,
        "singularName": "",
        "namespaced": True,
        "kind": "ExternalMetricValueList",
        "verbs": ["get"],
    }
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": GROUP_VERSION, "resources": [resource]}


def _values(pods: Mapping[str, int], unix_s: float) -> Body:
    """Return the list that an HPA reads; from an empty one it decides nothing, so that the pods stay."""
    timestamp = datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    items = [
        {"metricName": METRIC, "metricLabels": {LABEL: name}, "timestamp": timestamp, "value": str(wanted)}
        for name, wanted in pods.items()
    ]
    return {"kind": "ExternalMetricValueList", "apiVersion": GROUP_VERSION, "metadata": {}, "items": items}
