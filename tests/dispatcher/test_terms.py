"""What a request asks for: deadline and priority, from header fields or from the parameters of a V2 request."""

import json
from collections.abc import Mapping

import pytest
from multidict import CIMultiDict

from dispatcher.terms import Priority, Terms, TermsError, read_terms

V2 = "/v2/models/resnet18/infer"


def terms(body: bytes = b"x", path: str = "/predict", client: bytes = b"10.0.0.1", **fields: str) -> Terms:
    return read_terms(as_headers(fields), path, body, 100.0, client)


def as_headers(fields: Mapping[str, str]) -> CIMultiDict[str]:
    return CIMultiDict({name.replace("_", "-"): value for name, value in fields.items()})


def v2(**parameters: object) -> bytes:
    return json.dumps({"inputs": [], "parameters": parameters}).encode()


def test_without_wishes_there_is_no_deadline_and_the_priority_is_normal() -> None:
    asked = terms()
    assert (asked.deadline_s, asked.priority, asked.kept, asked.size_bytes) == (None, Priority.NORMAL, False, 1)


def test_the_shortest_deadline_counts() -> None:
    assert terms(x_request_deadline_ms="250").deadline_s == 100.25
    assert terms(x_request_deadline_ms="900", x_request_timeout_ms="500").deadline_s == 100.5
    assert terms(v2(timeout=200_000), V2, x_request_timeout_ms="500").deadline_s == pytest.approx(100.2)


@pytest.mark.parametrize(
    ("number", "priority"),
    [(0, Priority.NORMAL), (1, Priority.HIGH), (2, Priority.NORMAL), (3, Priority.LOW), (99, Priority.LOW)],
)
def test_tritons_priority_is_mapped_to_the_classes(number: int, priority: Priority) -> None:
    assert terms(v2(priority=number), V2).priority is priority


def test_the_priority_of_the_header_counts_before_that_of_the_body() -> None:
    assert terms(v2(priority=1), V2, x_request_priority="Low").priority is Priority.LOW


def test_a_timeout_of_0_is_none_as_triton_has_it() -> None:
    assert terms(v2(timeout=0), V2).deadline_s is None


def test_only_the_json_part_of_a_binary_request_is_read() -> None:
    text = v2(priority=1)
    body = text + b'\xff\x00"parameters"'
    assert terms(body, V2, inference_header_content_length=str(len(text))).priority is Priority.HIGH


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (v2(priority=1), "/predict"),
        (b'{"parameters": [1]}', V2),
        (b'["parameters"]', V2),
        (b'{"parameters": ', V2),
        (b"[" * 100_000 + b'"parameters"', V2),
        (b'{"a": "' + b"x" * 2_000_000 + b'", "parameters": {"priority": 1}}', V2),
    ],
    ids=["another path", "a list", "no object", "cut", "deep", "too large"],
)
def test_what_is_no_v2_request_with_parameters_is_left_to_the_pod(body: bytes, path: str) -> None:
    assert terms(body, path).priority is Priority.NORMAL


@pytest.mark.parametrize("name", ["x_request_deadline_ms", "x_request_timeout_ms"])
@pytest.mark.parametrize("value", ["soon", "", "0", "-5", "nan", "inf"])
def test_a_deadline_that_is_no_positive_number_is_refused(name: str, value: str) -> None:
    with pytest.raises(
        TermsError, match=rf"(?i){name.replace('_', '-')} must be a number of milliseconds above 0, got '{value}'"
    ):
        read_terms(as_headers({name: value}), "/predict", b"x", 100.0, b"")


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"timeout": -1}, "parameters.timeout must be a whole number of microseconds, at least 0, got -1"),
        ({"timeout": "5"}, "got '5'"),
        ({"timeout": True}, "got True"),
        ({"priority": -1}, "parameters.priority must be a whole number of at least 0, got -1"),
        ({"priority": 1.5}, "got 1.5"),
    ],
)
def test_parameters_with_bad_values_are_refused(parameters: dict[str, object], words: str) -> None:
    with pytest.raises(TermsError) as caught:
        terms(v2(**parameters), V2)
    assert words in str(caught.value)


def test_an_unknown_priority_is_refused() -> None:
    with pytest.raises(TermsError, match="X-Request-Priority must be high, normal or low, got 'urgent'"):
        terms(x_request_priority="urgent")


def test_a_client_that_comes_back_is_recognised_and_another_is_not() -> None:
    first = terms(b"picture").promise_key
    assert first == terms(b"picture").promise_key
    assert len({first, terms(b"another").promise_key, terms(b"picture", client=b"10.0.0.2").promise_key}) == 3
    assert terms(b"a", idempotency_key="k").promise_key == terms(b"b", idempotency_key="k").promise_key
    assert terms(b"a", x_request_id="1").promise_key != terms(b"a", x_request_id="2").promise_key
