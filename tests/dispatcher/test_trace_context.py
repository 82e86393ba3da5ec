"""A valid trace context goes on; a malformed one begins a new trace, as the recommendation says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.headers import Added, Origin, RawHeaders, first, to_pod
from dispatcher.incoming import new_traceparent
from dispatcher.trace_context import TraceContext, parse_traceparent

TRACE, SPAN = 0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7
GIVEN = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
OURS = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
STATE = (b"tracestate", b"congo=t61rcWkgMzE")

# Source: https://github.com/w3c/trace-context, test/test.py, in the order of the recommendation.
MALFORMED = {
    "empty": b"",
    "no trace": b"00",
    "trace id of zeros": b"00-00000000000000000000000000000000-00f067aa0ba902b7-01",
    "span id of zeros": b"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
    "upper case": GIVEN.upper(),
    "short trace id": b"00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
    "long span id": b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7a-01",
    "no flags": b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
    "flags that are no hex": b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-.0",
    "forbidden version": b"ff" + GIVEN[2:],
    "version 00 with more": GIVEN + b"-what-the-future-will-be",
    "later version with more, but no dash": b"01" + GIVEN[2:] + b".what",
    "underscores": GIVEN.replace(b"-", b"_"),
    "digits of another script": "00-4bf92f3577b34da6a3ce929d0e0e473٣-00f067aa0ba902b7-01".encode(),
}


def sent(headers: RawHeaders, takes_part: bool = False) -> RawHeaders:
    added = Added(b"pod", b"id-1", OURS, takes_part)
    return to_pod(headers, 0, Origin("10.1.2.3", b"cats.example"), added, frozenset())


def values(headers: RawHeaders, name: bytes) -> list[bytes]:
    return [value for key, value in headers if key.lower() == name]


@pytest.mark.parametrize("value", MALFORMED.values(), ids=list(MALFORMED))
@pytest.mark.parametrize("takes_part", [False, True], ids=["passing on", "taking part"])
def test_a_malformed_traceparent_begins_a_new_trace_without_the_old_state(value: bytes, takes_part: bool) -> None:
    assert parse_traceparent([value.decode("latin-1")]) is None
    went = sent(((b"Traceparent", value), STATE, (b"X-A", b"1")), takes_part)
    assert (values(went, b"traceparent"), values(went, b"tracestate"), values(went, b"x-a")) == ([OURS], [], [b"1"])


def test_two_traceparents_are_malformed_and_a_state_without_one_goes() -> None:
    assert values(sent(((b"traceparent", GIVEN), (b"Traceparent", GIVEN))), b"traceparent") == [OURS]
    assert values(sent((STATE,)), b"tracestate") == []


@pytest.mark.parametrize("value", [GIVEN, b" " + GIVEN + b"\t", b"cc" + GIVEN[2:], b"cc" + GIVEN[2:] + b"-future"])
def test_a_valid_trace_goes_on_as_it_came(value: bytes) -> None:
    assert parse_traceparent([value.decode()]) == TraceContext(TRACE, SPAN, True)
    went = sent(((b"Traceparent", value), STATE, STATE))
    assert (values(went, b"traceparent"), values(went, b"tracestate")) == ([value], [STATE[1], STATE[1]])


def test_a_dispatcher_that_takes_part_puts_its_span_in_place_and_keeps_the_state() -> None:
    went = sent(((b"traceparent", GIVEN), STATE), takes_part=True)
    assert (values(went, b"traceparent"), values(went, b"tracestate")) == ([OURS], [STATE[1]])


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.booleans())
def test_what_is_written_is_read_again(trace_id: int, span_id: int, sampled: bool) -> None:
    context = TraceContext(trace_id, span_id, sampled)
    assert parse_traceparent([context.traceparent()]) == context


@pytest.mark.parametrize(("flags", "sampled"), [("00", False), ("01", True), ("02", False), ("03", True), ("ff", True)])
def test_the_last_bit_of_the_flags_says_whether_to_record(flags: str, sampled: bool) -> None:
    found = parse_traceparent([f"{GIVEN.decode()[:-2]}{flags}"])
    assert found is not None
    assert found.sampled is sampled


def test_a_new_context_is_valid_and_asks_for_no_recording() -> None:
    made = {new_traceparent().decode() for _ in range(100)}
    contexts = [parse_traceparent([text]) for text in made]
    assert len(made) == 100
    assert all(context is not None and not context.sampled for context in contexts)


def test_a_request_without_a_trace_gets_one() -> None:
    assert first(sent(()), b"traceparent") == OURS
