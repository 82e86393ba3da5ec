"""Responses: read where that delays no send, bounded in memory, and never the end of a run."""

import asyncio
import gzip
import json
import math
import zlib

import pytest

from loadgen.records import Failure, Record, printable
from loadgen.sending import answers
from loadgen.sending.answers import READ_AT_ONCE_BYTES, UNREAD, Answer, AnswerReader
from loadgen.sending.codings import CodingError, decoded
from loadgen.sending.protocols import PROTOCOLS, Body, read_response

BODY = Body("a.jpg", b"")


def big(label: str) -> bytes:
    return json.dumps({"label": label, "confidence": 0.5, "mask": "x" * READ_AT_ONCE_BYTES}).encode()


def reader(most_kept_bytes: int | None = 10**9, protocol: str = "raw") -> AnswerReader:
    def read(_: Body, content: bytes, record: Record) -> None:
        read_response(PROTOCOLS[protocol], content, record)

    return AnswerReader(read, lambda: 0.0, most_kept_bytes)


def received(record: Record, content: bytes, into: AnswerReader, coding: str = "") -> Record:
    record.done_s = 1.0
    into.handle(BODY, Answer(None, coding, content), record)
    return record


def read(content: bytes, status: int = 200, protocol: str = "raw", coding: str = "") -> Record:
    return received(Record(0.0, status=status), content, reader(protocol=protocol), coding)


def kept(into: AnswerReader, stopped: bool = False) -> list[Record]:
    async def rest() -> list[Record]:
        stop = asyncio.Event()
        if stopped:
            stop.set()
        return await into.read_kept(stop)

    return asyncio.run(rest())


@pytest.mark.parametrize(
    ("content", "label"),
    [
        pytest.param(b'{"label": "cat", "confidence": %s}' % (b"1" + b"0" * 400), "cat", id="an integer beyond floats"),
        pytest.param(b'{"label": "cat", "confidence": NaN}', "cat", id="NaN"),
        pytest.param(b'{"label": "cat", "confidence": -1e999}', "cat", id="infinity"),
        pytest.param(b'{"prediction": "cat: nan%"}', "cat", id="NaN as text"),
        pytest.param(b'{"prediction": "cat: 1e999%"}', "cat", id="infinity as text"),
    ],
)
def test_a_confidence_that_is_no_finite_number_is_none(content: bytes, label: str) -> None:
    record = read(content)
    assert (record.label, record.good) == (label, True)
    assert math.isnan(record.confidence)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"[" * 100_000, id="nested too deeply"),
        pytest.param(b'{"label": "cat", "confidence": %s}' % (b"9" * 5000), id="an integer of 5000 digits"),
        pytest.param(b"\xff\xfe\x00", id="no text"),
        pytest.param(b"null", id="no object"),
        pytest.param(b"", id="nothing"),
        pytest.param(b'{"label": {"a": []}, "confidence": [], "prediction": {"b": null}}', id="other types"),
    ],
)
@pytest.mark.parametrize("status", [200, 500])
def test_no_answer_however_strange_ends_a_run(content: bytes, status: int) -> None:
    for protocol in PROTOCOLS:
        assert read(content, status, protocol).failure is (Failure.NONE if status == 200 else Failure.STATUS)


def test_an_exception_while_reading_fails_one_request() -> None:
    def broken(body: Body, content: bytes, record: Record) -> None:
        raise LookupError("no\nlabel")

    record = Record(0.0, status=200)
    AnswerReader(broken, lambda: 0.0, None).handle(BODY, Answer(None, "", b"{}"), record)
    assert (record.failure, record.error) == (Failure.PROTOCOL, "status 200, unreadable: LookupError: no label")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("bad \ud83d", "bad \\ud83d", id="half an emoji"),
        pytest.param("\x1b[2Jcat", "\\x1b[2Jcat", id="a control code"),
        pytest.param("two\nlines\u2028three", "two lines three", id="line ends"),
        pytest.param("x" * 201, "x" * 197 + "...", id="too long"),
        pytest.param("größer 😀", "größer 😀", id="printable text stays"),
        pytest.param("a\udcff.jpg", "a\\udcff.jpg", id="a file name that is not UTF-8"),
    ],
)
def test_foreign_text_becomes_one_line_that_every_output_holds(text: str, shown: str) -> None:
    assert printable(text) == shown
    shown.encode()


def test_the_reason_of_a_failure_and_a_label_are_printable() -> None:
    assert read(b'{"error": "bad \\ud83d"}', 500).error == "status 500: bad \\ud83d"
    assert read(b'{"label": "\\u001b[2J\\nx\\udc00", "confidence": 1}').label == "\\x1b[2J x\\udc00"


def test_a_large_answer_is_read_after_the_run_and_its_status_at_once() -> None:
    into = reader()
    good, bad = received(Record(0.0, status=200), big("cat"), into), received(Record(1.0, status=503), big("dog"), into)
    assert (good.label, good.good) == ("", True)
    assert (bad.failure, bad.error) == (Failure.STATUS, "status 503")
    assert kept(into) == [good, bad]
    assert (good.label, good.confidence) == ("cat", 0.5)
    assert kept(into) == []


def test_what_exceeds_the_memory_for_large_answers_stays_unread() -> None:
    into = reader(most_kept_bytes=len(big("cat")))
    first, second = (received(Record(0.0, status=200), big("cat"), into) for _ in range(2))
    kept(into)
    assert (first.label, second.label, second.good) == ("cat", UNREAD, True)


def test_after_an_interruption_large_answers_are_read_only_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "READ_INTERRUPTED_S", 0.0)
    into = reader()
    record = received(Record(0.0, status=200), big("cat"), into)
    kept(into, stopped=True)
    assert record.label == UNREAD


def test_a_users_own_hook_gets_a_large_answer_as_it_arrives() -> None:
    assert received(Record(0.0, status=200), big("cat"), reader(most_kept_bytes=None)).label == "cat"


RAW_DEFLATE = zlib.compressobj(wbits=-15)


@pytest.mark.parametrize(
    ("codings", "content"),
    [
        pytest.param("gzip", gzip.compress(b"{}"), id="gzip"),
        pytest.param("X-GZip", gzip.compress(b"{}"), id="its old name"),
        pytest.param("deflate", zlib.compress(b"{}"), id="deflate"),
        pytest.param("deflate", RAW_DEFLATE.compress(b"{}") + RAW_DEFLATE.flush(), id="deflate without a header"),
        pytest.param("deflate, gzip", gzip.compress(zlib.compress(b"{}")), id="two codings"),
        pytest.param("br", b"{}", id="a coding that is not read"),
        pytest.param("identity", b"{}", id="none"),
    ],
)
def test_content_codings_are_undone(codings: str, content: bytes) -> None:
    assert decoded(content, codings) == b"{}"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(b"{}", "incorrect header check", id="plain text"),
        pytest.param(gzip.compress(b"x" * 100)[:-9], "it is cut off", id="cut off"),
        pytest.param(gzip.compress(bytes(65 * 2**20), 1), "exceeds 67108864 bytes", id="a bomb"),
    ],
)
def test_a_body_that_is_not_coded_as_it_says_has_a_status_and_a_reason(content: bytes, words: str) -> None:
    with pytest.raises(CodingError, match=words):
        decoded(content, "gzip")
    record = received(Record(0.0, status=200), content, reader(most_kept_bytes=None), "gzip")
    assert (record.status, record.failure) == (200, Failure.PROTOCOL)
    assert record.error.startswith("status 200, but the body is not gzip as its Content-Encoding says: ")


def test_no_coding_is_undone_where_there_is_no_content() -> None:
    assert decoded(b"", "gzip") == b""
