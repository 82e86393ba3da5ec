"""Knative's own metrics: each query about them in the dashboards has series, from a Prometheus that scrapes a real Knative."""

import json
import re
import threading
from collections.abc import Iterator

import pytest
import requests

from tests.cluster.cluster import NAMESPACE, Cluster
from tests.cluster.live_parts import SYSTEM, observed, stub_services
from tests.monitoring.metrics_page import PAGE
from tests.monitoring.prometheus import Prometheus, Scrape, scraping
from tests.monitoring.queries import Query, board_queries

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

SERVICE = "seen"
EXPORTERS = ("activator", "autoscaler")
CLIENTS = 5
PROTOCOLS = {"metrics-protocol": "prometheus", "request-metrics-protocol": "prometheus"}
QUERIES = [query for query in board_queries() if query.needs_knative]


def scrapes(cluster: Cluster) -> Iterator[Scrape]:
    """Yield the addresses of activator, autoscaler and the queue-proxy of the one pod."""
    for name in EXPORTERS:
        for address in _pods(cluster, SYSTEM, f"app={name}"):
            yield Scrape(name, f"{address}:9090", {})
    for address in _pods(cluster, NAMESPACE, f"serving.knative.dev/service={SERVICE}"):
        yield Scrape("queue-proxy", f"{address}:9091", {"namespace": NAMESPACE, "service": SERVICE})


def _pods(cluster: Cluster, namespace: str, selector: str) -> list[str]:
    pods = json.loads(cluster.run("kubectl", "get", "pods", "-n", namespace, "-l", selector, "-o", "json"))["items"]
    living = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
    return [pod["status"]["podIP"] for pod in living]


@pytest.fixture(scope="module")
def prometheus(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    over = threading.Event()

    def send() -> None:
        while not over.wait(0.05):
            requests.post(f"http://{cluster.gateway}/predict", data=b"x", headers=headers, timeout=60)

    headers = {"Host": cluster.host(SERVICE)}
    clients = [threading.Thread(target=send) for _ in range(CLIENTS)]
    # one pod, so that its address stays the same
    one = {"min-scale": "1", "max-scale": "1"}
    with observed(cluster, PROTOCOLS, *EXPORTERS), stub_services(cluster, {SERVICE: one}):
        for client in clients:
            client.start()
        try:
            with scraping(tmp_path_factory.mktemp("prometheus"), list(scrapes(cluster))) as running:
                yield running
        finally:
            over.set()
            for client in clients:
                client.join()


def test_knative_is_scraped(prometheus: Prometheus) -> None:
    assert prometheus.values("count(up == 1) == 3")


@pytest.mark.parametrize("query", [pytest.param(query, id=query.name) for query in QUERIES])
def test_the_query_returns_series(prometheus: Prometheus, query: Query) -> None:
    assert prometheus.values(query.expr), query.expr


def test_the_page_names_the_metrics_that_the_boards_use_and_each_exists(prometheus: Prometheus) -> None:
    tables = PAGE.read_text().partition("## Knative's own metrics")[2].partition("Autoscaler and activator label")[0]
    named = set(re.findall(r"`((?:kn|http_server)_\w+)`", tables))
    used = {name for query in QUERIES for name in re.findall(r"\b(?:kn|http_server)_\w+(?={)", query.expr)}
    histograms = re.compile(r"(?<=_seconds)_(bucket|sum|count)$")
    assert {histograms.sub("", name) for name in used} <= named
    exported = requests.get(f"{prometheus.url}/api/v1/label/__name__/values", timeout=30).json()["data"]
    assert named <= {name.removesuffix("_bucket") for name in exported}
