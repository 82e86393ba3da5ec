"""`python -m loadgen`: the effect of its flags, and runs that do not end as planned."""

import json
import signal
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from tests.loadgen.servers import Server, hang_up_in_the_middle, say
from tests.stubs.certificates import make_pair


@pytest.mark.integration
def test_tls_works_with_the_right_certificate_or_without_verification(
    loadgen: Callable[..., Any], tmp_path: Path
) -> None:
    pair = make_pair(tmp_path)
    url = Server(say, pair).url
    for flags in (["--cacert", str(pair.cert)], ["--insecure"]):
        process = loadgen(url, "3", *flags)
        out, _ = process.communicate(timeout=60)
        assert (process.returncode, "Test Results: 3/3" in out) == (0, True)


@pytest.mark.integration
def test_a_connection_closed_in_mid_body_is_a_line_of_the_error_set(loadgen: Callable[..., Any]) -> None:
    process = loadgen(Server(hang_up_in_the_middle).url, "4")
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "4x ClientPayloadError" in out
    assert "Test Results: 0/4 successful requests (0.0%)" in out


@pytest.mark.integration
@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_run_that_fell_behind_reports_the_reason_and_exits_3(
    loadgen: Callable[..., Any], tmp_path: Path, processes: str
) -> None:
    process = loadgen(Server(say).url, "100", "--mode", "burst", "--max-lag-ms", "0.001", "--processes", processes)
    out, _ = process.communicate(timeout=60)
    (reason,) = json.loads((tmp_path / "out.json").read_text())["summary"]["invalid"]
    assert process.returncode == 3
    assert reason.startswith("p99 send lag must be at most 0.001 ms")
    assert f"INVALID: {reason}" in out


@pytest.mark.integration
def test_running_out_of_file_descriptors_makes_the_run_invalid(loadgen: Callable[..., Any], tmp_path: Path) -> None:
    held = threading.Event()

    def hold(handler: BaseHTTPRequestHandler) -> None:
        held.wait(20)
        say(handler)

    process = loadgen(Server(hold).url, "90", "--mode", "even", "--timeout-s", "3", limit_files=40)
    out, _ = process.communicate(timeout=60)
    held.set()
    assert process.returncode == 3
    assert "at least 99.5 % of the planned requests must be sent, got " in out
    assert "of 90; error on this machine: " in out
    assert "Too many open files" in out


@pytest.mark.integration
def test_part_scale_and_repeat_give_the_expected_requests(loadgen: Callable[..., Any], tmp_path: Path) -> None:
    flags = ["--from-s", "1", "--seconds", "2", "--scale", "2", "--repeat", "2", "--mode", "even"]
    loadgen(Server(say).url, "9 1 2 9", *flags).communicate(timeout=60)
    intended_s = json.loads((tmp_path / "out.json").read_text())["requests"]["intended_s"]
    assert intended_s == [0, 0.5, 1, 1.25, 1.5, 1.75, 2, 2.5, 3, 3.25, 3.5, 3.75]


@pytest.mark.integration
def test_key_host_and_headers_are_sent(loadgen: Callable[..., Any]) -> None:
    server = Server(say)
    flags = ["--key", "k7", "--host", "a.example.com", "--header", "X-One: 1", "--header", "X-Two:2", "--method", "put"]
    loadgen(server.url, "1", *flags).communicate(timeout=60)
    ((headers, _),) = server.got
    assert (headers["Authorization"], headers["Host"]) == ("Bearer k7", "a.example.com")
    assert (headers["X-One"], headers["X-Two"]) == ("1", "2")


@pytest.mark.integration
@pytest.mark.parametrize("processes", ["1", "2"])
def test_one_signal_ends_all_processes(loadgen: Callable[..., Any], tmp_path: Path, processes: str) -> None:
    """Requests in flight are aborted; they and those that were not sent are recorded as interrupted."""
    arrived, held = threading.Barrier(4), threading.Event()

    def hold(handler: BaseHTTPRequestHandler) -> None:
        arrived.wait(60)
        held.wait(30)

    process = loadgen(Server(hold).url, "3 " + "0 " * 60 + "1", "--mode", "burst", "--processes", processes)
    arrived.wait(60)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    held.set()
    assert process.returncode == 130
    assert "3x interrupted" in out
    assert "INVALID: the run was interrupted: 4 of 4 requests have no outcome" in out
    errors = json.loads((tmp_path / "out.json").read_text())["requests"]["error"]
    assert errors == ["interrupted"] * 3 + ["not sent: the run was interrupted"]
