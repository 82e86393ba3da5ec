"""Fixtures that every component shares."""

import signal
from pathlib import Path

import pytest

from tests.paths import ROOT, SHARED

pytest_plugins = ["tests.models"]


def pytest_configure() -> None:
    """A shell starts what runs in its background with Ctrl-C ignored, and children of the tests would inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of photographs, traces and conformance vectors that is not part of the project."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the folder of shared test data (SHARED_DIR, {SHARED} does not exist)")
    return SHARED


@pytest.fixture(scope="session")
def samples_dir() -> Path:
    """The photographs that the project ships."""
    return ROOT / "samples"
