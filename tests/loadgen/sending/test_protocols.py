"""Protocols: the bytes that are sent, read back by others' parsers, and the answers that are understood."""

import base64
import email.parser
import email.policy
import json
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event

from loadgen.records import Failure, Record
from loadgen.sending.image_files import ImageFile
from loadgen.sending.protocols import PROTOCOLS, Body, Prediction, read_answer

PHOTOGRAPH = ImageFile("a cat.png", "image/png", b"\x89PNG\r\n--\x00")


def encoded(protocol: str) -> Body:
    return PROTOCOLS[protocol].encode(PHOTOGRAPH)


@pytest.mark.parametrize("protocol", ["multipart", "async"])
def test_multipart_is_a_form_with_one_file(protocol: str) -> None:
    body = encoded(protocol)
    head = f"Content-Type: {body.headers['Content-Type']}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body.content)
    (part,) = list(message.iter_parts())
    assert (part.get_param("name", header="Content-Disposition"), part.get_filename()) == ("file", "a cat.png")
    assert part.get_content_type() == "image/png"
    assert part.get_content() == PHOTOGRAPH.content


def test_a_name_cannot_break_out_of_its_header() -> None:
    body = PROTOCOLS["multipart"].encode(ImageFile('a"\r\nX: y.png', "image/png", b""))
    assert b'filename="a%22%0D%0AX: y.png"' in body.content


def test_async_asks_for_an_answer_later() -> None:
    assert PROTOCOLS["async"].headers == {"Prefer": "respond-async"}
    assert PROTOCOLS["async"].polls


def test_raw_is_the_file() -> None:
    assert encoded("raw") == Body("a cat.png", PHOTOGRAPH.content, {"Content-Type": "image/png"})


def test_v1_has_one_instance_in_base64() -> None:
    body = encoded("v1")
    (instance,) = json.loads(body.content)["instances"]
    assert base64.b64decode(instance["b64"]) == PHOTOGRAPH.content
    assert body.headers == {"Content-Type": "application/json"}


def test_v2_has_the_file_behind_its_json_with_its_length_before_it() -> None:
    body = encoded("v2")
    length = int(body.headers["Inference-Header-Content-Length"])
    (tensor,) = json.loads(body.content[:length])["inputs"]
    binary = body.content[length:]
    assert (tensor["datatype"], tensor["shape"]) == ("BYTES", [1])
    assert tensor["parameters"] == {"binary_data_size": len(binary)}
    assert (int.from_bytes(binary[:4], "little"), binary[4:]) == (len(PHOTOGRAPH.content), PHOTOGRAPH.content)


def test_cloudevents_are_what_the_sdk_reads() -> None:
    body = encoded("cloudevents")
    event = from_http_event(HTTPMessage(headers={**body.headers, "ce-id": "7"}, body=body.content))
    assert (event.get_specversion(), event.get_source(), event.get_id()) == ("1.0", "loadgen", "7")
    assert event.get_datacontenttype() == "image/png"
    assert event.get_data() == PHOTOGRAPH.content
    assert "ce-id" in body.id_headers


def filled(protocol: str, status: int, content: bytes) -> Record:
    record = Record(0.0, status=status, done_s=1.0)
    read_answer(PROTOCOLS[protocol], content, record)
    return record


V2_ANSWER = {"outputs": [{"name": "scores", "data": [0.9, 0.1]}, {"name": "labels", "data": ["cat", "dog"]}]}


@pytest.mark.parametrize(
    ("protocol", "answer", "prediction"),
    [
        pytest.param(
            "raw", {"label": "cat", "confidence": 0.5, "prediction": "dog: 1%"}, Prediction("cat", 0.5), id="ours"
        ),
        pytest.param(
            "raw", {"prediction": "golden retriever: 89.2%"}, Prediction("golden retriever", 0.892), id="seed"
        ),
        pytest.param("raw", {"prediction": "cat"}, Prediction("cat"), id="a label alone"),
        pytest.param("raw", {"else": 1}, Prediction(""), id="something else"),
        pytest.param("v1", {"predictions": [{"label": "cat", "confidence": 1}]}, Prediction("cat", 1.0), id="V1"),
        pytest.param("v1", {"predictions": ["cat"]}, Prediction("cat"), id="V1 with a bare label"),
        pytest.param("v1", {"predictions": []}, Prediction(""), id="V1 with nothing"),
        pytest.param("v2", V2_ANSWER, Prediction("cat", 0.9), id="V2"),
        pytest.param("v2", {"outputs": [{"name": "label", "data": []}, 3]}, Prediction(""), id="V2 with nothing"),
        pytest.param("v2", {"outputs": None}, Prediction(""), id="V2 without outputs"),
    ],
)
def test_an_answer_says_what_is_on_the_photograph(
    protocol: str, answer: dict[str, Any], prediction: Prediction
) -> None:
    record = filled(protocol, 200, json.dumps(answer).encode())
    assert record.label == prediction.label
    assert record.confidence == pytest.approx(prediction.confidence)
    assert record.good


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[1]", b"null", b"not json"])
def test_a_good_status_with_anything_else_is_good_and_has_no_label(content: bytes) -> None:
    record = filled("multipart", 204, content)
    assert (record.good, record.label) == (True, "")


@pytest.mark.parametrize(
    ("status", "content", "error"),
    [
        pytest.param(503, b'{"error": "queue\\nfull"}', "status 503: queue full", id="with a reason, in one line"),
        pytest.param(400, b"<html>", "status 400", id="without"),
        pytest.param(302, b"", "status 302", id="a redirect is not followed"),
        pytest.param(199, b"", "status 199", id="below 200"),
    ],
)
def test_another_status_is_a_failure_that_names_it(status: int, content: bytes, error: str) -> None:
    record = filled("raw", status, content)
    assert (record.good, record.failure, record.error) == (False, Failure.STATUS, error)
