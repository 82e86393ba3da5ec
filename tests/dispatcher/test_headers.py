"""Header fields go on raw, repeated and in order; what belongs to one connection does not."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.headers import HOP_BY_HOP, Added, Origin, end_to_end, forwarded, head, server_timing_s, to_pod

TOKEN = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
OWN = {b"host", b"content-length", b"x-request-id", b"traceparent", b"forwarded"}

some_names = st.lists(st.sampled_from(list(TOKEN)), min_size=1, max_size=12).map(bytes)
known_names = st.sampled_from(
    [b"Connection", b"TE", b"Cookie", b"cookie", b"X-Forwarded-For", b"X-Request-Id", b"X-A", b"x-a", b"Host"]
)
values = st.binary(max_size=30).map(lambda value: bytes(byte for byte in value if byte not in b"\r\n\0").strip())
connection_values = st.lists(st.sampled_from([b"close", b"X-A", b" x-b ", b"keep-alive", b""]), max_size=3).map(
    b",".join
)
raw_headers = st.lists(
    st.tuples(st.one_of(some_names, known_names), values) | st.tuples(st.just(b"Connection"), connection_values),
    max_size=20,
).map(tuple)

ORIGIN = Origin("10.1.2.3", b"cats.example")
ADDED = Added(b"pod:8000", b"id-1", b"00-1-2-00")


def named_by_connection(headers: tuple[tuple[bytes, bytes], ...]) -> set[bytes]:
    return {
        option.strip().lower()
        for name, value in headers
        if name.lower() == b"connection"
        for option in value.split(b",")
    }


@given(raw_headers)
def test_every_end_to_end_field_goes_on_byte_for_byte_and_in_order(headers: tuple[tuple[bytes, bytes], ...]) -> None:
    gone = HOP_BY_HOP | named_by_connection(headers)
    assert end_to_end(headers) == [field for field in headers if field[0].lower() not in gone]


def test_the_fields_of_one_connection_stay_here() -> None:
    """Written out, unlike the property above, which takes the names from the code."""
    names = [
        b"Connection", b"Keep-Alive", b"Proxy-Connection", b"Proxy-Authenticate", b"Proxy-Authorization", b"TE",
        b"Trailer", b"Transfer-Encoding", b"Upgrade",
    ]  # fmt: skip
    assert end_to_end(tuple((name, b"x") for name in names)) == []
    named = ((b"Connection", b"close, X-A ,x-b"), (b"x-a", b"1"), (b"X-B", b"2"), (b"X-C", b"3"))
    assert end_to_end(named) == [(b"X-C", b"3")]


@given(raw_headers, st.integers(0, 100))
def test_to_a_pod_go_the_fields_of_the_client_and_the_documented_ones(
    headers: tuple[tuple[bytes, bytes], ...], body_bytes: int
) -> None:
    sent = to_pod(headers, body_bytes, ORIGIN, ADDED, frozenset({b"authorization"}))
    gone = HOP_BY_HOP | named_by_connection(headers) | {b"host", b"expect", b"authorization"}
    kept = [field for field in headers if field[0].lower() not in gone]
    assert list(sent[1 : 1 + len(kept)]) == kept
    added = Counter(name.lower() for name, _ in [sent[0], *sent[1 + len(kept) :]])
    assert added[b"host"] == added[b"forwarded"] == added[b"x-forwarded-for"] == 1
    assert set(added) <= OWN | {b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"}
    names = [name.lower() for name, _ in sent]
    assert names.count(b"host") == 1
    assert {b"x-request-id", b"traceparent", b"x-forwarded-proto"} <= set(names)
    assert not gone - {b"host"} - set(added) & set(names)


@given(raw_headers)
def test_the_head_on_the_wire_contains_each_field_as_it_is(headers: tuple[tuple[bytes, bytes], ...]) -> None:
    lines = head(b"POST / HTTP/1.1", headers).split(b"\r\n")
    assert lines == [b"POST / HTTP/1.1", *[name + b": " + value for name, value in headers], b"", b""]


@pytest.mark.parametrize(
    ("origin", "element"),
    [
        (Origin("10.0.0.1", b"a:8001"), b'for=10.0.0.1;host="a:8001";proto=http'),
        (Origin("::1", b"a", b"https"), b'for="[::1]";host="a";proto=https'),
        (Origin("10.0.0.1", b""), b"for=10.0.0.1;proto=http"),
        (Origin("", b'a"b\\'), b'for=unknown;host="a\\"b\\\\";proto=http'),
    ],
)
def test_forwarded_is_written_as_rfc_7239_has_it(origin: Origin, element: bytes) -> None:
    assert forwarded(origin) == element


def test_a_length_is_added_to_a_body_that_came_in_chunks_and_to_no_other() -> None:
    chunked = to_pod(((b"Transfer-Encoding", b"chunked"),), 5, ORIGIN, ADDED, frozenset())
    assert (b"Content-Length", b"5") in chunked
    assert all(name != b"Transfer-Encoding" for name, _ in chunked)
    assert all(name != b"Content-Length" for name, _ in to_pod((), 0, ORIGIN, ADDED, frozenset()))
    given_length = to_pod(((b"content-length", b"5"),), 5, ORIGIN, ADDED, frozenset())
    assert [value for name, value in given_length if name.lower() == b"content-length"] == [b"5"]


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        ((), None),
        ((b"cache;desc=hit",), None),
        ((b"decode;dur=10, infer;dur=90.5",), 0.1005),
        ((b"a;dur=1", b'b;desc="x";dur="2"'), 0.003),
        ((b"pre;dur=2.1, infer;dur=11.8, post;dur=0.2, total;dur=14.5",), 0.0145),
        ((b"a;dur=-1",), None),
        ((b"a;dur=" + b"9" * 400,), 999999.999),
    ],
)
def test_the_time_in_the_pod_is_the_sum_of_its_durations(values: tuple[bytes, ...], seconds: float | None) -> None:
    measured = server_timing_s(tuple((b"Server-Timing", value) for value in values))
    assert measured == (None if seconds is None else pytest.approx(seconds))
