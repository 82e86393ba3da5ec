"""One trace leads from loadgen through the dispatcher to a pod, and tracing stops nothing: real processes, a stub collector."""

import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest
import requests

from tests.benchmarks import servers
from tests.paths import ROOT
from tests.stubs.collector import Collector, SpanRow, collector, only, trees
from tests.stubs.processes import RunningDispatcher, dispatcher, stub_pods

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300), pytest.mark.xdist_group("tracing")]
GIVEN = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0"
PHOTO = {"file": ("a.jpg", b"\xff\xd8 not decoded here", "image/jpeg")}


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """Run a collector, to which every process that is started sends its spans."""
    with collector() as found:
        for name, text in found.environment.items():
            monkeypatch.setenv(name, text)
        yield found


@contextmanager
def later(delay_s: float, found: RunningDispatcher) -> Iterator[None]:
    """Announce one pod after a while."""
    timer = threading.Timer(delay_s, found.set_capacity, (1, 60))
    timer.start()
    try:
        yield
    finally:
        timer.join()


def inside(inner: SpanRow, outer: SpanRow, slack_ns: int = 50_000_000) -> bool:
    """Return whether a span lies in another one; two processes read the clock, and loadgen's plan began a bit before."""
    return outer.start_ns - slack_ns <= inner.start_ns and inner.end_ns <= outer.end_ns + slack_ns


def test_one_trace_of_a_cold_request_has_loadgen_dispatcher_wait_cold_start_attempt_and_pod(
    traced: Collector, tmp_path: Path, model_dir: Path, samples_dir: Path
) -> None:
    (tmp_path / "workload.txt").write_text("1\n")
    with servers.running(servers.OURS, servers.ours(model_dir)) as pod, dispatcher([pod.port]) as ours:
        pod.wait()
        ours.set_capacity(0, 60)
        command = [sys.executable, "-m", "loadgen", f"http://127.0.0.1:{ours.port}/predict", "--trace", "1"]
        command += ["--workload", str(tmp_path / "workload.txt"), "--images", str(samples_dir / "cat.jpg"), "--quiet"]
        client = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        ours.wait_until_waiting(1)
        with later(1.0, ours):
            printed, _ = client.communicate(timeout=60)
        assert "1 spans sent to the collector" in printed
        spans = traced.wait_for(lambda found: {span.service for span in found} == {"loadgen", "dispatcher", "function"})
        service_s = ours.signals()["service_time_s"]
    assert len({span.trace_id for span in spans}) == 1, trees(spans)

    request, served = only(spans, "request", "loadgen"), only(spans, "POST /predict")
    queue, cold, attempt = only(spans, "queue"), only(spans, "cold start"), only(spans, "attempt")
    pod_span, infer = only(spans, "POST /predict", "function"), only(spans, "infer", "function")
    path = [request, served, queue, cold], [request, served, attempt, pod_span, infer]
    for spans_of_path in path:
        for parent, child in pairwise(spans_of_path):
            assert child.parent_id == parent.span_id, trees(spans)
            assert inside(child, parent), trees(spans)
    assert request.parent_id == ""
    assert {span.name for span in spans if span.parent_id == pod_span.span_id} == {"pre", "infer", "post"}
    assert 0.5 < cold.duration_s <= queue.duration_s
    assert attempt.start_ns >= queue.end_ns
    assert served.duration_s == pytest.approx(queue.duration_s + attempt.duration_s, rel=0.5)
    assert served.attributes["http.response.status_code"] == "200"
    assert isinstance(service_s, dict)
    assert service_s["mean"] <= attempt.duration_s, "the stages and their sum are not added up"


def test_a_retry_is_an_attempt_of_its_own_and_each_pod_request_has_its_attempt_as_parent(traced: Collector) -> None:
    with stub_pods(1, 0.01) as (port,), dispatcher([port], "--attempts", "2") as ours:
        ours.set_capacity(1)
        ours.ask("PUT", "/fault", {"kind": "503", "share": 1.0, "seed": 1}, port)
        assert requests.post(f"http://127.0.0.1:{ours.port}/predict", files=PHOTO, timeout=30).status_code == 503
        spans = traced.wait_for(lambda found: any(span.name == "POST /predict" for span in found))
    attempts = [span for span in spans if span.name == "attempt"]
    assert [span.attributes["http.response.status_code"] for span in attempts] == ["503", "503"]
    assert [span.attributes.get("http.request.resend_count") for span in attempts] == [None, "1"]
    assert all(span.error for span in attempts)
    assert only(spans, "queue").end_ns <= only(spans, "queue for a retry").start_ns
    assert only(spans, "POST /predict").error


def test_the_sampled_flag_is_honoured_and_the_trace_goes_on_without_recording(traced: Collector) -> None:
    with stub_pods(1, 0.01) as (port,), dispatcher([port]) as ours:
        for flag in ("0", "1"):
            headers = {"traceparent": GIVEN + flag, "tracestate": "a=1"}
            url = f"http://127.0.0.1:{ours.port}/predict"
            assert requests.post(url, files=PHOTO, headers=headers, timeout=30).status_code == 200
        spans = traced.wait_for(lambda found: any(span.name == "POST /predict" for span in found))
    assert only(spans, "POST /predict").parent_id == GIVEN[36:52]
    assert {span.trace_id for span in spans} == {GIVEN[3:35]}


def test_the_sampler_of_the_environment_decides_about_new_traces(
    traced: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "front")
    with stub_pods(1, 0.01) as (port,), dispatcher([port]) as ours:
        url = f"http://127.0.0.1:{ours.port}/predict"
        for headers in ({}, {}, {"traceparent": GIVEN + "1"}):
            assert requests.post(url, files=PHOTO, headers=headers, timeout=30).status_code == 200
        spans = traced.wait_for(lambda found: any(span.name == "POST /predict" for span in found))
    assert {(span.trace_id, span.service) for span in spans} == {(GIVEN[3:35], "front")}


def test_asynchronous_work_is_a_trace_of_its_own_with_a_link_to_the_request_that_brought_it(
    traced: Collector, tmp_path: Path
) -> None:
    with stub_pods(1, 0.01) as (port,), dispatcher([port], "--journal", str(tmp_path / "journal.sqlite")) as ours:
        url = f"http://127.0.0.1:{ours.port}/predict"
        answer = requests.post(url, files=PHOTO, headers={"Prefer": "respond-async"}, timeout=30)
        assert answer.status_code == 202
        assert requests.get(f"http://127.0.0.1:{ours.port}/jobs/{answer.json()['id']}", timeout=30).ok
        spans = traced.wait_for(lambda found: {"job", "POST /predict"} <= {span.name for span in found})
    accepted, job = only(spans, "POST /predict"), only(spans, "job")
    assert (job.links, job.parent_id) == ((accepted.trace_id,), "")
    assert job.trace_id != accepted.trace_id
    assert only(spans, "attempt").parent_id == job.span_id
    assert "HTTP" not in {span.name for span in traced.spans}, "a client that polls brings no trace"


@pytest.mark.parametrize("fault", ["away", "hangs", "fails"])
def test_a_collector_that_does_not_answer_costs_no_request_and_one_line_in_the_log(
    fault: str, traced: Collector, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "64")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "32")
    if fault == "away":
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    traced.hangs, traced.status = fault == "hangs", 500 if fault == "fails" else 200
    log = tmp_path / "log.txt"
    with stub_pods(1, 0.001) as (port,), dispatcher([port], log=log) as ours, requests.Session() as session:
        answers = [
            session.post(f"http://127.0.0.1:{ours.port}/predict", files=PHOTO, timeout=30).status_code
            for _ in range(300)
        ]
        deadline_s = time.monotonic() + 30
        while "does not answer" not in log.read_text() and time.monotonic() < deadline_s:
            time.sleep(0.1)
        time.sleep(2)  # more batches fail
    assert set(answers) == {200}
    text = log.read_text()
    assert len(re.findall("WARNING", text)) == 1, text
    assert "the collector of traces does not answer" in text
    assert "Traceback" not in text


@pytest.mark.parametrize("module", ["dispatcher.__main__", "dispatcher.observer", "loadgen.cli", "function.observer"])
def test_nothing_of_opentelemetry_is_imported_unless_traces_are_wanted(module: str) -> None:
    """What a ready pod imports without traces is listed in tests/function/test_startup.py."""
    program = (
        f"import sys, {module}; print([name for name in sys.modules if name.startswith(('opentelemetry', 'google'))])"
    )
    assert subprocess.check_output([sys.executable, "-c", program], cwd=ROOT, text=True).strip() == "[]"


def test_turned_off_by_the_standard_variable_no_span_is_sent(
    traced: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    with stub_pods(1, 0.01) as (port,), dispatcher([port]) as ours:
        url, headers = f"http://127.0.0.1:{ours.port}/predict", {"traceparent": GIVEN + "1"}
        assert requests.post(url, files=PHOTO, headers=headers, timeout=30).status_code == 200
    assert traced.spans == []
