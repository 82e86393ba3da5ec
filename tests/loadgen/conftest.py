"""Starts `python -m loadgen` as a process of its own."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.paths import ROOT


@pytest.fixture
def loadgen(tmp_path: Path, samples_dir: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def start(url: str, counts: str, *flags: str, limit_files: int = 0) -> subprocess.Popen[str]:
        (tmp_path / "w.txt").write_text(counts)
        command = [sys.executable, "-m", "loadgen", url, "--workload", str(tmp_path / "w.txt")]
        command += ["--images", str(samples_dir), "--json", str(tmp_path / "out.json"), "--max-lag-ms", "10000", *flags]
        if limit_files:
            command = ["bash", "-c", f'ulimit -n {limit_files}; exec "$@"', "bash", *command]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
