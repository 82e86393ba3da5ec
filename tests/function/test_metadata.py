"""Metadata that Pillow cannot read must not cost the picture, nor the orientation that other metadata gives."""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from function.images import ImageError, Tensor, preprocess
from function.metadata import reduced

MANY = 1_000_000


def picture() -> Image.Image:
    """Return an image in which a rotation shows."""
    ramp = np.linspace(0, 255, 320 * 240).reshape(240, 320)
    return Image.fromarray(np.stack([ramp, ramp[::-1], ramp[:, ::-1]], axis=-1).astype(np.uint8))


def encoded(kind: str, sideways: bool = False) -> bytes:
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = picture().transpose(Image.Transpose.ROTATE_90) if sideways else picture()
    stored.save(buffer, kind, quality=95, **({"exif": exif} if sideways else {}))
    return buffer.getvalue()


def chunk(kind: bytes, content: bytes, crc: int | None = None) -> bytes:
    checksum = zlib.crc32(kind + content) if crc is None else crc
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def in_png(extra: bytes, behind: bool = False, body: bytes = b"") -> bytes:
    """Insert a chunk after the header of a PNG, or behind its pixels."""
    body = body or encoded("PNG")
    at = body.rindex(b"IEND") - 4 if behind else 33
    return body[:at] + extra + body[at:]


def in_jpeg(marker: int, content: bytes, body: bytes = b"") -> bytes:
    body = body or encoded("JPEG")
    return body[:2] + bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content + body[2:]


def rational_orientation(byte_order: str = ">") -> bytes:
    """Return EXIF whose orientation is the rational 1/0."""
    mark = b"MM" if byte_order == ">" else b"II"
    entry = struct.pack(f"{byte_order}HHII", 0x0112, 5, 1, 26)
    return (
        b"Exif\0\0"
        + mark
        + struct.pack(f"{byte_order}HIH", 42, 8, 1)
        + entry
        + struct.pack(f"{byte_order}III", 0, 1, 0)
    )


def upright(kind: str = "PNG") -> Tensor:
    return preprocess(encoded(kind), MANY)


LONG = zlib.compress(bytes(3 << 20))


@pytest.mark.parametrize("behind", [False, True], ids=["before the pixels", "behind the pixels"])
@pytest.mark.parametrize(
    "extra",
    [
        pytest.param(chunk(b"iCCP", b"a\0\0" + LONG), id="a profile of 3 MiB"),
        pytest.param(chunk(b"iCCP", b"a\0\7" + LONG), id="a profile in an unknown compression"),
        pytest.param(chunk(b"zTXt", b"Comment\0\0" + LONG), id="a text of 3 MiB"),
        pytest.param(chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + LONG), id="XMP of 3 MiB"),
        pytest.param(chunk(b"zTXt", b"Comment\0\7x"), id="a text in an unknown compression"),
        pytest.param(chunk(b"tEXt", b"Comment\0hello", crc=7), id="a wrong checksum"),
        pytest.param(chunk(b"gAMA", b"\1"), id="a short gamma"),
        pytest.param(chunk(b"cHRM", bytes(7)), id="short chromaticities"),
        pytest.param(chunk(b"acTL", b"\0"), id="a short animation header"),
        pytest.param(chunk(b"fcTL", bytes(9)), id="a short frame header"),
        pytest.param(chunk(b"eXIf", b"MM" + bytes(3)), id="short EXIF"),
        pytest.param(chunk(b"tRNS", b"\0"), id="short transparency"),
    ],
)
def test_a_png_is_read_whatever_its_metadata(extra: bytes, behind: bool) -> None:
    assert (preprocess(in_png(extra, behind), MANY) == upright()).all()


@pytest.mark.parametrize(
    ("marker", "content"),
    [
        pytest.param(0xE1, rational_orientation(), id="an infinite orientation"),
        pytest.param(0xE1, rational_orientation("<"), id="an infinite orientation, little-endian"),
        pytest.param(0xE1, b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", id="EXIF without its entries"),
        pytest.param(0xE0, b"JFIF\0", id="short JFIF"),
        pytest.param(0xE2, b"ICC_PROFILE\0", id="a short profile"),
        pytest.param(0xE2, b"MPF\0MM\0*\xff\xff\xff\xff", id="a broken index of several pictures"),
        pytest.param(0xED, b"Photoshop 3.0\x008BIM\4\4", id="a short Photoshop block"),
        pytest.param(0xEE, b"Adobe", id="a short Adobe segment"),
        pytest.param(0xFE, b"\xff\xfe\xfd", id="a comment that is no text"),
    ],
)
def test_a_jpeg_is_read_whatever_its_metadata(marker: int, content: bytes) -> None:
    assert np.abs(preprocess(in_jpeg(marker, content), MANY) - upright("JPEG")).max() < 0.1


@pytest.mark.parametrize(
    "insert",
    [
        pytest.param(lambda body: in_png(chunk(b"iCCP", b"a\0\0" + LONG), body=body), id="PNG"),
        pytest.param(
            lambda body: in_png(chunk(b"zTXt", b"a\0\0" + LONG), behind=True, body=body), id="behind the pixels"
        ),
    ],
)
def test_a_broken_profile_does_not_cost_the_orientation(insert: Callable[[bytes], bytes]) -> None:
    assert (preprocess(insert(encoded("PNG", sideways=True)), MANY) == upright()).all()


def test_a_broken_profile_does_not_cost_the_orientation_of_a_jpeg() -> None:
    body = in_jpeg(0xE2, b"ICC_PROFILE\0", encoded("JPEG", sideways=True))
    assert np.abs(preprocess(body, MANY) - upright("JPEG")).mean() < 0.05


@pytest.mark.parametrize("body", [encoded("PNG")[:600], encoded("JPEG")[:600], in_png(chunk(b"IHDR", b"\0"))])
def test_missing_pixels_are_refused_all_the_same(body: bytes) -> None:
    with pytest.raises(ImageError, match=r"cannot decode the image|not an image"):
        preprocess(body, MANY)


def test_an_image_without_metadata_is_not_tried_again() -> None:
    assert list(reduced(b"GIF89a")) == []
    assert list(reduced(encoded("PNG"))) == []


def test_an_image_loses_its_exif_last() -> None:
    body = in_jpeg(0xE1, b"Exif\0\0MM", in_jpeg(0xFE, b"hello"))
    with_exif, without = reduced(body)
    assert (b"hello" in with_exif, b"Exif" in with_exif) == (False, True)
    assert (b"hello" in without, b"Exif" in without) == (False, False)
    assert without == encoded("JPEG")
