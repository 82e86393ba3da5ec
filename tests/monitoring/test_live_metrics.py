"""A real Prometheus scrapes a loaded stack: each query of the boards and rules has series, and each metric is documented."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from tests.monitoring.metrics_page import documented
from tests.monitoring.prometheus import Prometheus, scraping
from tests.monitoring.queries import MONITORING, Query, board_queries, filled, panels, rule_queries, uncompared
from tests.monitoring.stack import FAULTY, Stack, loaded_stack

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400), pytest.mark.xdist_group("monitoring")]

QUERIES = [query for query in (*board_queries(), *rule_queries()) if not query.needs_knative]
# what must have happened in the run, so that no series is only a zero
EVENTS = {
    "a refusal": 'dispatcher_rejected_total{reason="queue full"}',
    "an expiry": 'dispatcher_rejected_total{reason="target latency passed"}',
    "a deadline": 'dispatcher_rejected_total{reason="deadline cannot be met"}',
    "a failure": 'dispatcher_rejected_total{reason="attempts exhausted"}',
    "an ejected backend": f'max_over_time(dispatcher_ejected_backends{{service="{FAULTY}"}}[5m])',
    "a kept job": 'dispatcher_jobs_ended_total{state="done"}',
    "a dead letter": 'dispatcher_jobs_ended_total{state="failed"}',
    "a push that failed": 'dispatcher_pushes_total{outcome="failed"}',
    "late responses": "dispatcher_late_total",
    "a cold start": 'function_cold_start_seconds{phase="ready"}',
    "a decision": "autoscaler_decisions_total",
    "a pod that cannot start": 'autoscaler_start_problem{reason="ImagePullBackOff"}',
    "an announcement": "autoscaler_announcing",
    "held requests": 'dispatcher_holding{service="resnet18"}',
}


@pytest.fixture(scope="module")
def stack(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with loaded_stack(model_dir, tmp_path_factory.mktemp("stack")) as running:
        yield running


@pytest.fixture(scope="module")
def prometheus(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with scraping(tmp_path_factory.mktemp("prometheus"), stack.scrapes) as running:
        yield running


def test_every_address_is_scraped(prometheus: Prometheus, stack: Stack) -> None:
    assert prometheus.values(f"count(up == 1) == {len(stack.scrapes)}")


@pytest.mark.parametrize("selector", [pytest.param(selector, id=event) for event, selector in EVENTS.items()])
def test_the_run_had(prometheus: Prometheus, selector: str) -> None:
    assert prometheus.values(f"({selector}) > 0"), selector


@pytest.mark.parametrize("query", [pytest.param(query, id=query.name) for query in QUERIES])
def test_the_query_returns_series(prometheus: Prometheus, query: Query) -> None:
    assert prometheus.values(query.expr), query.expr


def test_alerts_are_raised_for_what_is_wrong_in_the_run_and_for_nothing_else(prometheus: Prometheus) -> None:
    assert prometheus.values('ALERTS{alertname="PodsCannotStart"}')
    assert prometheus.values('ALERTS{alertname="SloBurnsFast",service="faulty"}')
    assert prometheus.values('ALERTS{alertname="JobsFail",service="faulty"}')
    wrong = {"PodsCannotStart", "SloBurnsFast", "SloBurnsSlowly", "BackendEjected", "JobsFail", "ResultsNotDelivered"}
    assert prometheus.active_alerts() <= {*wrong, "QueueNearBound"}


@pytest.mark.parametrize("component", ["function", "dispatcher", "autoscaler"])
def test_the_page_documents_exactly_what_the_process_exports(stack: Stack, component: str) -> None:
    text = requests.get(stack.metrics[component], timeout=10).text
    exported = {
        family.name + ("_total" if family.type == "counter" else ""): (
            family.type if family.type != "unknown" else "untyped",
            frozenset(label for sample in family.samples for label in sample.labels) - {"le", "service"},
        )
        for family in text_string_to_metric_families(text)
        if not family.name.endswith("_created")
    }
    assert documented(component) == exported


@pytest.mark.parametrize("component", ["function", "dispatcher", "autoscaler"])
def test_promtool_finds_the_names_conventional(stack: Stack, component: str) -> None:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("needs the program promtool (Debian: apt-get install prometheus)")
    text = requests.get(stack.metrics[component], timeout=10).text
    done = subprocess.run(
        [program, "check", "metrics"], input=text, capture_output=True, text=True, timeout=60, check=False
    )
    complaints = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith(f"{component}_")]
    assert not complaints


def test_the_check_of_queries_notices_a_name_that_does_not_exist(prometheus: Prometheus) -> None:
    (expr,) = (
        target["expr"]
        for panel in panels(MONITORING / "dashboards/dispatcher.json")
        for target in panel["targets"]
        if "dispatcher_retried_total" in target["expr"]
    )
    assert prometheus.values(filled(expr))
    wrong = re.sub("dispatcher_retried_total", "dispatcher_retries_total", filled(expr))
    assert not prometheus.values(wrong, timeout_s=0)
    assert not prometheus.values(uncompared("dispatcher_no_such_metric > 1"), timeout_s=0)


def test_a_dispatcher_that_ends_is_away(prometheus: Prometheus, stack: Stack) -> None:
    assert not prometheus.values('ALERTS{alertname="DispatcherAway"}', timeout_s=0)
    stack.dispatchers[1].process.terminate()
    assert prometheus.values('ALERTS{alertname="DispatcherAway"}')
