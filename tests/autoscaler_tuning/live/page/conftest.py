"""The browser for tests of the page."""

from collections.abc import Iterator

import pytest

from tests.stubs import browser as browsers
from tests.stubs.browser import Browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for the tests of a module."""
    if reason := browsers.why_not():
        pytest.skip(reason)
    with browsers.browser() as tab:
        yield tab
