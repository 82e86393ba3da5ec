"""Metadata without a pod: what may be said, and which earlier answers may be given to another client."""

import pytest
from multidict import CIMultiDict

from dispatcher.metadata import LARGEST_BYTES, MOST_ANSWERS, KeptAnswer, KeptAnswers, may_be_kept, ready_body

TEXT = (b"Content-Type", b"text/plain")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/health/liveness", {"status": "alive"}),
        ("/v2/health/live", {"live": True}),
        ("/v2/health/ready", {"ready": True}),
        ("/v1/models/cats", {"name": "cats", "ready": True}),
        ("/v2/models/cats/ready", {"name": "cats", "ready": True}),
        ("/v2/models/cats/versions/3/ready", {"name": "cats", "ready": True}),
        ("/v1/models/cats:predict", None),
        ("/v2/models/cats", None),
        ("/v2/health/ready/more", None),
        ("/", None),
    ],
)
def test_health_paths_are_ready_and_others_unknown(path: str, body: dict[str, object] | None) -> None:
    assert ready_body(path) == body


def test_a_plain_answer_may_be_given_to_others() -> None:
    assert may_be_kept("GET", {}, 200, (TEXT,), 10)


@pytest.mark.parametrize(
    ("method", "asked", "status", "answer", "size_bytes"),
    [
        pytest.param("OPTIONS", {}, 200, (TEXT,), 10, id="options"),
        pytest.param("GET", {}, 404, (TEXT,), 10, id="status"),
        pytest.param("GET", {}, 200, (TEXT,), LARGEST_BYTES + 1, id="large"),
        pytest.param("GET", {"authorization": "x"}, 200, (TEXT,), 10, id="authorised"),
        pytest.param("GET", {"cookie": "x"}, 200, (TEXT,), 10, id="with a cookie"),
        pytest.param("GET", {}, 200, ((b"set-cookie", b"a=1"),), 10, id="sets a cookie"),
        pytest.param("GET", {}, 200, ((b"Cache-Control", b"max-age=1, Private"),), 10, id="private"),
        pytest.param("GET", {}, 200, ((b"Cache-Control", b"no-store"),), 10, id="no-store"),
        pytest.param("GET", {}, 200, ((b"Vary", b"Accept"),), 10, id="varies"),
    ],
)
def test_what_may_be_personal_or_is_large_is_not_kept(
    method: str, asked: dict[str, str], status: int, answer: tuple[tuple[bytes, bytes], ...], size_bytes: int
) -> None:
    assert not may_be_kept(method, CIMultiDict(asked), status, answer, size_bytes)


def test_answers_are_kept_by_method_and_target_and_the_least_used_one_is_forgotten() -> None:
    kept = KeptAnswers()
    kept.keep("GET", "/first", KeptAnswer((), b"1"))
    for number in range(MOST_ANSWERS - 1):
        kept.keep("GET", f"/{number}", KeptAnswer((), b"2"))
    assert kept.get("GET", "/first") == KeptAnswer((), b"1")
    kept.keep("GET", "/last", KeptAnswer((), b"3"))
    assert kept.get("GET", "/first") is not None
    assert kept.get("GET", "/0") is None
    assert kept.get("HEAD", "/first") is None
