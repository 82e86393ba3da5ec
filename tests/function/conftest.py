"""Fixtures that the tests of the protocols share."""

import pytest
from flask.testing import FlaskClient

from tests.function.fakes import Fake, client_of


@pytest.fixture
def fake() -> Fake:
    return Fake()


@pytest.fixture
def client(fake: Fake) -> FlaskClient:
    """Return a client of a pod that allows 1000 bytes and 3 images per request."""
    return client_of(fake)
