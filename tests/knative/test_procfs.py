"""Usage of a process tree, compared with what the kernel reports to a process about itself."""

import os
import subprocess
import sys

import pytest

from knative.procfs import tree_usage
from tests.paths import ROOT

BURN_IN_CHILD = """
import os, time
if os.fork() == 0:
    while time.process_time() < 0.4:
        pass
    print("burnt", flush=True)
    time.sleep(600)
os.wait()
"""
COMPARE = """
import os
from knative.procfs import tree_usage
before = os.times()
usage = tree_usage(os.getpid())
after = os.times()
assert sum(before[:4]) - 0.05 <= usage.cpu_seconds <= sum(after[:4]) + 0.05, (before, usage, after)
assert usage.resident_bytes > 1e6
"""


@pytest.mark.integration
def test_the_usage_of_a_process_agrees_with_os_times() -> None:
    """In a process of its own: children that other tests still run count for this one, but not in its os.times()."""
    done = subprocess.run([sys.executable, "-c", COMPARE], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_process_that_is_gone_has_no_usage() -> None:
    assert tree_usage(2**22 + 1) is None  # above the largest pid of Linux


@pytest.mark.integration
def test_the_usage_of_a_child_counts_for_its_parent() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", BURN_IN_CHILD], stdout=subprocess.PIPE, start_new_session=True
    ) as tree:
        try:
            assert tree.stdout is not None
            assert tree.stdout.readline() == b"burnt\n"
            usage = tree_usage(tree.pid)
        finally:
            os.killpg(tree.pid, 9)
    assert usage is not None
    assert usage.cpu_seconds >= 0.39
