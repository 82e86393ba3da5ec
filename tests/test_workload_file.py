"""The synthetic traces are what their script writes, and have the intended load shapes."""

import subprocess
import sys
from itertools import pairwise

import pytest

from tests.paths import ROOT

FILES = {"workload": "workload.txt", "steps": "samples/traces/steps.txt", "bursts": "samples/traces/bursts.txt"}


@pytest.mark.integration
@pytest.mark.parametrize(("name", "file"), FILES.items())
def test_the_script_reproduces_the_file(name: str, file: str) -> None:
    command = [sys.executable, str(ROOT / "scripts/make_workload.py"), name]
    written = subprocess.run(command, capture_output=True, text=True, check=True)
    assert written.stdout == (ROOT / file).read_text()


@pytest.mark.integration
def test_an_unknown_trace_is_refused_with_the_known_names() -> None:
    command = [sys.executable, str(ROOT / "scripts/make_workload.py"), "waves"]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert refused.stderr == "make_workload: the trace must be one of workload, steps, bursts, got 'waves'\n"


def counts_of(file: str) -> list[int]:
    return [int(word) for word in (ROOT / file).read_text().split()]


def test_steps_rise_suddenly_to_a_plateau_without_idle_seconds() -> None:
    counts = counts_of(FILES["steps"])
    assert len(counts) == 630
    assert counts.count(0) == 0
    assert max(b - a for a, b in pairwise(counts)) >= 10


def test_bursts_are_short_between_long_idle_periods() -> None:
    counts = counts_of(FILES["bursts"])
    assert len(counts) == 1800
    assert counts.count(0) > 0.7 * len(counts)
    assert max(b - a for a, b in pairwise(counts)) >= 20


def test_the_workload_lasts_ten_minutes_with_idle_seconds_and_sudden_steps() -> None:
    counts = [int(word) for word in (ROOT / "workload.txt").read_text().split()]
    assert len(counts) == 600
    assert counts.count(0) >= 60
    assert max(b - a for a, b in pairwise(counts)) >= 15
