"""The limit of open files of the tests' own process."""

import resource

import pytest


def allow_open_files(count: int) -> None:
    """Raise the limit to at least count, which processes started later inherit; skip where the system forbids it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < count:
        pytest.skip(f"needs {count} open files (ulimit -Hn), got {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))
