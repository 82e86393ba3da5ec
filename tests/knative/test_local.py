"""Pods as processes: start, readiness, drain, stop, replacement; and none is left behind."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from knative.errors import LocalPodsError
from knative.local import LocalPods, LocalPodSpec, LocalStatus, to_stop
from knative.objects import Phase
from knative.process import PodProcess

STUB = Path(__file__).with_name("stub_pod.py")
ROOT = STUB.parent.parent.parent
PATIENCE_S = 30.0

Start = Callable[..., LocalPods]


def stub_spec(
    mode: str = "good", drain_delay_s: float = 0.3, grace_s: float = 20, start_timeout_s: float = 60
) -> LocalPodSpec:
    return LocalPodSpec(
        argv=(sys.executable, "-S", str(STUB)),
        env={"MODE": mode, "SLOW_S": "1.0"},
        drain_delay_s=drain_delay_s,
        grace_s=grace_s,
        start_timeout_s=start_timeout_s,
    )


@pytest.fixture
def start() -> Iterator[Start]:
    """Return a function that makes LocalPods, which are closed after the test."""
    made: list[LocalPods] = []

    def make(spec: LocalPodSpec, log_dir: Path | None = None, clock: Callable[[], float] = time.monotonic) -> LocalPods:
        made.append(LocalPods(spec, log_dir=log_dir, clock=clock))
        return made[-1]

    yield make
    for pods in made:
        pods.close(deadline_s=5)


def poll_until(pods: LocalPods, done: Callable[[LocalStatus], bool]) -> LocalStatus:
    end_s = time.monotonic() + PATIENCE_S
    while not done(status := pods.poll()):
        assert time.monotonic() < end_s, f"still {status}"
        time.sleep(0.02)
    return status


def ready(number: int) -> Callable[[LocalStatus], bool]:
    """Return a condition: exactly this number of pods, all of them ready."""
    return lambda status: [pod.phase for pod in status.pods] == ["ready"] * number


def is_running(pid: int) -> bool:
    """Return whether a process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def assert_gone(pids: list[int], within_s: float = 10.0) -> None:
    end_s = time.monotonic() + within_s
    while left := [pid for pid in pids if is_running(pid)]:
        assert time.monotonic() < end_s, f"still running: {left}"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("phases", "wanted", "stopped"),
    [
        pytest.param(["ready", "ready"], 2, [], id="none if there are as many as wanted"),
        pytest.param(["ready", "ready", "ready"], 1, [2, 1], id="newest ready pods first"),
        pytest.param(["ready", "starting", "ready", "starting"], 1, [3, 1, 2], id="starting pods before ready ones"),
        pytest.param(["terminating", "ready"], 1, [], id="terminating pods do not count"),
        pytest.param(["starting", "ready"], 5, [], id="none if more are wanted"),
    ],
)
def test_which_pods_are_stopped(phases: list[Phase], wanted: int, stopped: list[int]) -> None:
    assert to_stop(phases, wanted) == stopped


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"argv": ()}, id="no program"),
        pytest.param({"readiness_path": "ready"}, id="path without a slash"),
        pytest.param({"grace_s": float("nan")}, id="not a number"),
        pytest.param({"drain_delay_s": -1.0}, id="negative delay"),
    ],
)
def test_an_invalid_spec_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(LocalPodsError):
        LocalPodSpec(**{"argv": ("true",), "env": {}, **settings})  # type: ignore[arg-type]  # wrong on purpose


@pytest.mark.parametrize("pods", [-1, 4])
def test_more_than_max_pods_or_fewer_than_0_are_refused(pods: int) -> None:
    with pytest.raises(LocalPodsError, match=f"from 0 to max_pods, 3, got {pods}"):
        LocalPods(stub_spec(), max_pods=3).scale_to(pods)


def test_no_pod_starts_before_scale_to() -> None:
    assert LocalPods(stub_spec()).poll() == LocalStatus(pods=(), started=0, died=0)


@pytest.mark.integration
def test_pods_follow_scaling_from_0_to_3_to_1_to_0(start: Start) -> None:
    pods = start(stub_spec())
    pods.scale_to(3)
    three = poll_until(pods, ready(3))
    assert len({pod.url for pod in three.pods}) == 3
    pods.scale_to(1)
    assert [pod.phase for pod in pods.poll().pods] == ["ready", "terminating", "terminating"]
    one = poll_until(pods, ready(1))
    assert one.pods[0].name == three.pods[0].name
    pods.scale_to(0)
    none = poll_until(pods, ready(0))
    assert (none.started, none.died) == (3, 0)
    assert_gone([pod.pid for pod in three.pods])


@pytest.mark.integration
def test_a_pod_answers_at_its_url_with_its_name_and_its_usage_is_measured(start: Start) -> None:
    pods = start(stub_spec())
    pods.scale_to(1)
    (pod,) = poll_until(pods, lambda status: ready(1)(status) and (status.pods[0].cpu_seconds or 0) > 0).pods
    with urllib.request.urlopen(f"{pod.url}/health/readiness", timeout=10) as answer:
        assert answer.headers["X-Pod"] == pod.name
    assert pod.ready_s is not None
    assert pod.ready_s >= pod.started_s
    assert pod.resident_bytes is not None
    assert 1e6 < pod.resident_bytes < 1e9


@pytest.mark.integration
def test_a_killed_pod_is_reported_and_replaced(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    pods = start(stub_spec())
    pods.scale_to(2)
    first, second = poll_until(pods, ready(2)).pods
    os.kill(first.pid, signal.SIGKILL)
    status = poll_until(pods, lambda status: status.died == 1 and ready(2)(status))
    assert status.started == 3
    assert status.pods[0].name == second.name
    assert f"{first.name} died while ready (signal 9)" in caplog.text
    assert "listening" in caplog.text


@pytest.mark.integration
def test_the_children_of_a_killed_pod_are_killed(start: Start, tmp_path: Path) -> None:
    pods = start(stub_spec("children"), log_dir=tmp_path)
    pods.scale_to(1)
    (pod,) = poll_until(pods, ready(1)).pods
    child = int((tmp_path / f"{pod.name}.log").read_text().split()[1])
    assert is_running(child)
    os.kill(pod.pid, signal.SIGKILL)
    poll_until(pods, lambda status: status.died == 1)
    assert_gone([child])


@pytest.mark.integration
def test_the_logs_of_two_pods_in_one_file_have_no_gaps(tmp_path: Path) -> None:
    log, go = tmp_path / "pod-1.log", tmp_path / "go"
    os.mkfifo(go)
    first = PodProcess(["sh", "-c", f"echo first; read _ < {go}; echo again"], os.environ, log)
    end_s = time.monotonic() + PATIENCE_S
    while log.read_text() != "first\n":
        assert time.monotonic() < end_s, log.read_text()
        time.sleep(0.02)
    second = PodProcess(["echo", "second"], os.environ, log)
    while second.reap() is None:
        time.sleep(0.02)
    go.write_text("\n")
    while first.reap() is None:
        time.sleep(0.02)
    assert log.read_text() == "second\nagain\n"
    assert second.log_tail() == "second\nagain"
    for process in (first, second):
        process.close()


@pytest.mark.integration
@pytest.mark.parametrize("mode", ["unready", "silent"])
def test_a_pod_that_never_becomes_ready_is_replaced_and_does_not_block_poll(start: Start, mode: str) -> None:
    pods = start(stub_spec(mode, start_timeout_s=1.5))
    pods.scale_to(1)
    longest_s = 0.0

    def timed_poll_saw_a_death(status: LocalStatus) -> bool:
        nonlocal longest_s
        began_s = time.monotonic()
        again = pods.poll()
        longest_s = max(longest_s, time.monotonic() - began_s)
        return again.died >= 1

    status = poll_until(pods, timed_poll_saw_a_death)
    assert all(pod.phase != "ready" for pod in status.pods)
    assert longest_s < 0.5  # a blocking probe would take its timeout of 1 s


@pytest.mark.integration
def test_a_broken_program_is_restarted_after_increasing_delays(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    pods = start(LocalPodSpec(argv=("sh", "-c", "echo no such model >&2; exit 3"), env={}))
    pods.scale_to(4)
    end_s = time.monotonic() + 2.5
    while time.monotonic() < end_s:
        status = pods.poll()
        time.sleep(0.02)
    assert status.died >= 8  # the first round, and its replacements at once
    assert status.started <= 12  # plus one round a second later, not hundreds
    assert "(exit status 3)" in caplog.text
    assert "no such model" in caplog.text


@pytest.mark.integration
def test_a_missing_program_counts_as_a_death_and_is_named_in_the_log(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    pods = start(LocalPodSpec(argv=("/no/such/program",), env={}))
    pods.scale_to(1)
    poll_until(pods, lambda status: status.died >= 1)
    assert "/no/such/program" in caplog.text


@pytest.mark.integration
def test_a_draining_pod_finishes_its_request(start: Start) -> None:
    pods = start(stub_spec(drain_delay_s=0.1))
    pods.scale_to(1)
    (pod,) = poll_until(pods, ready(1)).pods
    statuses: list[int] = []

    def ask() -> None:
        with urllib.request.urlopen(f"{pod.url}/slow", timeout=PATIENCE_S) as answer:
            statuses.append(answer.status)

    client = threading.Thread(target=ask)
    client.start()
    time.sleep(0.3)  # until the request is certainly in flight
    pods.scale_to(0)
    assert poll_until(pods, ready(0)).died == 0
    client.join(PATIENCE_S)
    assert statuses == [200]


@pytest.mark.integration
def test_a_draining_pod_still_serves_during_its_delay_and_is_not_counted(start: Start) -> None:
    now_s = [0.0]
    pods = start(stub_spec(drain_delay_s=100.0), clock=lambda: now_s[0])
    pods.scale_to(1)
    (first,) = poll_until(pods, ready(1)).pods
    pods.scale_to(0)
    pods.scale_to(1)
    drained, second = poll_until(pods, lambda status: [p.phase for p in status.pods] == ["terminating", "ready"]).pods
    assert drained.name == first.name
    for pod in (drained, second):
        with urllib.request.urlopen(f"{pod.url}/", timeout=10) as answer:
            assert answer.status == 200
    now_s[0] = 100.0
    assert [pod.name for pod in poll_until(pods, ready(1)).pods] == [second.name]
    pods.scale_to(0)
    now_s[0] = 300.0  # past the delay, so that closing does not wait for it


@pytest.mark.integration
def test_a_pod_that_ignores_sigterm_is_killed_after_its_grace_period(start: Start) -> None:
    pods = start(stub_spec("stubborn", drain_delay_s=0, grace_s=0.5))
    pods.scale_to(1)
    (pod,) = poll_until(pods, ready(1)).pods
    pods.scale_to(0)
    assert poll_until(pods, ready(0)).died == 0
    assert_gone([pod.pid])


@pytest.mark.integration
def test_close_kills_pods_that_do_not_drain_in_time(start: Start) -> None:
    pods = start(stub_spec("stubborn"))
    pods.scale_to(2)
    pids = [pod.pid for pod in poll_until(pods, ready(2)).pods]
    pods.close(deadline_s=0.3)
    assert pods.poll().pods == ()
    assert not any(is_running(pid) for pid in pids)
    with pytest.raises(LocalPodsError, match=r"close\(\) was called"):
        pods.scale_to(1)


@pytest.mark.integration
def test_a_starting_pod_is_stopped_before_a_ready_one(start: Start) -> None:
    pods = start(stub_spec())
    pods.scale_to(1)
    (oldest,) = poll_until(pods, ready(1)).pods
    pods.scale_to(2)
    pods.scale_to(1)
    assert [pod.phase for pod in pods.poll().pods][:1] == ["ready"]
    assert [pod.name for pod in poll_until(pods, ready(1)).pods] == [oldest.name]


PARENT = """
import time
from tests.knative.test_local import poll_until, ready, stub_spec
from knative.local import LocalPods
pods = LocalPods(stub_spec("stubborn"))
pods.scale_to(3)
status = poll_until(pods, ready(3))
pods.scale_to(4)
print(*[pod.pid for pod in pods.poll().pods], flush=True)
time.sleep(600)
"""


@pytest.mark.integration
def test_no_pod_outlives_a_killed_parent() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 4
        assert all(is_running(pid) for pid in pids)
    finally:
        parent.kill()
        parent.communicate()
    assert_gone(pids, within_s=10)


@pytest.fixture(autouse=True)
def _capture_info_logs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="knative")
