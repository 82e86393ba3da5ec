"""Runs in the formats of other tools: every field that their documentation defines, and its value."""

import csv
import io
import json
import math
import shutil
import subprocess
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loadgen.analysis.columns import columns
from loadgen.analysis.gates import check, parse_gate
from loadgen.analysis.runs import Run, columns_of, read_run
from loadgen.errors import InputError
from loadgen.reports.csv_rows import HEADINGS, as_csv
from loadgen.reports.k6 import summary_data, summary_export
from loadgen.reports.vegeta import report, results
from loadgen.sending.protocols import Body
from loadgen.sending.replay import SendPlan, Target, run_replay
from tests.loadgen.runs import MIXED, URL, good, local, queue, refused, run, unsent
from tests.loadgen.servers import Server

# "report -type=json" in vegeta's README, with buckets.
VEGETA_REPORT = {
    "latencies": {"total", "mean", "50th", "90th", "95th", "99th", "max", "min"},
    "bytes_in": {"total", "mean"},
    "bytes_out": {"total", "mean"},
}
VEGETA_FIELDS = set(VEGETA_REPORT) | {
    *("buckets", "earliest", "latest", "end", "duration", "wait", "requests", "rate", "throughput", "success"),
    *("status_codes", "errors"),
}
VEGETA_RESULT = {
    *("attack", "seq", "code", "timestamp", "latency", "bytes_out", "bytes_in", "error", "body", "method", "url"),
    "headers",
}
# "Metrics" and "Custom summary" in k6's documentation: type, what it contains.
K6_METRICS = {
    "vus": ("gauge", "default"),
    "vus_max": ("gauge", "default"),
    "iterations": ("counter", "default"),
    "iteration_duration": ("trend", "time"),
    "dropped_iterations": ("counter", "default"),
    "data_received": ("counter", "data"),
    "data_sent": ("counter", "data"),
    "checks": ("rate", "default"),
    "http_reqs": ("counter", "default"),
    "http_req_blocked": ("trend", "time"),
    "http_req_connecting": ("trend", "time"),
    "http_req_tls_handshaking": ("trend", "time"),
    "http_req_sending": ("trend", "time"),
    "http_req_waiting": ("trend", "time"),
    "http_req_receiving": ("trend", "time"),
    "http_req_duration": ("trend", "time"),
    "http_req_duration{expected_response:true}": ("trend", "time"),
    "http_req_failed": ("rate", "default"),
}
K6_VALUES = {
    "counter": {"count", "rate"},
    "gauge": {"value", "min", "max"},
    "rate": {"rate", "passes", "fails"},
    "trend": {"avg", "min", "med", "max", "p(90)", "p(95)"},
}
NOTHING = run()


def k6(seen: Run, *gates: str) -> Any:
    verdicts = check([parse_gate(gate) for gate in gates], columns(seen.records), seen.settings)
    return json.loads(json.dumps(summary_data(seen, verdicts, ["p99 send lag"]), allow_nan=False))


@pytest.mark.parametrize("seen", [pytest.param(MIXED, id="mixed"), pytest.param(NOTHING, id="nothing sent")])
def test_vegetas_report_has_every_documented_field(seen: Run) -> None:
    made = json.loads(json.dumps(report(seen), allow_nan=False))
    assert set(made) == VEGETA_FIELDS
    assert {name: set(made[name]) for name in VEGETA_REPORT} == VEGETA_REPORT


def test_vegetas_report_counts_from_the_intended_send_in_nanoseconds() -> None:
    made: Any = report(MIXED)
    assert made["latencies"]["min"] == pytest.approx(1e6, abs=2)
    assert made["latencies"]["max"] == pytest.approx(2e9, abs=2)
    assert made["latencies"]["total"] == pytest.approx(3.101e9, abs=9)
    assert made["latencies"]["50th"] == pytest.approx(0.2e9, abs=2)
    assert (made["requests"], made["rate"], made["success"]) == (5, 1.25, 0.6)
    assert made["throughput"] == pytest.approx(3 / 6)
    assert (made["duration"], made["wait"]) == (4_000_000_000, 2_000_000_000)
    assert made["earliest"] == "2023-11-14T22:13:20.250000000Z"
    assert made["end"] == "2023-11-14T22:13:26.250000000Z"
    assert made["status_codes"] == {"0": 1, "200": 3, "503": 1}
    assert made["errors"] == ["status 503: full", "no response within 2 s"]
    assert made["bytes_in"] == {"total": 34, "mean": 6.8}


def test_success_covers_200_to_399_as_in_vegeta() -> None:
    moved = refused(1.0)
    moved.status = 302
    assert report(run(good(0.0, 0.1), moved, refused(2.0), refused(3.0)))["success"] == 0.5


def test_vegetas_buckets_contain_each_request_once_and_include_their_lower_bound() -> None:
    buckets: Any = report(run(good(0.0, 0.25), good(1.0, 0.249), good(2.0, 99.0)))["buckets"]
    assert sum(buckets.values()) == 3
    assert (buckets["100000000"], buckets["250000000"], buckets["10000000000"]) == (1, 1, 1)


def test_vegetas_files_have_the_requests_that_failed_on_this_machine_and_their_reason() -> None:
    seen = run(good(0.0, 0.1), local(1.0), unsent(2.0))
    lines = [json.loads(line) for line in results(seen)]
    assert [(line["code"], line["error"]) for line in lines] == [(200, ""), (0, local(1.0).error)]
    made = report(seen)
    assert (made["requests"], made["status_codes"]) == (2, {"0": 1, "200": 1})
    assert made["errors"] == [local(1.0).error]


def test_each_request_that_was_sent_is_a_line_as_vegeta_encodes_it() -> None:
    lines = [json.loads(line) for line in results(MIXED)]
    assert all(set(line) == VEGETA_RESULT for line in lines)
    assert [line["code"] for line in lines] == [200, 200, 200, 503, 0]
    assert lines[0]["timestamp"] == "2023-11-14T22:13:20.250000000Z"  # the intended send, 1 ms before the actual one
    assert lines[1]["timestamp"] == "2023-11-14T22:13:21.250000000Z"
    assert lines[1]["latency"] == pytest.approx(0.2e9, abs=2)
    assert (lines[4]["latency"], lines[4]["error"]) == (2_000_000_000, "no response within 2 s")
    assert (lines[0]["method"], lines[0]["url"], lines[0]["attack"], lines[4]["seq"]) == ("POST", URL, "run.json", 4)


@pytest.fixture(scope="session")
def vegeta() -> str:
    found = shutil.which("vegeta")
    if not found:
        pytest.skip("needs vegeta: go install github.com/tsenart/vegeta/v12@latest, and its folder on PATH")
    return found


@pytest.mark.integration
def test_vegeta_reads_our_results_and_computes_the_same_report(vegeta: str, tmp_path: Path) -> None:
    seen = run(*queue(seed=1, service_s=0.04).records, *(record for record in MIXED.records if record.status != 200))
    (tmp_path / "results.json").write_text("".join(f"{line}\n" for line in results(seen)))
    command = [vegeta, "report", "-type=json", str(tmp_path / "results.json")]
    theirs = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)
    ours: Any = report(seen)
    assert moment(theirs["end"]) == pytest.approx(moment(ours["end"]), abs=1e-6)
    for name in (
        "requests",
        "status_codes",
        "bytes_in",
        "bytes_out",
        "duration",
        "wait",
        "rate",
        "throughput",
        "success",
    ):
        assert theirs[name] == pytest.approx(ours[name]), name
    assert set(theirs["errors"]) == set(ours["errors"])
    for name, latency_ns in ours["latencies"].items():
        assert theirs["latencies"][name] == pytest.approx(latency_ns, rel=0.02), name


def moment(text: str) -> float:
    return datetime.fromisoformat(text).astimezone(UTC).timestamp()


@pytest.mark.parametrize("seen", [pytest.param(MIXED, id="mixed"), pytest.param(NOTHING, id="nothing sent")])
def test_k6s_summary_has_every_documented_field(seen: Run) -> None:
    data = k6(seen)
    assert {"root_group", "options", "state", "metrics"} <= set(data)
    assert {name: (metric["type"], metric["contains"]) for name, metric in data["metrics"].items()} == K6_METRICS
    for metric in data["metrics"].values():
        assert set(metric["values"]) >= K6_VALUES[metric["type"]]
        assert metric["type"] == "trend" or set(metric["values"]) == K6_VALUES[metric["type"]]
    assert set(data["metrics"]["http_req_duration"]["values"]) == set(data["options"]["summaryTrendStats"])
    assert set(data["state"]) == {"isStdOutTTY", "isStdErrTTY", "testRunDurationMs"}
    assert set(data["root_group"]) == {"name", "path", "id", "groups", "checks"}
    assert set(data["root_group"]["checks"][0]) == {"name", "path", "id", "passes", "fails"}
    assert data["root_group"]["id"] == "d41d8cd98f00b204e9800998ecf8427e"  # as k6 itself writes it


def test_k6s_figures_are_in_milliseconds_and_follow_k6s_definitions() -> None:
    metrics = k6(MIXED)["metrics"]
    assert metrics["iteration_duration"]["values"]["max"] == pytest.approx(2000)
    assert metrics["http_req_blocked"]["values"]["max"] == pytest.approx(1)
    assert metrics["http_req_duration{expected_response:true}"]["values"]["avg"] == pytest.approx((99 + 200 + 800) / 3)
    assert metrics["http_reqs"]["values"] == {"count": 5, "rate": pytest.approx(5 / 5.999)}
    assert metrics["dropped_iterations"]["values"]["count"] == 1
    assert metrics["http_req_failed"]["values"] == {"rate": 0.4, "passes": 2, "fails": 3}
    assert metrics["checks"]["values"] == {"rate": 0.4, "passes": 2, "fails": 3}
    assert metrics["data_sent"]["values"]["count"] == 500


def mean_ms(metrics: Mapping[str, Any], name: str) -> float:
    return float(metrics[name]["values"]["avg"])


def test_k6s_durations_of_the_parts_add_up_to_the_total() -> None:
    metrics = k6(MIXED)["metrics"]
    parts = ("http_req_sending", "http_req_waiting", "http_req_receiving")
    assert sum(mean_ms(metrics, name) for name in parts) == pytest.approx(mean_ms(metrics, "http_req_duration"))
    whole = mean_ms(metrics, "http_req_blocked") + mean_ms(metrics, "http_req_duration")
    assert whole == pytest.approx(mean_ms(metrics, "iteration_duration"))


def test_k6s_vus_are_the_largest_number_of_requests_in_flight() -> None:
    metrics = k6(run(good(0.0, 1.0), good(0.5, 1.0), good(1.5, 1.0)))["metrics"]
    assert metrics["vus_max"]["values"] == {"value": 2, "min": 2, "max": 2}
    assert metrics["vus"]["values"] == {"value": 0, "min": 0, "max": 2}


def test_gates_are_thresholds_of_their_k6_metric() -> None:
    metrics = k6(MIXED, "p95<0.5s", "errors<=50%", "late<1%", "throughput>0.1/s")["metrics"]
    found = {name: metric["thresholds"] for name, metric in metrics.items() if "thresholds" in metric}
    assert found == {
        "iteration_duration": {"p95<0.5s": {"ok": False}},
        "http_req_failed": {"errors<=50%": {"ok": True}},
        "checks": {"late<1%": {"ok": False}},
        "http_reqs": {"throughput>0.1/s": {"ok": True}},
        "http_req_blocked": {"INVALID: p99 send lag": {"ok": False}},
    }


def test_k6s_summary_contains_the_reason_for_an_invalid_run_also_as_a_crossed_threshold() -> None:
    assert k6(MIXED)["metrics"]["http_req_blocked"]["thresholds"] == {"INVALID: p99 send lag": {"ok": False}}
    assert k6(MIXED)["loadgen"] == {"url": URL, "invalid": ["p99 send lag"]}


def test_the_older_export_has_values_directly_and_true_for_a_crossed_threshold() -> None:
    verdicts = check([parse_gate("p95<0.5s"), parse_gate("max<1s")], columns(MIXED.records), MIXED.settings)
    made: Any = json.loads(json.dumps(summary_export(MIXED, verdicts), allow_nan=False))
    assert set(made) == {"metrics", "root_group"}
    assert set(made["metrics"]) == set(K6_METRICS)
    assert made["metrics"]["http_req_failed"] == {"value": 0.4, "passes": 2, "fails": 3}
    assert made["metrics"]["iteration_duration"]["thresholds"] == {"p95<0.5s": True, "max<1s": False}
    assert made["root_group"]["groups"] == {}
    assert made["root_group"]["checks"]["answered well within 0.5 s"]["passes"] == 2


def test_csv_has_a_row_for_every_planned_request() -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(MIXED))))
    assert tuple(rows[0]) == HEADINGS
    assert [row["good"] for row in rows] == ["1", "1", "1", "0", "0", "0"]
    assert (rows[0]["latency_s"], rows[0]["from_sent_s"], rows[0]["lag_s"]) == ("0.100000", "0.099000", "0.001000")
    assert (rows[4]["failure"], rows[4]["done_s"], rows[4]["error"]) == ("timeout", "", "no response within 2 s")
    assert rows[5]["sent_s"] == ""


def test_csv_quotes_special_characters_in_errors() -> None:
    record = good(0.0, 0.1)
    record.error = 'a, "b"\nc'
    assert next(csv.DictReader(io.StringIO(as_csv(run(record)))))["error"] == 'a, "b"\nc'


def saved(seen: Run, **changes: object) -> dict[str, object]:
    return {
        "about": {"url": URL, "slo_s": 0.5, "max_lag_ms": 5.0, "workload": "w.txt"},
        "plan": {"duration_s": seen.settings.duration_s},
        "started_unix_s": seen.started_unix_s,
        "requests": columns_of(seen.records),
        **changes,
    }


def test_a_saved_run_is_read_back_completely(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text(json.dumps(saved(MIXED), allow_nan=False))
    again = read_run(path)
    assert again.records == MIXED.records
    assert (again.settings.url, again.settings.duration_s, again.started_unix_s) == (URL, 6.0, MIXED.started_unix_s)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param("not json", "JSONDecodeError", id="not JSON"),
        pytest.param("[]", "TypeError", id="another document"),
        pytest.param('{"about": {}}', "KeyError: 'plan'", id="half of it"),
        pytest.param(
            json.dumps(saved(MIXED, requests={"intended_s": [0, 1], "image": ["a"]})), "ValueError", id="ragged"
        ),
        pytest.param(
            json.dumps(saved(MIXED, requests={"intended_s": [0], "image": ["a"], "done_s": ["soon"]})),
            "done_s must be a number of seconds, got 'soon'",
            id="a word for a time",
        ),
    ],
)
def test_a_file_that_is_not_a_run_is_refused_in_one_line(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "run.json"
    path.write_text(content)
    with pytest.raises(InputError) as caught:
        read_run(path)
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"{path}: must be a run that --json wrote: ")


def test_columns_contain_nan_for_what_was_not_measured() -> None:
    seen = columns(MIXED.records)
    assert [math.isnan(value) for value in seen.latency_s] == [False] * 4 + [True] * 2
    assert [math.isinf(value) for value in seen.slo_latency_s] == [False] * 3 + [True] * 3
    assert seen.attack_s == pytest.approx(3.999)
    assert seen.took_s == pytest.approx(3.999)


def _wait(release: threading.Event) -> None:
    release.wait(60)


@pytest.mark.integration
def test_the_latency_of_a_timeout_ends_when_the_timeout_was_known() -> None:
    """Without a response there is no last byte, and a latency of 0 would make the run look fast."""
    release = threading.Event()
    server = Server(lambda _: _wait(release))
    replayed = run_replay(Target(server.url, timeout_s=0.5), SendPlan(np.array([0.0]), (Body("a.jpg", b"a"),)))
    release.set()
    (line,) = results(run(*replayed.records))
    assert json.loads(line)["code"] == 0
    assert json.loads(line)["latency"] > 0.4e9
