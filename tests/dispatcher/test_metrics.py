"""The dispatcher's metrics: which responses count as late, and what the gauges show."""

import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from dispatcher.actions import Reason
from dispatcher.metrics import DispatcherMetrics
from tests.dispatcher.processes import Dispatcher, post


@pytest.mark.parametrize(
    ("status", "took_s", "late"),
    [
        pytest.param(200, 0.5, 0, id="in time"),
        pytest.param(200, 0.51, 1, id="slow"),
        pytest.param(429, 0.0, 1, id="refused"),
        pytest.param(499, 0.0, 1, id="client gone"),
        pytest.param(500, 0.0, 1, id="broken"),
        pytest.param(503, 0.0, 1, id="no pod"),
        pytest.param(400, 9.0, 0, id="bad request of a slow client"),
        pytest.param(302, 0.51, 1, id="slow redirect"),
    ],
)
def test_a_response_is_late_if_it_is_slow_refused_or_failed(status: int, took_s: float, late: int) -> None:
    registry = CollectorRegistry()
    DispatcherMetrics(registry, slo_s=0.5).answer(status, took_s)
    assert registry.get_sample_value("dispatcher_late_total") == late
    assert registry.get_sample_value("dispatcher_answers_total", {"status": str(status)}) == 1


def test_each_reason_of_a_refusal_has_a_series_before_the_first_refusal() -> None:
    registry = CollectorRegistry()
    DispatcherMetrics(registry, slo_s=0.5)
    for reason in Reason:
        assert registry.get_sample_value("dispatcher_rejected_total", {"reason": reason.value}) == 0


def metrics(dispatcher: Dispatcher) -> dict[str, float]:
    """Return the samples without labels, and the answers by status as `answers_STATUS`."""
    text = requests.get(f"{dispatcher.control}/metrics", timeout=10).text
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "dispatcher_answers_total":
                found[f"answers_{sample.labels['status']}"] = sample.value
            elif not sample.labels:
                found[sample.name.removeprefix("dispatcher_")] = sample.value
    return found


@pytest.mark.integration
def test_the_gauges_show_the_bounds_the_capacity_and_what_waits(
    dispatch: Callable[..., Dispatcher], pool: ThreadPoolExecutor
) -> None:
    flags = ("--queue-limit", "7", "--queue-bytes", "2000000", "--max-body-bytes", "1000000", "--slo-s", "0.25")
    dispatcher = dispatch("--accept-backends", "--request-timeout-s", "5", *flags)
    before = metrics(dispatcher)
    assert (before["queue_limit"], before["held_limit_bytes"], before["slo_seconds"]) == (7, 2_000_000, 0.25)
    assert (before["holding"], before["capacity"], before["ejected_backends"]) == (0, 0, 0)
    assert (before["oldest_wait_seconds"], before["held_bytes"], before["late_total"]) == (0, 0, 0)
    waiting = pool.submit(dispatcher.post)
    dispatcher.wait_until(lambda signals: signals["waiting"] == 1)
    dispatcher.set_capacity(ready_pods=2, concurrency=3, valid_s=3600)
    time.sleep(0.01)
    now = metrics(dispatcher)
    assert (now["holding"], now["capacity"], now["waiting"]) == (1, 6, 1)
    assert now["held_bytes"] > 0
    assert 0 < now["oldest_wait_seconds"] < 60
    dispatcher.set_capacity(ready_pods=2, concurrency=3, valid_s=0.01)
    time.sleep(0.02)
    lapsed = metrics(dispatcher)
    assert (lapsed["holding"], lapsed["capacity"]) == (0, 0)
    assert waiting.result().status_code == 503
    assert metrics(dispatcher)["late_total"] == 1


@pytest.mark.integration
def test_a_backend_that_cannot_be_reached_is_shown_as_ejected(dispatch: Callable[..., Dispatcher]) -> None:
    dispatcher = dispatch("--ml-service-url", "http://127.0.0.1:9", "--request-timeout-s", "1")
    assert dispatcher.post().status_code >= 500
    assert metrics(dispatcher)["ejected_backends"] == 1


@pytest.mark.integration
def test_a_client_that_disconnects_counts_as_an_answer_of_status_499(dispatch: Callable[..., Dispatcher]) -> None:
    dispatcher = dispatch("--accept-backends")
    with socket.create_connection(("127.0.0.1", dispatcher.port)) as client:
        client.sendall(post())
        dispatcher.wait_until(lambda signals: signals["waiting"] == 1)
    deadline_s = time.monotonic() + 30
    while metrics(dispatcher).get("answers_499") != 1:
        assert time.monotonic() < deadline_s, metrics(dispatcher)
        time.sleep(0.05)
    assert metrics(dispatcher)["late_total"] == 1
