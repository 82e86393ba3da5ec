"""The logs of stacks on this machine: one stack must not damage those of another."""

import os
import time
from pathlib import Path

import pytest

from autoscaler_tuning.live.local_stack import LocalStack, StackConfig, StackError, environment, start

pytestmark = [pytest.mark.integration]


def test_a_comparison_leaves_the_logs_of_make_up_alone(tmp_path: Path) -> None:
    (tmp_path / "dispatcher.log").write_text("of make up\n")
    stack = LocalStack(StackConfig(order="none", log_dir=tmp_path))
    with pytest.raises(StackError, match="dispatcher exited with status 2"), stack:
        pass
    assert (tmp_path / "dispatcher.log").read_text() == "of make up\n"
    (log,) = tmp_path.glob("*/dispatcher.log")
    assert "--order" in log.read_text()


def test_two_processes_with_one_log_leave_no_gaps_in_it(tmp_path: Path) -> None:
    log, go = tmp_path / "dispatcher.log", tmp_path / "go"
    os.mkfifo(go)
    first = start("dispatcher", ["sh", "-c", f"echo first; read _ < {go}; echo again"], tmp_path, environment())
    end_s = time.monotonic() + 60
    while log.read_text() != "first\n":
        assert time.monotonic() < end_s, log.read_text()
        time.sleep(0.02)
    assert start("dispatcher", ["echo", "second"], tmp_path, environment()).wait(60) == 0
    go.write_text("\n")
    assert first.wait(60) == 0
    assert log.read_text() == "second\nagain\n"
