"""What the refusal of an image tells about bytes of another format, and about images that a client has changed."""

import io

import numpy as np
import pytest
from PIL import Image

from function.images import ImageError, preprocess


def encoded(kind: str) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def refusal(body: bytes) -> str:
    with pytest.raises(ImageError) as caught:
        preprocess(body, 1_000_000)
    return str(caught.value)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0", "HEIF"),
        (b"\0\0\0\x1cftypavif\0\0\0\0", "AVIF"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0", "a video"),
        (encoded("TIFF"), "TIFF"),
        (b"\xff\x0a\0\0", "JPEG XL"),
        (encoded("JPEG2000"), "JPEG 2000"),
        (b"%PDF-1.7", "PDF"),
        (b'<?xml version="1.0"?>\n<svg xmlns="">', "SVG"),
        (b"<!DOCTYPE html>", "HTML"),
        (b'{"image": "a"}', "JSON; images in JSON go to /v1"),
        (b"/9j/4AAQSkZJRg==", "base64"),
        (b"data:image/png;base64,iVBORw0KGgo=", "base64"),
        (b"\x1f\x8b\x08\0", "gzip; send Content-Encoding: gzip"),
        (b'--b\r\nContent-Disposition: form-data; name="file"', "a form; send its Content-Type"),
        (b"file=@samples/cat.jpg", "a file's name"),
    ],
)
def test_a_refusal_names_the_format_that_the_bytes_look_like(body: bytes, kind: str) -> None:
    assert f"which looks like {kind}" in refusal(body)


@pytest.mark.parametrize("body", [b"hello", b"\0\0\0\x18ftypheic", encoded("TIFF")], ids=["text", "HEIC", "TIFF"])
def test_a_refusal_names_the_allowed_formats(body: bytes) -> None:
    assert "an image must be JPEG, PNG, WebP, GIF or BMP" in refusal(body)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP"])
def test_an_image_that_curl_d_has_changed_names_data_binary(kind: str) -> None:
    assert "use --data-binary @FILE" in refusal(encoded(kind).translate(None, b"\r\n\0"))


@pytest.mark.parametrize(
    ("old", "new"), [(b"\r\n", b"\n"), (b"\n", b"\r\n")], ids=["to line feeds", "to carriage returns"]
)
def test_a_png_whose_line_ends_were_changed_is_recognised(old: bytes, new: bytes) -> None:
    assert "its line ends were changed" in refusal(encoded("PNG").replace(old, new))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_an_image_that_was_decoded_as_text_is_recognised(kind: str, encoding: str) -> None:
    text = encoded(kind).decode(encoding, errors="replace")
    assert "it was decoded as text" in refusal(text.encode())


def test_other_refusals_have_no_such_hint() -> None:
    assert "curl" not in refusal(encoded("JPEG")[:300])
    assert "looks like" not in refusal(b"hello")
