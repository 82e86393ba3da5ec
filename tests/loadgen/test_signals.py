"""SIGINT and SIGTERM at every moment of a command, and threads, which get none."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loadgen.barazmoon import BarAzmoon
from loadgen.errors import InputError
from loadgen.records import Failure
from loadgen.sending.protocols import Body
from loadgen.sending.replay import SendPlan, Target, run_replay
from loadgen.sending.stop_signals import STOP_SIGNALS, finishing, raising
from tests.loadgen.servers import Server, say
from tests.paths import ROOT

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("timing")]
BOTH = pytest.mark.parametrize("number", STOP_SIGNALS)


@contextmanager
def command(*words: str) -> Iterator[subprocess.Popen[str]]:
    """Run a command of loadgen with SIGINT ignored, as a shell starts a job in the background."""
    shell = 'trap "" INT; exec "$@"'
    process = subprocess.Popen(
        ["bash", "-c", shell, "bash", sys.executable, "-m", "loadgen", *words, "--images", "samples"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@BOTH
def test_a_search_ends_in_a_pause_and_writes_its_trials(tmp_path: Path, number: signal.Signals) -> None:
    words = ("find-max", Server(say).url, "--slo", "p95<9s", "--seconds", "1", "--settle-s", "600")
    with command(*words, "--max-lag-ms", "10000", "--json", str(tmp_path / "m.json")) as process:
        assert process.stdout
        assert process.stdout.readline().startswith("trial  1 ")
        time.sleep(0.3)  # the pause of ten minutes begins right after the line
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, "Traceback" in err) == (130, False)
    assert "Highest rate that meets the SLOs: none found" in out
    assert len(json.loads((tmp_path / "m.json").read_text())["trials"]) == 1


@BOTH
def test_before_the_first_request_a_signal_ends_the_command_with_one_line(
    tmp_path: Path, number: signal.Signals
) -> None:
    os.mkfifo(tmp_path / "w.txt")  # reading it waits for a writer that never comes
    with command(Server(say).url, "--workload", str(tmp_path / "w.txt")) as process:
        writer = _opened_when_read(tmp_path / "w.txt")
        process.send_signal(number)
        os.close(writer)  # a signal just before the read would otherwise be noticed only after it
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "loadgen: interrupted; there is nothing to report\n")


def _opened_when_read(path: Path) -> int:
    """Open a pipe for writing as soon as it has a reader."""
    deadline_s = time.monotonic() + 60
    while time.monotonic() < deadline_s:
        try:
            return os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            time.sleep(0.02)
    raise AssertionError(f"{path} was not read within a minute")


def test_handlers_are_back_after_a_run_and_after_a_signal_in_it() -> None:
    before = [signal.getsignal(number) for number in STOP_SIGNALS]
    arrived = threading.Event()

    def interrupt() -> None:
        arrived.wait(30)
        os.kill(os.getpid(), signal.SIGTERM)

    def respond(handler: Any) -> None:
        arrived.set()
        say(handler)

    threading.Thread(target=interrupt, daemon=True).start()
    replayed = run_replay(Target(Server(respond).url), SendPlan(np.array([0.0, 600.0]), (Body("a", b"a"),)))
    assert replayed.interrupted
    assert [signal.getsignal(number) for number in STOP_SIGNALS] == before
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & set(STOP_SIGNALS)


@BOTH
def test_while_results_are_written_the_first_signal_waits_and_the_second_ends(number: signal.Signals) -> None:
    with finishing() as interrupted:
        assert not interrupted()
        signal.raise_signal(number)
        assert interrupted()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)


@BOTH
def test_outside_of_a_run_a_signal_raises_keyboard_interrupt(number: signal.Signals) -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with raising(), pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


def in_a_thread(tester: BarAzmoon) -> tuple[int, int]:
    results: list[tuple[int, int]] = []
    thread = threading.Thread(target=lambda: results.append(tester.start()))
    thread.start()
    thread.join(60)
    return results[0]


def test_a_load_tester_runs_in_a_thread_and_where_an_event_loop_runs() -> None:
    assert in_a_thread(BarAzmoon(workload=[3, 2], endpoint=Server(say).url, http_method="post")) == (5, 5)
    assert asyncio.run(called(BarAzmoon(workload=[2], endpoint=Server(say).url))) == (2, 2)


async def called(tester: BarAzmoon) -> tuple[int, int]:
    return tester.start()


@BOTH
@pytest.mark.parametrize(
    "start",
    [BarAzmoon.start, lambda tester: asyncio.run(called(tester))],
    ids=["in a script", "where an event loop runs"],
)
def test_a_signal_ends_a_load_tester_at_once_and_the_program_that_called_it(
    start: Callable[[BarAzmoon], tuple[int, int]], number: signal.Signals
) -> None:
    before = [signal.getsignal(one) for one in STOP_SIGNALS]

    def interrupt(handler: Any) -> None:
        say(handler)
        os.kill(os.getpid(), number)

    tester = BarAzmoon(workload=[1, *[0] * 600, 1], endpoint=Server(interrupt).url, mode="even")
    with pytest.raises(KeyboardInterrupt):
        start(tester)
    assert tester.summary.planned == 2
    assert tester.replay.records[1].failure is Failure.INTERRUPTED
    assert [signal.getsignal(one) for one in STOP_SIGNALS] == before


@pytest.mark.parametrize(
    ("workload", "sent"),
    [
        pytest.param([0.5] * 6, [1, 0, 1, 0, 1, 0], id="halves"),
        pytest.param([1.2, 0.9, 1.1, 1.8], [1, 1, 1, 2], id="a total of five"),
        pytest.param([0.1] * 10, [0, 0, 0, 0, 1, 0, 0, 0, 0, 0], id="tenths"),
        pytest.param([np.int64(2), np.float32(1)], [2, 1], id="numbers of numpy"),
    ],
)
def test_fractions_of_a_workload_add_up(workload: list[float], sent: list[int]) -> None:
    assert BarAzmoon(workload=workload, endpoint="http://127.0.0.1/")._counts == sent


@pytest.mark.parametrize("workload", [[float("nan")], [float("inf")], [1e7], [1e6] * 11, [-0.5], []])
def test_workloads_that_cannot_be_sent_are_refused(workload: list[float]) -> None:
    with pytest.raises(InputError, match="workload must"):
        BarAzmoon(workload=workload, endpoint="http://127.0.0.1/")


def test_a_response_of_deeply_nested_json_fails_alone() -> None:
    responses = iter([b"[" * 100_000, b"{}"])
    server = Server(lambda handler: say(handler, 200, next(responses)))
    assert BarAzmoon(workload=[1, 1], endpoint=server.url, mode="even").start() == (2, 1)
