"""Fixtures for the tests of all components."""

import signal
from pathlib import Path

import pytest

from tests.paths import ROOT, SHARED

pytest_plugins = ["tests.models"]


def pytest_configure() -> None:
    """Restore SIGINT: a shell ignores it in background jobs, and child processes of the tests would inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Return the folder of images, traces and conformance vectors that is not part of the project."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the folder of shared test data: SHARED_DIR, {SHARED}, does not exist")
    return SHARED


@pytest.fixture(scope="session")
def samples_dir() -> Path:
    """Return the folder of images that the project ships."""
    return ROOT / "samples"
