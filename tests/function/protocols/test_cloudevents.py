"""CloudEvents as the SDK reads and writes them, and the responses that Knative Eventing expects."""

import json
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event, to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from function.protocols.cloudevents import CLASSIFIED
from tests.function.fakes import LABELS, MODEL, Fake, client_of

EVENT = {"id": "1", "source": "/camera", "type": "com.example.photo", "specversion": "1.0"}


def event(data: Any = b"\xff\xd8 photo", datacontenttype: str | None = "image/jpeg", **attributes: str) -> CloudEvent:
    content_type = {"datacontenttype": datacontenttype} if datacontenttype else {}
    return CloudEvent({**EVENT, **content_type, **attributes}, data)


def post(client: FlaskClient, message: HTTPMessage) -> TestResponse:
    return client.post("/", data=message.body, headers=message.headers)


def reply(response: TestResponse) -> Any:
    return from_http_event(HTTPMessage(dict(response.headers), response.data))


@pytest.mark.parametrize("mode", [to_binary_event, to_structured_event], ids=["binary", "structured"])
def test_an_event_with_an_image_gets_an_event_with_its_labels(client: FlaskClient, fake: Fake, mode: Any) -> None:
    response = post(client, mode(event(subject="cat.jpg")))
    assert fake.seen == [b"\xff\xd8 photo"]
    assert response.status_code == 200
    assert ("ce-type" in response.headers) == (mode is to_binary_event)
    classified = reply(response)
    assert (classified.get_type(), classified.get_source()) == (CLASSIFIED, "/elastic-ml/resnet18")
    assert (classified.get_subject(), classified.get_extension("causationid")) == ("cat.jpg", "1")
    assert classified.get_data() == {**LABELS, "model": MODEL}


def test_a_post_from_the_filter_of_a_trigger_is_answered(client: FlaskClient, fake: Fake) -> None:
    headers = {
        "Ce-Id": "f3a1",
        "Ce-Source": "/apis/v1/namespaces/default/pingsources/camera",
        "Ce-Specversion": "1.0",
        "Ce-Type": "com.example.photo",
        "Ce-Time": "2026-11-24T10:00:00.123456789Z",
        "Ce-Knativearrivaltime": "2026-11-24T10:00:00.2Z",
        "Ce-Traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "Content-Type": "image/jpeg",
        "Prefer": "reply",
        "Kn-Namespace": "default",
        "User-Agent": "Go-http-client/1.1",
    }
    response = client.post("/", data=b"\xff\xd8", headers=headers)
    assert (response.status_code, reply(response).get_type()) == (200, CLASSIFIED)


def test_only_the_same_event_gets_the_same_id_again(client: FlaskClient) -> None:
    ids = [reply(post(client, to_binary_event(event(id=id_)))).get_id() for id_ in ("1", "1", "2")]
    other = reply(post(client, to_binary_event(event(source="/phone")))).get_id()
    assert ids[0] == ids[1]
    assert len({*ids, other}) == 3


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\x89PNG", "image/png"),
        (b"BM all ASCII", "image/bmp"),
        (b"\xff\xd8", "application/octet-stream"),
        (b"\xff\xd8", None),
    ],
)
def test_the_image_arrives_byte_for_byte(client: FlaskClient, fake: Fake, data: bytes, kind: str | None) -> None:
    assert post(client, to_binary_event(event(data, kind))).status_code == 200
    assert fake.seen == [data]


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(event({"temperature": 21}, "application/json"), id="JSON"),
        pytest.param(event("hello", "text/plain"), id="text"),
        pytest.param(event(None, None), id="no data"),
        pytest.param(event(type=CLASSIFIED), id="our own reply, delivered by a broker"),
    ],
)
def test_events_that_are_not_about_an_image_get_202_without_a_reply(
    client: FlaskClient, fake: Fake, other: CloudEvent
) -> None:
    response = post(client, to_binary_event(other))
    assert (response.status_code, response.data, response.headers.get("Content-Type"), fake.seen) == (
        202,
        b"",
        None,
        [],
    )


@pytest.mark.parametrize(
    ("headers", "body", "status", "words"),
    [
        pytest.param({}, b"photo", 415, "POST / accepts one CloudEvent at a time", id="not an event"),
        pytest.param(
            {"Content-Type": "application/cloudevents-batch+json"}, b"[]", 415, "one CloudEvent at a time", id="a batch"
        ),
        pytest.param({"ce-id": "1", "ce-type": "a"}, b"", 400, "missing: specversion, source", id="missing attributes"),
        pytest.param({"ce-specversion": "0.3"}, b"", 400, "specversion must be '1.0', got '0.3'", id="old version"),
        pytest.param({"ce-time": "yesterday"}, b"", 400, "not a CloudEvent", id="invalid time"),
        pytest.param({"ce-time": "2026-11-24"}, b"", 400, "time must be as in RFC 3339", id="a date"),
        pytest.param({"Content-Type": "image/jpeg"}, b"", 400, "the image as its data, got None", id="no image"),
        pytest.param({"Content-Type": "image/jpeg"}, b"bad", 400, "not an image: 3 bytes", id="a broken image"),
    ],
)
def test_a_malformed_event_is_refused_without_a_retry(
    client: FlaskClient, headers: dict[str, str], body: bytes, status: int, words: str
) -> None:
    whole = {f"ce-{name}": value for name, value in EVENT.items()} if len(headers) == 1 else {}
    if status == 415:
        whole = {}
    response = client.post("/", data=body, headers={**whole, **headers})
    assert response.status_code == status
    assert words in response.json["error"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "the body must be JSON"),
        (b"[]", "must be a JSON object"),
        (b"{}", "missing: specversion, id, source, type"),
        (json.dumps({**EVENT, "type": None}).encode(), "missing: type"),
        (json.dumps({**EVENT, "time": 7}).encode(), "not a CloudEvent"),
        (json.dumps({**EVENT, "dataref": ["http://a/"]}).encode(), "dataref must be a link, got ['http://a/']"),
        (json.dumps({**EVENT, "id": 7}).encode(), "not a CloudEvent"),
        (json.dumps({**EVENT, "subject": "\ud800"}).encode(), "not a CloudEvent"),
        (json.dumps({**EVENT, "data_base64": "a"}).encode(), "data_base64 must be an image in base64, got 'a'"),
        (json.dumps({**EVENT, "datacontenttype": 7}).encode(), "not a CloudEvent"),
        (json.dumps({**EVENT, "datacontenttype": "image/png", "data": {"a": 1}}).encode(), "got {'a': 1}"),
    ],
)
def test_a_malformed_structured_event_is_refused_without_a_retry(client: FlaskClient, body: bytes, words: str) -> None:
    response = client.post("/", data=body, content_type="application/cloudevents+json; charset=utf-8")
    assert response.status_code == 400
    assert words in response.json["error"]  # type: ignore[index]


@pytest.mark.parametrize(
    "linked",
    [
        pytest.param(event(None, "image/jpeg", dataref="http://a/cat.jpg"), id="dataref"),
        pytest.param(event({"url": "http://a/cat.jpg"}, "application/json"), id="url"),
    ],
)
def test_links_are_disabled_by_default(client: FlaskClient, linked: CloudEvent) -> None:
    response: Any = post(client, to_binary_event(linked))
    assert response.status_code == 403
    assert response.json["error"] == "links are disabled because LINK_HOSTS is empty, got 'http://a/cat.jpg'"


def test_the_overrides_of_a_sink_binding_are_in_every_reply(fake: Fake) -> None:
    client = client_of(fake, event_extensions=(("tenant", "blue"),))
    assert reply(post(client, to_binary_event(event()))).get_extension("tenant") == "blue"


def test_null_counts_as_an_absent_attribute(client: FlaskClient, fake: Fake) -> None:
    nulls = dict.fromkeys(("subject", "time", "dataschema", "dataref", "data"))
    message = json.loads(to_structured_event(event()).body) | nulls
    response = client.post("/", json=message, content_type="application/cloudevents+json")
    assert (response.status_code, fake.seen) == (200, [b"\xff\xd8 photo"])
    assert reply(response).get_subject() is None


def test_an_event_with_its_image_does_not_need_the_link(fake: Fake) -> None:
    response = post(client_of(fake), to_binary_event(event(dataref="http://a/cat.jpg")))
    assert (response.status_code, fake.seen) == (200, [b"\xff\xd8 photo"])


@pytest.mark.parametrize("kind", ["application/json", "application/vnd.a+json; charset=utf-8", None])
@pytest.mark.parametrize("body", [b"[" * 100_000, b" [" + b"{}," * 10_000 + b"{}]"], ids=["deep", "long"])
def test_json_that_would_take_too_much_memory_is_refused(client: FlaskClient, body: bytes, kind: str | None) -> None:
    message = HTTPMessage({f"ce-{name}": value for name, value in EVENT.items()}, body)
    if kind:
        message.headers["content-type"] = kind
    response: Any = post(client_of(Fake(), max_body_bytes=10**6), message)
    assert response.status_code == 400
    assert "a JSON body may have at most 10000 values" in response.json["error"]


def test_deep_json_with_few_enough_values_is_refused_for_its_depth(client: FlaskClient) -> None:
    response: Any = post(
        client_of(Fake(), max_body_bytes=10**6), to_binary_event(event(b"[" * 9000, "application/json"))
    )
    assert response.status_code == 400
    assert "not a CloudEvent: maximum recursion depth exceeded" in response.json["error"]


def test_an_image_may_contain_any_bytes(fake: Fake) -> None:
    data = b"\xff\xd8" + b"[{," * 10_000
    response = post(client_of(fake, max_body_bytes=10**6), to_binary_event(event(data, None)))
    assert (response.status_code, fake.seen) == (200, [data])


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        pytest.param("caf\u00e9.jpg".encode().decode("latin-1"), "caf\u00e9.jpg", id="bare UTF-8"),
        pytest.param("\U0001f600".encode().decode("latin-1"), "\U0001f600", id="a bare smiley"),
        pytest.param("caf\u00e9.jpg", "caf\u00e9.jpg", id="Latin-1"),
        pytest.param("caf%C3%A9%20.jpg", "caf\u00e9 .jpg", id="percent-encoded"),
        pytest.param('"a \\\\ \\"b\\""', 'a \\ "b"', id="in quotes"),
        pytest.param("100%", "100%", id="a percent sign"),
    ],
)
def test_a_subject_comes_back_as_it_was_sent(client: FlaskClient, sent: str, expected: str) -> None:
    headers = {
        **{f"ce-{name}": value for name, value in EVENT.items()},
        "ce-subject": sent,
        "Content-Type": "image/png",
    }
    response = client.post("/", data=b"photo", headers=headers)
    assert (response.status_code, reply(response).get_subject()) == (200, expected)
    assert response.headers["ce-subject"].isascii()


IGNORED = {
    "knativekafkapartition": "0",
    "a" * 300: "1",
    "my-key": "1",
    "data": "1",
    "dataschema": "not a URI",
    "distributedtracing": "\x7f",
}


@pytest.mark.parametrize("name", IGNORED, ids=lambda name: name[:30])
@pytest.mark.parametrize("structured", [False, True], ids=["binary", "structured"])
def test_an_attribute_that_is_not_read_does_not_cost_the_event(
    client: FlaskClient, fake: Fake, name: str, structured: bool
) -> None:
    if structured:
        document = {**EVENT, "datacontenttype": "image/png", "data_base64": "cGhvdG8=", name + "x": [IGNORED[name]]}
        response = client.post("/", json=document, content_type="application/cloudevents+json")
    else:
        attributes = {**EVENT, name + "x": IGNORED[name]}
        headers = {f"ce-{attribute}": value for attribute, value in attributes.items()}
        response = client.post("/", data=b"photo", headers={**headers, "Content-Type": "image/png"})
    assert (response.status_code, fake.seen) == (200, [b"photo"])


@pytest.mark.parametrize(
    "time", ["2026-11-24t10:00:00z", "2026-12-31T23:59:60Z", "2026-11-24T10%3A00:00.123456789+01:00"]
)
def test_every_time_of_rfc_3339_is_accepted(client: FlaskClient, time: str) -> None:
    headers = {**{f"ce-{name}": value for name, value in EVENT.items()}, "ce-time": time, "Content-Type": "image/png"}
    assert client.post("/", data=b"photo", headers=headers).status_code == 200


@pytest.mark.parametrize("encoded", ["cGhv\r\ndG8=", "cGhvdG8", "data:image/png;base64,cGhvdG8="])
def test_the_image_of_a_structured_event_may_be_in_any_base64(client: FlaskClient, fake: Fake, encoded: str) -> None:
    document = {**EVENT, "datacontenttype": "image/png", "data_base64": encoded}
    response = client.post("/", json=document, content_type="application/cloudevents+json")
    assert (response.status_code, fake.seen) == (200, [b"photo"])


def test_extensions_of_a_sink_binding_may_have_long_names(fake: Fake) -> None:
    client = client_of(fake, event_extensions=(("knativekafkapartition", "0"),))
    for mode in (to_binary_event, to_structured_event):
        assert reply(post(client, mode(event()))).get_extension("knativekafkapartition") == "0"
