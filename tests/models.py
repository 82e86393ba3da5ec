"""The model that integration tests serve: seeded random weights, exported once per session."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model folder written by function.tools.export."""
    folder = tmp_path_factory.mktemp("model")
    command = [sys.executable, "-m", "function.tools.export", "--weights", "random", "--out", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder
