"""Reading the traffic of a Service: from dispatchers, from queue-proxies, and from Prometheus."""

import json
import shutil
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, generate_latest

from autoscaler_tuning.live.service_traffic import (
    ProxyLog,
    TrafficError,
    from_dispatchers,
    from_prometheus,
    from_queue_proxies,
    increases_of,
    spread_over_seconds,
    stat_fields,
)
from knative.client import KnativeClient
from knative.objects import SERVICE_LABEL
from tests.knative.fake_api import FakeApi, pod_json, ready
from tests.ports import free_port


def stat(rate_rps: float, uptime_s: float, concurrency: float = 0.0, name: bytes = b"pod-1") -> bytes:
    """Return queue-proxy's report as Knative encodes it: fields that are 0 are left out."""
    encoded = bytes([1 << 3 | 2, len(name)]) + name
    for field, value in ((2, concurrency), (4, rate_rps), (6, uptime_s)):
        if value:
            encoded += bytes([field << 3 | 1]) + struct.pack("<d", value)
    return encoded


@contextmanager
def serving(body: bytes, status: int = 200) -> Iterator[str]:
    """Answer each GET request with this body; yield the address."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def silent(_: str) -> None: ...


def test_a_report_of_queue_proxy_is_read_with_or_without_its_zeros() -> None:
    assert stat_fields(stat(7.0, 12.5, 0.7)) == (0.7, 7.0, 12.5)
    assert stat_fields(stat(0.0, 3.0)) == (0.0, 0.0, 3.0)


def test_a_report_of_queue_proxy_may_have_a_time_stamp() -> None:
    assert stat_fields(stat(7.0, 12.5, 0.7) + b"\x38\xc5\xa8\x9a\xc9\x06") == (0.7, 7.0, 12.5)


@pytest.mark.parametrize("body", [b"<html>", b"\x21\x00", b"\x0a"])
def test_anything_else_is_refused(body: bytes) -> None:
    with pytest.raises(TrafficError, match="must be its Stat message"):
        stat_fields(body)


def test_reports_that_are_read_twice_count_once_and_one_that_is_missed_is_filled_in() -> None:
    log = ProxyLog()
    for at_s, uptime_s in ((1.0, 5.0), (1.4, 5.0), (2.0, 6.0), (4.0, 8.0)):  # the report of second 2 was missed
        log.add("a", at_s, stat(10.0, uptime_s, concurrency=1.5))
    assert log.counts(5) == (10, 10, 10, 10, 0)
    assert log.service_time_s == pytest.approx(0.15)


def test_steady_traffic_looks_steady_however_late_its_reports_are_read() -> None:
    log = ProxyLog()
    for pod, phase_s in (("a", 0.1), ("b", 0.6)):
        for second in range(1, 12):
            late_s = 0.4 * (second % 2)
            log.add(pod, second + phase_s + late_s, stat(7.0, second + 100.0))
    assert set(log.counts(11)[2:]) == {14}


def test_the_reports_of_several_pods_are_added() -> None:
    log = ProxyLog()
    for pod in ("a", "b"):
        log.add(pod, 1.0, stat(2.5, 9.0))
    assert log.counts(1) == (5,)


def test_without_a_request_no_service_time_is_known() -> None:
    log = ProxyLog()
    log.add("a", 1.0, stat(0.0, 9.0))
    assert log.service_time_s is None


@pytest.mark.integration
def test_the_pods_of_a_service_are_read_through_the_api_server() -> None:
    began_s = time.monotonic()

    class Cluster(FakeApi):
        def pod_get(self, pod: str, port: int, path: str) -> bytes:
            assert (pod, port, path) == ("a", 9090, "metrics")
            return stat(10.0, 100.0 + time.monotonic() - began_s, 1.0)

    pod = pod_json("a", "resnet18-00001", ready())
    pod["metadata"]["labels"][SERVICE_LABEL] = "resnet18"
    traffic = from_queue_proxies(KnativeClient("default", Cluster(pods=[pod])), "resnet18", 3 / 60, silent)
    assert len(traffic.counts) == 3
    assert 10 <= sum(traffic.counts) <= 50
    assert traffic.service_time_s == pytest.approx(0.1)
    assert traffic.start_s == (3.0, 3.0)  # from creation to ready, in the pod's status


def signals(counts: list[int], since_s: int) -> bytes:
    """Return the answer of a dispatcher to GET /signals."""
    body: dict[str, Any] = {
        **{"now_s": since_s + len(counts) + 0.5, "waiting": 0, "in_flight": 0, "oldest_wait_s": 0},
        **{"feasible_backlog_s": 0, "released": 0, "retried": 0, "service_time_s": {"mean": 0.08, "p95": 0.1}},
        "arrivals": {"since_s": since_s, "count": sum(counts), "per_second": counts},
        "concurrency": {"since_s": since_s, "per_second": [0.0] * len(counts)},
    }
    return json.dumps(body).encode()


@pytest.mark.integration
def test_dispatchers_are_added_second_by_second_from_the_newest_backwards() -> None:
    with serving(signals([1, 2, 3], 50)) as one, serving(signals([10, 20], 7)) as other:
        traffic = from_dispatchers([one, other], None, 2.0, silent)
    assert traffic.counts == (1, 12, 23)
    assert traffic.service_time_s == 0.08


@pytest.mark.integration
@pytest.mark.parametrize(("body", "status"), [(b"{}", 200), (b"no", 200), (b"", 401)])
def test_a_dispatcher_that_does_not_answer_is_named(body: bytes, status: int) -> None:
    with serving(body, status) as url, pytest.raises(TrafficError, match=f"cannot read the signals of {url}"):
        from_dispatchers([url], None, 1.0, silent)


def test_the_increase_of_a_counter_survives_its_reset_and_new_counters_begin_at_0() -> None:
    old = [(0.0, 100.0), (15.0, 130.0), (30.0, 5.0)]  # reset between 15 and 30 s
    new = [(30.0, 7.0)]
    assert increases_of([old, new], 0.0, 2, 15.0) == [30.0, 12.0]


def test_requests_of_a_step_fall_within_it_and_none_is_lost() -> None:
    counts = spread_over_seconds([30.0, 0.0, 0.4, 0.4], 15.0)
    assert len(counts) == 60
    assert [sum(counts[at : at + 15]) for at in range(0, 60, 15)] == [30, 0, 0, 1]
    assert counts == spread_over_seconds([30.0, 0.0, 0.4, 0.4], 15.0)


@pytest.mark.integration
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"status": "error", "error": "parse error"}', "rejected the query 'x': parse error"),
        (b'{"status": "success", "data": {"result": []}}', "for the query 'x', got no series"),
        (b"<html>", "cannot read a range from Prometheus"),
    ],
)
def test_an_answer_without_counters_is_refused_with_the_query(body: bytes, reason: str) -> None:
    with serving(body) as url, pytest.raises(TrafficError, match=reason):
        from_prometheus(url, "x", 10, 15.0, 1e9)


def test_a_range_of_too_many_samples_is_refused_before_it_is_asked_for() -> None:
    with pytest.raises(TrafficError, match=r"--minutes must be 1 to 11000 times --step-s, got 60000 times"):
        from_prometheus("http://127.0.0.1:9", "x", 1000, 1.0, 1e9)


@pytest.mark.integration
def test_a_real_prometheus_gives_the_requests_that_were_counted(tmp_path: Path) -> None:
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("needs the program prometheus (Debian: apt-get install prometheus)")
    registry = CollectorRegistry()
    answers = Counter("dispatcher_answers", "Responses", ["status"], registry=registry)
    answers.labels("200").inc(1000)  # before the range: must not count

    class Metrics(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = generate_latest(registry)
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    port = free_port()
    with ThreadingHTTPServer(("127.0.0.1", 0), Metrics) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        scrape = {"targets": [f"127.0.0.1:{server.server_port}"]}
        jobs = [{"job_name": "x", "scrape_interval": "1s", "scrape_timeout": "1s", "static_configs": [scrape]}]
        (tmp_path / "p.yml").write_text(json.dumps({"scrape_configs": jobs}))
        argv = [program, f"--config.file={tmp_path / 'p.yml'}", f"--storage.tsdb.path={tmp_path / 'data'}"]
        process = subprocess.Popen([*argv, f"--web.listen-address=127.0.0.1:{port}"], stderr=subprocess.DEVNULL)
        try:
            url = f"http://127.0.0.1:{port}"
            wait_for_series(url)
            time.sleep(3)
            for _ in range(5):
                answers.labels("200").inc(20)
                time.sleep(1)
            time.sleep(3)
            traffic = from_prometheus(url, "dispatcher_answers_total", 10 / 60, 1.0, time.time())
        finally:
            process.terminate()
            process.wait(30)
            server.shutdown()
    assert len(traffic.counts) == 10
    assert sum(traffic.counts) == 100


def wait_for_series(url: str) -> None:
    """Wait until Prometheus has read the counter once."""
    deadline_s = time.monotonic() + 60
    while True:
        try:
            if sum(from_prometheus(url, "dispatcher_answers_total", 1, 1.0, time.time()).counts):
                return
        except TrafficError:
            pass
        assert time.monotonic() < deadline_s
        time.sleep(0.2)
