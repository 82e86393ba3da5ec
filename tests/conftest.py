"""Fixtures that every room shares."""

import os
import signal
from pathlib import Path

import pytest

pytest_plugins = ["tests.models"]

ROOT = Path(__file__).resolve().parent.parent


def pytest_configure() -> None:
    """A shell starts what runs in its background with Ctrl-C ignored, and children of the tests would inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of photographs, traces and conformance vectors that is not part of the project."""
    folder = Path(os.environ.get("SHARED_DIR", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"needs the folder of shared test data (SHARED_DIR, {folder} does not exist)")
    return folder


@pytest.fixture(scope="session")
def samples_dir() -> Path:
    """The photographs that the project ships."""
    return ROOT / "samples"
