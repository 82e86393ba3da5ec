"""`python -m loadgen`, against servers that behave and misbehave."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from loadgen.cli import main
from tests.loadgen.servers import Server, say
from tests.ports import free_port

ROOT = Path(__file__).resolve().parent.parent.parent


def test_bad_input_ends_with_2_and_one_line(
    tmp_path: Path, samples_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workload = tmp_path / "w.txt"
    workload.write_text("1\ntwo\n")
    url = "http://127.0.0.1:9/predict"
    assert main([url, "--workload", str(workload), "--images", str(samples_dir)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert main([url, "--workload", str(tmp_path / "none.txt"), "--images", str(samples_dir)]) == 2
    workload.write_text("1")
    assert main([url, "--workload", str(workload), "--images", str(tmp_path)]) == 2
    assert "no PNG, JPG or JPEG that can be read" in capsys.readouterr().err


@pytest.mark.parametrize("flags", [["ftp://a/b"], ["http://a/", "--scale", "nan"], ["http://a/", "--from-s", "-1"]])
def test_wrong_flags_end_with_2(flags: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(flags)
    assert caught.value.code == 2


@pytest.fixture
def loadgen(tmp_path: Path, samples_dir: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def start(url: str, counts: str, *flags: str) -> subprocess.Popen[str]:
        (tmp_path / "w.txt").write_text(counts)
        command = [sys.executable, "-m", "loadgen", url, "--workload", str(tmp_path / "w.txt")]
        command += ["--images", str(samples_dir), "--json", str(tmp_path / "out.json"), "--max-lag-ms", "2000", *flags]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.integration
def test_a_good_run_ends_with_0_and_says_so(loadgen: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    out, _ = loadgen(Server(say).url, "5 0 5", "--verbose").communicate(timeout=60)
    document = json.loads((tmp_path / "out.json").read_text())
    assert out.splitlines()[-1] == "Test Results: 10/10 successful requests (100.0%)"
    assert "Image cat.jpg: Classified as 'cat' with 99.0% confidence" in out
    assert document["requests"]["status"] == [200] * 10
    assert document["plan"]["requests"] == 10


@pytest.mark.integration
def test_a_stall_of_the_server_shows_in_every_request_that_was_due(
    loadgen: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    """A closed loop would send one request during the stall and see one slow answer."""
    began_s = time.monotonic()
    lock = threading.Lock()

    def stalls(handler: BaseHTTPRequestHandler) -> None:
        with lock:
            into_s = time.monotonic() - began_s
            if 1.0 < into_s % 3 < 2.0:
                time.sleep(2.0 - into_s % 3)
        say(handler)

    loadgen(Server(stalls).url, "20 " * 6, "--mode", "even").communicate(timeout=60)
    columns = json.loads((tmp_path / "out.json").read_text())["requests"]
    latencies_s = [done - due for done, due in zip(columns["done_s"], columns["intended_s"], strict=True)]
    assert len([latency for latency in latencies_s if latency > 0.3]) >= 15
    assert max(latencies_s) > 0.8


@pytest.mark.integration
def test_every_failure_is_an_outcome(loadgen: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    count = iter(range(1000))

    def misbehaves(handler: BaseHTTPRequestHandler) -> None:
        match next(count) % 3:
            case 0:
                say(handler, 500, b'{"error": "no"}')
            case 1:
                handler.send_response(200)
                handler.send_header("Content-Length", "100")
                handler.end_headers()
                handler.wfile.write(b"{")
                handler.close_connection = True
            case _:
                say(handler)

    process = loadgen(Server(misbehaves).url, "9", "--mode", "even")
    out, _ = process.communicate(timeout=60)
    statuses = json.loads((tmp_path / "out.json").read_text())["requests"]["status"]
    assert sorted(statuses) == [0, 0, 0, 200, 200, 200, 500, 500, 500]
    assert "Test Results: 3/9" in out
    assert "3x status 500: no" in out


@pytest.mark.integration
def test_nobody_listening_ends_with_4(loadgen: Callable[..., subprocess.Popen[str]]) -> None:
    process = loadgen(f"http://127.0.0.1:{free_port()}/predict", "1")
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err.count("\n")) == (4, 1)


@pytest.mark.integration
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_writes_what_there_is(
    loadgen: Callable[..., subprocess.Popen[str]], tmp_path: Path, number: signal.Signals
) -> None:
    arrived = threading.Event()

    def answers(handler: BaseHTTPRequestHandler) -> None:
        arrived.set()
        say(handler)

    process = loadgen(Server(answers).url, "5 " * 60)
    assert arrived.wait(60)
    process.send_signal(number)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Test Results:" in out
    assert len(json.loads((tmp_path / "out.json").read_text())["requests"]["status"]) == 300
