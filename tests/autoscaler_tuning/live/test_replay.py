"""The load generator as a process of a live run: its progress with the pods, its verdict, and its failures."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from autoscaler_tuning.live.local_stack import StackError
from autoscaler_tuning.live.replay import replay
from tests.paths import ROOT
from tests.ports import free_port

pytestmark = pytest.mark.integration


class Model(BaseHTTPRequestHandler):
    """Classifies every image as a cat, but only for the host name that it serves."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(200, b"{}")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        served = self.headers["Host"] == "cats.example.com"
        self._answer(200 if served else 404, b'{"prediction": "cat: 99.0%"}')

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def argv() -> Iterator[list[str]]:
    """Return the arguments of a replay of two seconds to a gateway that selects the Service by its host name."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Model) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/predict"
        words = ["--host", "cats.example.com", "--workload", "step:seconds=2,low=3,high=3,noise=none"]
        yield [url, *words, "--images", str(ROOT / "samples")]
        server.shutdown()


def test_a_valid_run_has_no_reasons_and_its_progress_tells_the_pods(argv: list[str], tmp_path: Path) -> None:
    record, shown = tmp_path / "record.jsonl", list[str]()
    record.write_text('{"unix_s": 1e12, "ready": 3, "starting": 1, "terminating": 0}\n')
    assert replay([*argv, "--max-lag-ms", "60000"], 2, tmp_path / "r.json", record, shown.append) == []
    assert (tmp_path / "r.json").read_text().count("200") >= 6
    assert "plan: 6 requests in 2 s" in shown[0]
    assert all(line.endswith("; 3 pods ready, 1 starting, 0 terminating") for line in shown)


def test_a_run_that_breaks_the_gate_has_the_reason(argv: list[str], tmp_path: Path) -> None:
    (reason,) = replay([*argv, "--max-lag-ms", "0.0001"], 2, tmp_path / "r.json", tmp_path / "none")
    assert reason.startswith("p99 send lag must be at most 0.0001 ms")


def test_a_load_generator_that_fails_is_an_error_with_its_last_words(argv: list[str], tmp_path: Path) -> None:
    gone = f"http://127.0.0.1:{free_port()}/predict"
    with pytest.raises(StackError, match=r"the load generator exited with status 4: .*127\.0\.0\.1"):
        replay([gone, *argv[1:]], 2, tmp_path / "r.json", tmp_path / "none")
