"""Fixtures for the tests of all components."""

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

from tests.effort import CI
from tests.paths import ROOT, SHARED

pytest_plugins = ["tests.models"]

# No deadline for one example: on a busy machine each may take long. The profile "ci" is Hypothesis' own: 100 examples.
settings.register_profile("everyday", max_examples=30, deadline=None)
settings.load_profile("ci" if CI else "everyday")


def pytest_configure() -> None:
    """Restore SIGINT: a shell ignores it in background jobs, and child processes of the tests would inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let workers of pytest-xdist begin with the long tests, so that short ones fill both of them to the end.

    Those of one group run in one worker, one after the other, and groups are handed out first.
    """
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: item.get_closest_marker("integration") is None)


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
