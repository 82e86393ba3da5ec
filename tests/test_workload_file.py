"""workload.txt is what its script writes, and has what it is there for."""

import subprocess
import sys
from itertools import pairwise

import pytest

from tests.paths import ROOT


@pytest.mark.integration
def test_the_script_writes_the_same_file_again() -> None:
    written = subprocess.run(
        [sys.executable, ROOT / "scripts/make_workload.py"], capture_output=True, text=True, check=True
    )
    assert written.stdout == (ROOT / "workload.txt").read_text()


def test_it_lasts_ten_minutes_with_silence_and_sudden_steps() -> None:
    counts = [int(word) for word in (ROOT / "workload.txt").read_text().split()]
    assert len(counts) == 600
    assert counts.count(0) >= 60
    assert max(b - a for a, b in pairwise(counts)) >= 15
