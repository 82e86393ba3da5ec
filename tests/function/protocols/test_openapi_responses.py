"""Schemathesis finds no response that contradicts the OpenAPI document.

A file of its own, because schemathesis needs seconds to collect it: tests/conftest.py leaves it out where no integration
test runs.
"""

import json
import re
from collections.abc import Iterator
from threading import Thread
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings, strategies
from schemathesis import Case
from schemathesis.specs.openapi.checks import positive_data_acceptance
from werkzeug.serving import make_server

from tests.effort import effort
from tests.function.fakes import Fake, client_of

# The headers of these must agree with each other or with the body, which a schema cannot express.
AGREEING = re.compile(r"^/$|/infer$")

schemathesis.openapi.media_type("image/bmp", strategies.just(b"BM"))
APP = client_of(Fake(), max_body_bytes=10**7, max_images=16).application


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Serve over a socket, because only werkzeug's test client omits the line end after an empty file."""
    server = make_server("127.0.0.1", 0, APP)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()


@pytest.mark.integration
@schemathesis.openapi.from_dict(json.loads(APP.test_client().get("/openapi.json").text)).parametrize()
@settings(max_examples=effort(20, ci=50), deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_every_operation_conforms_to_the_document(case: Case[Any], url: str) -> None:
    case.call_and_validate(
        base_url=url, excluded_checks=[positive_data_acceptance] if AGREEING.search(case.path) else []
    )
