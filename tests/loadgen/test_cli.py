"""`python -m loadgen` with good and bad input, and against servers that behave well or badly."""

import json
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from loadgen.cli import COMMANDS, main
from loadgen.errors import exit_code
from tests.loadgen.servers import Server, say
from tests.ports import free_port
from tests.stubs.certificates import make_pair

URL = "http://127.0.0.1:9/predict"


@pytest.fixture
def run(samples_dir: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Return a function that calls main() with the project's images and returns exit code, stdout and stderr.

    The call must not send anything.
    """

    def called(*flags: str) -> tuple[int, str, str]:
        try:
            code = main([*flags, "--images", str(samples_dir)] if "--images" not in flags else [*flags])
        except SystemExit as error:
            code = int(error.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return called


def test_a_bad_workload_gives_one_line_with_file_line_number_and_word(run: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "w.txt").write_text("1\ntwo\n")
    code, out, err = run(URL, "--workload", str(tmp_path / "w.txt"))
    assert (code, out) == (2, "")
    assert err == f"loadgen: {tmp_path}/w.txt, line 2: expected a non-negative integer, got 'two'\n"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        pytest.param(["--workload", "no-such-file"], "a workload must be a file, or a family", id="no workload"),
        pytest.param(["--workload", "."], "Is a directory", id="a folder as workload"),
        pytest.param(["--workload", "mmpp:low=x"], "low must be a number", id="a family's setting"),
        pytest.param(["--from-s", "9999"], "the first second must be below", id="after its end"),
        pytest.param(["--mode", "recorded"], "--mode recorded needs a trace", id="no trace"),
        pytest.param(["--key", "k", "--header", "X: y"], "only one set of credentials", id="two sets of credentials"),
        pytest.param(["--images", "no-such-folder"], "--images must be a folder", id="no folder"),
        pytest.param(["--images", "loadgen"], "must contain a readable PNG, JPG or JPEG", id="a folder without images"),
        pytest.param(
            ["--json", "no/such/folder/x.json"], "--json must be a file in an existing folder", id="no such folder"
        ),
    ],
)
def test_bad_input_exits_2_with_one_line(run: Callable[..., Any], flags: list[str], words: str) -> None:
    code, out, err = run(URL.replace("//", "//user:word@") if "--key" in flags else URL, *flags)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert words in err


def test_unreadable_images_are_reported_before_the_run(run: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "broken.JPG").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "folder.png").mkdir()
    code, _, err = run(URL, "--images", str(tmp_path))
    first, second = err.splitlines()
    assert code == 2
    assert first.startswith(f"loadgen: {tmp_path}/broken.JPG: skipped: ")
    assert second == f"loadgen: --images must contain a readable PNG, JPG or JPEG file, got {tmp_path}"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        pytest.param(
            ["ftp://a/b"], "must be a URL such as http://127.0.0.1:8001/predict, got 'ftp://a/b'", id="scheme"
        ),
        pytest.param(["http://"], "must be a URL", id="no host"),
        pytest.param(["http://a:b/"], "must be a URL", id="no port"),
        pytest.param(["strss"], "must be a URL", id="neither a URL nor a command"),
        pytest.param([URL, "--scale", "nan"], "must be a finite number above 0, got 'nan'", id="nan"),
        pytest.param([URL, "--scale", "many"], "must be a finite number above 0, got 'many'", id="a word"),
        pytest.param([URL, "--from-s", "-1"], "must be a non-negative integer, got '-1'", id="negative"),
        pytest.param([URL, "--from-s", "1.5"], "must be a non-negative integer, got '1.5'", id="half a second"),
        pytest.param([URL, "--seconds", "0"], "must be an integer above 0, got '0'", id="zero seconds"),
        pytest.param([URL, "--repeat", "0"], "must be an integer above 0, got '0'", id="zero repeats"),
        pytest.param([URL, "--processes", "0"], "must be an integer above 0, got '0'", id="zero processes"),
        pytest.param([URL, "--header", "nonsense"], "must be 'Name: value', got 'nonsense'", id="not a header"),
        pytest.param([URL, "--header", "A b: c"], "must be 'Name: value'", id="not a header name"),
        pytest.param([URL, "--header", "A: b\r\nC: d"], "must be 'Name: value'", id="two headers in one"),
        pytest.param([URL, "--method", "P OST"], "must be a word such as POST", id="not a method"),
        pytest.param([URL, "--protocol", "grpc"], "invalid choice: 'grpc'", id="unknown protocol"),
        pytest.param([URL, "--mode", "often"], "invalid choice: 'often'", id="unknown mode"),
    ],
)
def test_wrong_flags_exit_2(run: Callable[..., Any], flags: list[str], words: str) -> None:
    code, _, err = run(*flags)
    assert code == 2
    assert words in err.splitlines()[-1]


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_lists_the_commands_and_the_exit_codes(run: Callable[..., Any], flag: str) -> None:
    code, out, _ = run(flag)
    assert code == 0
    assert all(name in out for name in (*COMMANDS, "3 run is invalid"))


@pytest.mark.parametrize(
    ("codes", "counts"),
    [
        ([0], 0),
        ([], 0),
        ([1, 0, 3], 3),
        ([3, 4, 1], 4),
        ([4, 2, 3], 2),
        ([1, 0], 1),
        ([130, 2], 130),
    ],
)
def test_the_code_that_makes_the_others_meaningless_takes_precedence(codes: list[int], counts: int) -> None:
    assert exit_code(codes) == counts


@pytest.mark.integration
def test_a_good_run_exits_0_and_reports_its_results(
    loadgen: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    out, _ = loadgen(Server(say).url, "5 0 5", "--verbose").communicate(timeout=60)
    document = json.loads((tmp_path / "out.json").read_text())
    assert out.splitlines()[-1] == "Test Results: 10/10 successful requests (100.0%)"
    assert "Image cat.jpg: Classified as 'cat' with 99.0% confidence" in out
    assert document["requests"]["status"] == [200] * 10
    assert document["plan"]["requests"] == 10


@pytest.mark.integration
def test_a_server_stall_delays_every_request_that_was_due(
    loadgen: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    """A closed loop would send one request during the stall and see one slow response."""
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
def test_every_failure_is_recorded_as_an_outcome(loadgen: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
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
@pytest.mark.parametrize(
    ("url", "words"),
    [
        pytest.param("http://127.0.0.1:{port}/predict", "Connection refused", id="nothing listens"),
        pytest.param(
            "http://no-such-host.invalid/predict", "cannot connect to no-such-host.invalid:80", id="unknown host"
        ),
        pytest.param("http://a..b/predict", "cannot connect to a..b:80", id="invalid host"),
    ],
)
def test_an_unreachable_server_exits_4_with_one_line(run: Callable[..., Any], url: str, words: str) -> None:
    code, out, err = run(url.format(port=free_port()))
    assert (code, out, err.count("\n")) == (4, "", 1)
    assert words in err


@pytest.mark.integration
def test_a_failed_tls_handshake_exits_4_with_one_line(run: Callable[..., Any], tmp_path: Path) -> None:
    url = Server(say, make_pair(tmp_path)).url
    code, _, err = run(url)
    assert (code, err.count("\n")) == (4, 1)
    assert "self-signed certificate" in err
    code, _, err = run(Server(say).url.replace("http:", "https:"))
    assert (code, err.count("\n")) == (4, 1)
    code, _, err = run(url, "--cacert", str(tmp_path / "none.pem"))
    assert (code, err.count("\n")) == (2, 1)


@pytest.mark.integration
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_writes_its_results_so_far(
    loadgen: Callable[..., subprocess.Popen[str]], tmp_path: Path, number: signal.Signals
) -> None:
    arrived = threading.Event()

    def respond(handler: BaseHTTPRequestHandler) -> None:
        arrived.set()
        say(handler)

    process = loadgen(Server(respond).url, "5 " * 60)
    assert arrived.wait(60)
    process.send_signal(number)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Test Results:" in out
    assert len(json.loads((tmp_path / "out.json").read_text())["requests"]["status"]) == 300
