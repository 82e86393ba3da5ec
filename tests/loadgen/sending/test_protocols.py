"""Protocols: bodies, read back by independent parsers, and the responses that can be read."""

import base64
import email.parser
import email.policy
import json
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event

from loadgen.records import Failure, Record
from loadgen.sending.image_files import ImageFile
from loadgen.sending.protocols import PROTOCOLS, Body, Prediction, read_response

IMAGE = ImageFile("a cat.png", "image/png", b"\x89PNG\r\n--\x00")


def encoded(protocol: str) -> Body:
    return PROTOCOLS[protocol].encode(IMAGE)


@pytest.mark.parametrize("protocol", ["multipart", "async"])
def test_multipart_is_a_form_with_one_file(protocol: str) -> None:
    body = encoded(protocol)
    head = f"Content-Type: {body.headers['Content-Type']}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body.content)
    (part,) = list(message.iter_parts())
    assert (part.get_param("name", header="Content-Disposition"), part.get_filename()) == ("file", "a cat.png")
    assert part.get_content_type() == "image/png"
    assert part.get_content() == IMAGE.content


def test_a_file_name_cannot_add_a_header() -> None:
    body = PROTOCOLS["multipart"].encode(ImageFile('a"\r\nX: y.png', "image/png", b""))
    assert b'filename="a%22%0D%0AX: y.png"' in body.content


def test_async_requests_a_later_response() -> None:
    assert PROTOCOLS["async"].headers == {"Prefer": "respond-async"}
    assert PROTOCOLS["async"].polls


def test_raw_sends_the_file_itself() -> None:
    assert encoded("raw") == Body("a cat.png", IMAGE.content, {"Content-Type": "image/png"})


def test_v1_sends_one_instance_in_base64() -> None:
    body = encoded("v1")
    (instance,) = json.loads(body.content)["instances"]
    assert base64.b64decode(instance["b64"]) == IMAGE.content
    assert body.headers == {"Content-Type": "application/json"}


def test_v2_sends_the_file_after_the_json_with_its_length_in_front() -> None:
    body = encoded("v2")
    length = int(body.headers["Inference-Header-Content-Length"])
    (tensor,) = json.loads(body.content[:length])["inputs"]
    binary = body.content[length:]
    assert (tensor["datatype"], tensor["shape"]) == ("BYTES", [1])
    assert tensor["parameters"] == {"binary_data_size": len(binary)}
    assert (int.from_bytes(binary[:4], "little"), binary[4:]) == (len(IMAGE.content), IMAGE.content)


def test_the_cloudevents_sdk_reads_our_events() -> None:
    body = encoded("cloudevents")
    event = from_http_event(HTTPMessage(headers={**body.headers, "ce-id": "7"}, body=body.content))
    assert (event.get_specversion(), event.get_source(), event.get_id()) == ("1.0", "loadgen", "7")
    assert event.get_datacontenttype() == "image/png"
    assert event.get_data() == IMAGE.content
    assert "ce-id" in body.id_headers


def filled(protocol: str, status: int, content: bytes) -> Record:
    record = Record(0.0, status=status, done_s=1.0)
    read_response(PROTOCOLS[protocol], content, record)
    return record


V2_RESPONSE = {"outputs": [{"name": "scores", "data": [0.9, 0.1]}, {"name": "labels", "data": ["cat", "dog"]}]}


@pytest.mark.parametrize(
    ("protocol", "response", "prediction"),
    [
        pytest.param(
            "raw", {"label": "cat", "confidence": 0.5, "prediction": "dog: 1%"}, Prediction("cat", 0.5), id="ours"
        ),
        pytest.param(
            "raw",
            {"prediction": "golden retriever: 89.2%"},
            Prediction("golden retriever", 0.892),
            id="prediction alone",
        ),
        pytest.param("raw", {"prediction": "cat"}, Prediction("cat"), id="a label alone"),
        pytest.param("raw", {"else": 1}, Prediction(""), id="something else"),
        pytest.param("v1", {"predictions": [{"label": "cat", "confidence": 1}]}, Prediction("cat", 1.0), id="V1"),
        pytest.param("v1", {"predictions": ["cat"]}, Prediction("cat"), id="V1 with a bare label"),
        pytest.param("v1", {"predictions": []}, Prediction(""), id="V1 with nothing"),
        pytest.param("v2", V2_RESPONSE, Prediction("cat", 0.9), id="V2"),
        pytest.param("v2", {"outputs": [{"name": "label", "data": []}, 3]}, Prediction(""), id="V2 with nothing"),
        pytest.param("v2", {"outputs": None}, Prediction(""), id="V2 without outputs"),
    ],
)
def test_the_prediction_is_read_from_a_response(
    protocol: str, response: dict[str, Any], prediction: Prediction
) -> None:
    record = filled(protocol, 200, json.dumps(response).encode())
    assert record.label == prediction.label
    assert record.confidence == pytest.approx(prediction.confidence)
    assert record.good


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[1]", b"null", b"not json"])
def test_a_good_status_with_any_other_content_is_successful_without_a_label(content: bytes) -> None:
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
def test_any_other_status_is_a_failure_that_contains_it(status: int, content: bytes, error: str) -> None:
    record = filled("raw", status, content)
    assert (record.good, record.failure, record.error) == (False, Failure.STATUS, error)
