"""What a journal keeps of requests and answers comes back byte for byte."""

import asyncio
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.buffer import Reason
from dispatcher.exchange import BodyRest, BrokenError
from dispatcher.headers import RawHeaders
from dispatcher.journal.base import Job
from dispatcher.packing import kept_bytes, pack_answer, pack_request, read_whole, unpack_answer, unpack_request
from dispatcher.relay import BackendAnswer, ClientRequest

FIELDS = st.lists(st.tuples(st.binary(min_size=1), st.binary()), max_size=8).map(tuple)


@given(FIELDS, st.binary(), st.text(st.characters(exclude_categories=())))
def test_a_request_comes_back_unchanged(headers: RawHeaders, body: bytes, target: str) -> None:
    request = ClientRequest("POST", target, headers, body)
    assert unpack_request(Job("id", pack_request(request), body, 0)) == request


@given(st.lists(st.tuples(st.sampled_from([b"X-A", b"set-cookie"]), st.binary()), max_size=8))
def test_an_answer_comes_back_with_the_id_of_its_request(fields: list[tuple[bytes, bytes]]) -> None:
    request = ClientRequest("POST", "/", ((b"x-request-ID", b"mine"),), b"")
    sent = (*fields, (b"X-Request-Id", b"another"), (b"Attempts", b"9"), (b"Keep-Alive", b"5"))
    result = pack_answer(BackendAnswer(207, sent, b"\xff", attempts=2, phrase="Odd"), request)
    assert (result.status, result.body) == (207, b"\xff")
    assert unpack_answer(result) == ("Odd", (*fields, (b"attempts", b"2"), (b"X-Request-Id", b"mine")))


@pytest.mark.parametrize(
    ("answer", "size_bytes"),
    [
        pytest.param(BackendAnswer(200, ((b"ab", b"c"),), b"12345"), 8, id="an answer"),
        pytest.param(BackendAnswer(400, (), b"12345"), 5, id="the pod's refusal of an image"),
        pytest.param(BackendAnswer(500, (), b"12345"), None, id="a failure of the pod"),
        pytest.param(BackendAnswer(0, reason=Reason.FULL), None, id="a refusal of the dispatcher"),
        pytest.param(BackendAnswer(503, (), b"", Reason.EXHAUSTED), None, id="the last failure"),
    ],
)
def test_only_what_would_be_the_same_again_is_remembered(answer: BackendAnswer, size_bytes: int | None) -> None:
    assert kept_bytes(answer) == size_bytes


class Pieces:
    """The rest of a body, in pieces; an exception breaks it off."""

    def __init__(self, *pieces: bytes | Exception) -> None:
        self._pieces, self.closed = list(pieces), False

    async def chunk(self) -> bytes:
        piece = self._pieces.pop(0)
        if isinstance(piece, Exception):
            raise piece
        return piece

    def close(self) -> None:
        self.closed = True


def test_a_long_answer_is_read_whole() -> None:
    rest = Pieces(b"b", b"c", b"")
    whole = asyncio.run(read_whole(BackendAnswer(200, (), b"a", rest=cast(BodyRest, rest))))
    assert whole == BackendAnswer(200, (), b"abc")
    assert rest.closed


def test_an_answer_that_is_longer_than_what_may_be_kept_has_failed_and_is_read_no_further() -> None:
    rest = Pieces(*[bytes(1 << 20)] * 64, b"one more", b"not read")
    whole = asyncio.run(read_whole(BackendAnswer(200, (), b"", attempts=1, rest=cast(BodyRest, rest))))
    cause = "an answer that is kept must be at most 67108864 bytes, got more"
    assert whole == BackendAnswer(0, reason=Reason.EXHAUSTED, cause=cause, attempts=1)
    assert rest.closed
    assert asyncio.run(rest.chunk()) == b"not read"


def test_a_long_answer_that_breaks_off_has_failed() -> None:
    rest = Pieces(b"b", BrokenError("the pod is gone"))
    whole = asyncio.run(read_whole(BackendAnswer(200, (), b"a", attempts=1, rest=cast(BodyRest, rest))))
    assert whole == BackendAnswer(0, reason=Reason.EXHAUSTED, cause="the pod is gone", attempts=1)
    assert rest.closed
