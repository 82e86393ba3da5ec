"""The parallel run of the tests by pytest-xdist."""

import os

import pytest


@pytest.mark.xdist_group("parallel")
def test_a_group_is_shown_once_to_the_scheduler(request: pytest.FixtureRequest) -> None:
    assert request.node.nodeid.count("@parallel") == ("PYTEST_XDIST_WORKER" in os.environ)
