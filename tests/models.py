"""The model that integration tests serve: random weights with a fixed seed, exported once and kept in pytest's cache."""

import fcntl
import shutil
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path

import pytest

from tests.paths import ROOT


def sources_hash() -> str:
    """Return a hash of everything that decides what the exported files contain."""
    digest = sha256()
    for path in (ROOT / "requirements.txt", *sorted((ROOT / "function").rglob("*.py"))):
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


@pytest.fixture(scope="session")
def model_dir(pytestconfig: pytest.Config) -> Path:
    """Return a folder as function.tools.export writes it. Tests that change it work on a copy.

    An export takes half a minute, so the workers of pytest-xdist share one, and later runs use it until a source changes.
    """
    models = pytestconfig.cache.mkdir("model")
    folder = models / sources_hash()
    with (models / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            shutil.rmtree(models / "unfinished", ignore_errors=True)
            export(models / "unfinished")
            (models / "unfinished").rename(folder)
        remove_outdated(models, folder)
    return folder


def remove_outdated(models: Path, used: Path) -> None:
    """Remove models of other sources, but none that a test run of the last hour may still be using."""
    for model in models.iterdir():
        if model.is_dir() and model != used and time.time() - model.stat().st_mtime > 3600:
            shutil.rmtree(model)


def export(folder: Path) -> None:
    """Write the model into the folder, in a process of its own: this one need not import torch."""
    command = [sys.executable, "-m", "function.tools.export", "--weights", "random", "--out", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
