"""Bodies with a content coding: decoded within the limit, or refused with the codings that are accepted."""

import gzip
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
from flask.testing import FlaskClient

from function.codings import decoded
from function.protocols import RefusedError
from tests.function.fakes import LABELS, Fake


def raw_deflate(body: bytes) -> bytes:
    return zlib.compress(body)[2:-4]


def zeros(many: int) -> bytes:
    return gzip.compress(bytes(many))


@pytest.mark.parametrize(
    ("coding", "encode"),
    [
        ("gzip", gzip.compress),
        ("x-gzip", gzip.compress),
        ("GZIP", gzip.compress),
        ("deflate", zlib.compress),
        pytest.param("deflate", raw_deflate, id="deflate without zlib's header"),
        pytest.param("deflate, gzip", lambda body: gzip.compress(zlib.compress(body)), id="two codings"),
        pytest.param("gzip", lambda body: gzip.compress(body[:2]) + gzip.compress(body[2:]), id="two members"),
        pytest.param("gzip", lambda body: gzip.compress(body) + bytes(20), id="padded with zeros"),
        ("identity", bytes),
        ("", bytes),
    ],
)
def test_a_coded_body_is_decoded(
    client: FlaskClient, fake: Fake, coding: str, encode: Callable[[bytes], bytes]
) -> None:
    response = client.post("/predict", data=encode(b"photo"), headers={"Content-Encoding": coding})
    assert (response.status_code, fake.seen) == (200, [b"photo"])


@pytest.mark.parametrize("path", ["/predict", "/v1/models/resnet18:predict", "/v2/models/resnet18/infer", "/"])
def test_every_protocol_decodes(client: FlaskClient, fake: Fake, path: str) -> None:
    documents = {
        "/predict": b"photo",
        "/v1/models/resnet18:predict": b'{"instances": ["cGhvdG8="]}',
        "/v2/models/resnet18/infer": b'{"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": ["cGhvdG8="]}]}',
        "/": b"photo",
    }
    headers = {"Content-Encoding": "gzip"}
    if path == "/":
        headers |= {
            "ce-specversion": "1.0",
            "ce-id": "1",
            "ce-source": "/a",
            "ce-type": "a",
            "Content-Type": "image/png",
        }
    response = client.post(path, data=gzip.compress(documents[path]), headers=headers)
    assert (response.status_code, fake.seen) == (200, [b"photo"])
    assert path != "/predict" or response.json["label"] == LABELS["label"]  # type: ignore[index]


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, br", "gzip, gzip, gzip", "compress", "gzip;q=1"])
def test_another_coding_is_refused_with_those_that_are_accepted(client: FlaskClient, coding: str) -> None:
    response = client.post("/predict", data=b"photo", headers={"Content-Encoding": coding})
    assert (response.status_code, response.headers["Accept-Encoding"]) == (415, "gzip, deflate")
    assert coding in response.json["error"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        pytest.param("gzip", b"photo", id="no gzip"),
        pytest.param("gzip", b"", id="nothing"),
        pytest.param("gzip", gzip.compress(b"photo")[:-9], id="cut off"),
        pytest.param("gzip", gzip.compress(b"photo")[:-8] + bytes(8), id="a wrong checksum"),
        pytest.param("gzip", gzip.compress(b"photo") + b"more", id="something behind it"),
        pytest.param("deflate", b"photo", id="no deflate"),
        pytest.param("deflate", zlib.compress(b"photo")[:-3], id="deflate cut off"),
        pytest.param("deflate", zlib.compress(b"photo") + b"more", id="something behind deflate"),
    ],
)
def test_a_body_that_does_not_have_its_coding_is_refused(client: FlaskClient, coding: str, body: bytes) -> None:
    response = client.post("/predict", data=body, headers={"Content-Encoding": coding})
    assert response.status_code == 400
    assert f"the body must be {coding}, got" in response.json["error"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        pytest.param("gzip", zeros(1001), id="one byte more"),
        pytest.param("gzip", zeros(900_000), id="a bomb"),
        pytest.param("gzip", zeros(600) + zeros(600), id="two members"),
        pytest.param("gzip, gzip", gzip.compress(zeros(900_000)), id="a bomb in a bomb"),
        pytest.param("deflate", zlib.compress(bytes(900_000)), id="deflate"),
    ],
)
def test_a_decoded_body_has_the_limit_of_a_body(client: FlaskClient, coding: str, body: bytes) -> None:
    response = client.post("/predict", data=body, headers={"Content-Encoding": coding})
    assert (response.status_code, response.json) == (
        413,
        {"error": "a request body may have at most 1000 bytes once decoded, got more"},
    )


def test_a_bomb_takes_no_more_memory_than_the_limit() -> None:
    bomb = zeros(30_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(RefusedError):
            decoded(bomb, ["gzip"], 1000)
        assert tracemalloc.get_traced_memory()[1] < 200_000
    finally:
        tracemalloc.stop()
