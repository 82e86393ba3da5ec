"""The demo: its live part, its errors, and what it says when live and simulated differ."""

from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from autoscaler_tuning.cli import main
from autoscaler_tuning.live.demo import DemoConfig, _send, chosen_part, demo_headline, pods_as_here
from autoscaler_tuning.live.local_stack import StackError
from autoscaler_tuning.results import Cost, LiveFacts, PolicyRun, summarise
from loadgen.workload.workload import Workload, WorkloadError, read_workload

ROOT = Path(__file__).resolve().parents[3]
CONFIG = DemoConfig(
    ROOT / "workload.txt", ROOT / "samples", ROOT / "samples/cat.jpg", Path("r"), Path("m"), Path("l"), ()
)


def run(policy: str, late: int, pod_seconds: float) -> PolicyRun:
    intended_s = np.arange(100.0)
    done_s = intended_s + np.where(np.arange(100) < late, 0.9, 0.1)
    return PolicyRun(
        summarise(policy, "local", intended_s, done_s, 0.5, Cost(pod_seconds, 0, 1)), intended_s, done_s, ()
    )


def test_the_demo_chooses_its_part_by_the_rule_and_says_so() -> None:
    part = chosen_part(read_workload(CONFIG.workload), CONFIG)
    assert part.seconds == CONFIG.seconds
    assert f"from second {part.from_s} on" in part.why
    assert "of all parts of this length" in part.why


def test_a_part_that_the_user_asks_for_is_said_to_be_asked_for() -> None:
    part = chosen_part(read_workload(CONFIG.workload), replace(CONFIG, from_s=590, seconds=75))
    assert (part.from_s, part.seconds) == (590, 10)
    assert "--from-s" in part.why


@pytest.mark.parametrize(
    ("pad_service_s", "service_time_s", "cpu_s"), [(0.1, 0.1, 0.02), (0.0, 0.02, 0.02), (0.01, 0.01, 0.01)]
)
def test_simulated_pods_start_as_the_live_ones_did_and_take_the_padded_time(
    pad_service_s: float, service_time_s: float, cpu_s: float
) -> None:
    live = replace(run("kpa", 0, 1.0), live=LiveFacts(starts_s=(0.4, 0.7)))
    sim = pods_as_here(replace(CONFIG, pad_service_s=pad_service_s), 0.02, [live])
    assert (sim.service_time_s, sim.cpu_per_request_s) == (service_time_s, cpu_s)
    assert sim.cold_start_samples_s == (0.4, 0.7)


@pytest.mark.parametrize("from_s", [600, 0])
def test_a_part_outside_the_workload_or_without_requests_is_refused(from_s: int) -> None:
    with pytest.raises(WorkloadError, match="600" if from_s else "must have requests, got none in 5 s"):
        chosen_part(Workload((0,) * 5 + (1,) * 5), replace(CONFIG, from_s=from_s, seconds=5))


class Refusing(BaseHTTPRequestHandler):
    """Refuse every image."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(400)
        self.end_headers()
        self.wfile.write(b"not an image")

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def refusing() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Refusing) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_request_that_fails_is_an_error_with_the_status_and_the_answer(refusing: str) -> None:
    with pytest.raises(StackError, match=r"must answer .*cat.jpg with 200, got 400: not an image"):
        _send(refusing, CONFIG.photograph)


def test_a_request_without_any_answer_is_an_error_with_the_address() -> None:
    with pytest.raises(StackError, match=r"http://127\.0\.0\.1:1/predict did not answer"):
        _send("http://127.0.0.1:1", CONFIG.photograph)


def test_an_image_that_cannot_be_read_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="cannot read") as caught:
        _send("http://127.0.0.1:1", tmp_path)
    assert caught.value.status == 2


AGREE = [run("kpa", 5, 200), run("elastic", 1, 100)]
OPPOSITE = [run("kpa", 1, 100), run("elastic", 5, 200)]


@pytest.mark.parametrize(
    ("live", "same", "words"),
    [
        pytest.param(AGREE, AGREE, "Live and simulated agree", id="agree"),
        pytest.param(OPPOSITE, OPPOSITE, "so the cause is the part", id="the part differs from the whole"),
        pytest.param(OPPOSITE, AGREE, "so the cause is this machine", id="the machine differs from the simulator"),
    ],
)
def test_the_demo_says_whether_live_and_simulated_agree_and_else_why_not(
    live: list[PolicyRun], same: list[PolicyRun], words: str
) -> None:
    found = demo_headline(live, same, AGREE, 75)
    assert words in found.sentences[-1]
    assert "Simulated, elastic wins against kpa" in found.title


@pytest.mark.parametrize(
    ("flag", "value"),
    [("--from-s", "-1"), ("--from-s", "x"), ("--seconds", "0"), ("--max-pods", "-2"), ("--pad-service-s", "-0.1")],
)
def test_bad_numbers_are_refused_before_anything_starts(
    flag: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["demo", f"{flag}={value}"])
    assert stopped.value.code == 2
    assert f"got '{value}'" in capsys.readouterr().err
