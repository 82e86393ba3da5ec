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


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out a file of integration tests that takes seconds to collect, where no integration test runs."""
    return ("not integration" in config.option.markexpr and collection_path.name == "test_openapi_responses.py") or None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tell pytest-xdist the groups, and let its workers begin with the long tests so that short ones fill all to the end."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        for item in items:
            show_group(item)
        items.sort(key=turn)


def group(item: pytest.Item) -> str:
    """Return the name in the test's xdist_group: such tests run in one worker, one after the other."""
    mark = item.get_closest_marker("xdist_group")
    return str(mark.args[0]) if mark else ""


def show_group(item: pytest.Item) -> None:
    """Append the group to the test's id, where --dist loadgroup looks for it.

    pytest-xdist 3.8 tries to itself, in a way that has no effect in pytest 9.2: every test would be distributed alone.
    Source: https://github.com/pytest-dev/pytest-xdist/issues/1386
    """
    suffix = f"@{group(item)}"
    if group(item) and not item.nodeid.endswith(suffix):
        item._id = type(item._id).parse(item.nodeid + suffix)


def turn(item: pytest.Item) -> int:
    """Return the order of a test: the tests with torch export the model at once, while others need none."""
    if item.get_closest_marker("integration") is None:
        return 3
    if group(item) == "torch":
        return 0
    return 2 if "model_dir" in getattr(item, "fixturenames", ()) else 1


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
