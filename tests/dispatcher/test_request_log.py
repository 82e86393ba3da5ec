"""The request log: one line of JSON each, without secrets, and nothing that happens to its reader stops a request."""

import json
import os
import re
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from dispatcher.line_log import MOST_LINES, LineLog
from tests.dispatcher.processes import PHOTO, Stub
from tests.paths import ROOT
from tests.ports import free_port, wait_for

GIVEN = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
FIELDS = {
    "time", "id", "trace_id", "method", "path", "status", "outcome", "wait_s", "service_s", "latency_s", "attempts",
    "pod", "bytes_in", "bytes_out",
}  # fmt: skip


class Logged:
    """A dispatcher whose standard output is a pipe of this test."""

    def __init__(self, backend: str, *flags: str) -> None:
        self.port, self.control_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        command = [sys.executable, "-m", "dispatcher", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--control-port", str(self.control_port), "--ml-service-url", backend, "--log-requests", *flags]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert self.process.stdout is not None
        self.out = self.process.stdout
        wait_for(f"{self.url}/")

    def post(self, path: str = "/predict", **arguments: Any) -> requests.Response:
        return requests.post(self.url + path, timeout=60, **({"files": PHOTO} | arguments))

    def rows(self, count: int) -> list[dict[str, Any]]:
        """Return that many lines, parsed."""
        text, deadline_s = b"", time.monotonic() + 30
        while text.count(b"\n") < count:
            assert time.monotonic() < deadline_s, text
            if select.select([self.out], [], [], 1)[0]:
                text += os.read(self.out.fileno(), 65536)
        return [json.loads(line) for line in text.splitlines()]

    def dropped(self) -> float:
        text = requests.get(f"http://127.0.0.1:{self.control_port}/metrics", timeout=10).text
        (value,) = re.findall(r"^dispatcher_log_lines_dropped_total (\S+)$", text, re.MULTILINE)
        return float(value)

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(30)


@contextmanager
def logged(backend: str, *flags: str) -> Iterator[Logged]:
    found = Logged(backend, *flags)
    try:
        yield found
    finally:
        found.process.kill()
        found.process.communicate()


@pytest.mark.integration
def test_each_request_is_a_line_with_its_id_trace_times_pod_and_outcome() -> None:
    stub = Stub(delay_s=0.05)
    with logged(stub.url) as ours:
        answer = ours.post("/predict?api_key=hidden", headers={"X-Request-Id": "id-1", "traceparent": GIVEN})
        (row,) = ours.rows(1)
    assert set(row) == FIELDS
    assert (row["id"], row["trace_id"], row["pod"]) == ("id-1", GIVEN[3:35], "stub")
    assert (row["method"], row["path"], row["status"], row["outcome"]) == ("POST", "/predict", 200, "answered")
    assert (row["attempts"], row["service_s"], row["bytes_out"]) == (1, 0.001, len(answer.content))
    assert row["latency_s"] >= 0.05 > row["wait_s"] >= 0
    assert row["bytes_in"] > len(PHOTO["file"][1])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", row["time"])


@pytest.mark.integration
def test_refusals_retries_and_clients_that_hang_up_are_lines_too_and_probes_are_not() -> None:
    stub = Stub()
    with logged(stub.url, "--attempts", "2") as ours:
        for path in ("/", "/healthz", "/readyz"):
            requests.get(ours.url + path, timeout=10)
            requests.head(ours.url + path + "?from=a-probe", timeout=10)
        stub.statuses = [503, 503]
        ours.post()
        ours.post(files=None, data=b"")
        requests.put(
            f"http://127.0.0.1:{ours.control_port}/capacity",
            json={"ready_pods": 0, "concurrency": 1, "valid_s": 60},
            timeout=10,
        )
        ours.post(headers={"X-Request-Deadline-Ms": "50"})
        with socket.create_connection(("127.0.0.1", ours.port)) as client:
            target, request_id = b"/" + bytes(200).replace(b"\0", b"x"), bytes(200).replace(b"\0", b"i")
            head = b"POST %b HTTP/1.1\r\nHost: a\r\nX-Request-Id: %b\r\nContent-Length: 3\r\n\r\nabc"
            client.sendall(head % (target, request_id))
            time.sleep(0.5)
        rows = ours.rows(4)
    found = [(row["status"], row["outcome"], row["attempts"]) for row in rows]
    assert found == [
        (503, "attempts exhausted", 2), (400, "answered here", 0), (429, "deadline cannot be met", 0), (0, "client gone", 0),
    ]  # fmt: skip
    assert all(re.fullmatch("[0-9a-f]{32}", row["trace_id"]) for row in rows if row["status"] != 400)
    assert (rows[3]["path"], rows[3]["id"]) == ("/" + 127 * "x", 128 * "i")


@pytest.mark.integration
def test_asynchronous_work_is_a_line_when_accepted_and_a_line_when_run_without_its_job_id(tmp_path: Path) -> None:
    with logged(Stub().url, "--journal", str(tmp_path / "journal.sqlite")) as ours:
        answer = ours.post(headers={"Prefer": "respond-async", "X-Request-Id": "id-7", "traceparent": GIVEN})
        job_id = answer.json()["id"]
        rows = ours.rows(2)
        requests.get(f"{ours.url}/jobs/{job_id}", timeout=10)
        rows += ours.rows(1)
    kinds = {(row.get("job", False), row["status"], row["id"]) for row in rows[:2]}
    assert kinds == {(False, 202, "id-7"), (True, 200, "id-7")}
    assert {row["trace_id"] for row in rows[:2]} == {GIVEN[3:35]}
    (run,) = [row for row in rows[:2] if row.get("job")]
    assert (run["path"], run["outcome"], run["pod"]) == ("/predict", "answered", "stub")
    assert run["bytes_in"] > len(PHOTO["file"][1])
    assert run["bytes_out"] > 0
    assert rows[2]["path"] == "/jobs/ID"
    assert job_id not in json.dumps(rows)


@pytest.mark.integration
def test_a_reader_that_does_not_read_stops_no_request_and_no_shutdown() -> None:
    with logged(Stub().url) as ours, requests.Session() as session:
        # a pipe holds 65,536 bytes, which are fewer than 200 lines
        statuses = {session.post(f"{ours.url}/predict", files=PHOTO, timeout=30).status_code for _ in range(400)}
        assert statuses == {200}
        assert ours.stop() == 0


@pytest.mark.integration
def test_a_closed_standard_output_stops_no_request_and_what_is_lost_is_counted() -> None:
    with logged(Stub().url) as ours:
        os.dup2(os.open(os.devnull, os.O_RDONLY), ours.out.fileno())  # the pipe has no reader any more
        assert {ours.post().status_code for _ in range(20)} == {200}
        deadline_s = time.monotonic() + 30
        while ours.dropped() < 20:
            assert time.monotonic() < deadline_s, ours.dropped()
            time.sleep(0.1)
        assert ours.stop() == 0


def test_lines_that_find_the_queue_full_are_dropped_and_counted() -> None:
    dropped: list[int] = []
    reading, writing = os.pipe()
    lines = LineLog(dropped.append, writing)
    try:
        for number in range(2 * MOST_LINES):
            lines.put({"number": number, "text": "x" * 100})
        assert MOST_LINES / 2 <= sum(dropped) <= MOST_LINES
    finally:
        threading.Thread(target=drain, args=(reading,), daemon=True).start()
        lines.close(30)
        os.close(writing)


def drain(descriptor: int) -> None:
    while os.read(descriptor, 65536):
        pass


def test_every_line_is_written_when_the_log_is_closed() -> None:
    reading, writing = os.pipe()
    lines = LineLog(lambda count: None, writing)
    for number in range(100):
        lines.put({"number": number})
    lines.close(30)
    os.close(writing)
    with os.fdopen(reading) as written:
        assert [json.loads(line)["number"] for line in written] == list(range(100))
