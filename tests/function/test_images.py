"""Pre-processing: equal to torchvision's, and strict about invalid images."""

import io
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from function import images
from function.images import STD, ImageError, Tensor, preprocess
from function.tools.agreement import photographs

MANY = 50_000_000


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def gradient(width: int = 320, height: int = 240) -> Image.Image:
    """Return an image with a different colour in each corner, so that a rotation or reflection shows."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, 255 - x], axis=-1).astype(np.uint8))


def differs_from_torchvision(folder: Path) -> float:
    from torchvision.models import ResNet18_Weights  # noqa: PLC0415  takes two seconds, which unit tests need not spend

    transform = ResNet18_Weights.IMAGENET1K_V1.transforms()
    worst = 0.0
    for path in photographs(folder):
        expected = transform(Image.open(path).convert("RGB")).numpy()[np.newaxis]
        worst = max(worst, float(np.abs(preprocess(path.read_bytes(), MANY, exact=True) - expected).max()))
    return worst


@pytest.mark.xdist_group("torch")
@pytest.mark.integration
def test_it_equals_torchvisions_transforms_on_the_samples(samples_dir: Path) -> None:
    assert differs_from_torchvision(samples_dir) == 0.0


@pytest.mark.xdist_group("torch")
@pytest.mark.integration
def test_it_equals_torchvisions_transforms_on_every_shared_photograph(shared_dir: Path) -> None:
    assert differs_from_torchvision(shared_dir / "images") == 0.0


def test_the_result_is_one_normalised_float32_image() -> None:
    grey = preprocess(encoded(Image.new("RGB", (500, 300), (128, 128, 128))), MANY)
    assert grey.shape == (1, 3, 224, 224)
    assert grey.dtype == np.float32
    expected = (128 / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    assert grey[0, :, 0, 0] == pytest.approx(expected, rel=1e-5)


def upright() -> Image.Image:
    """Return an upright image with colours and edges that is not symmetric."""
    picture = gradient()
    picture.paste((250, 240, 20), (200, 20, 280, 60))
    return picture


def as_rgb() -> Tensor:
    return preprocess(encoded(upright()), MANY)


def animated() -> bytes:
    frames = [upright(), Image.new("RGB", (320, 240), "red")]
    return encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=40, loop=0)


def with_alpha() -> Image.Image:
    picture = upright()
    picture.putalpha(128)
    return picture


@pytest.mark.parametrize(
    ("body", "most"),
    [
        pytest.param(encoded(with_alpha()), 0.0, id="alpha"),
        pytest.param(encoded(upright().convert("RGBA"), "WEBP", lossless=True), 0.0, id="WebP with alpha"),
        pytest.param(encoded(upright(), "BMP"), 0.0, id="BMP"),
        pytest.param(encoded(upright().quantize(256)), 0.1, id="palette"),
        pytest.param(encoded(upright().quantize(256), transparency=3), 0.1, id="palette with transparency"),
        pytest.param(animated(), 0.2, id="the first frame of an animation"),
        pytest.param(encoded(upright(), "JPEG", quality=95), 0.05, id="JPEG"),
        pytest.param(encoded(upright(), "JPEG", quality=95, progressive=True), 0.05, id="progressive JPEG"),
        pytest.param(encoded(upright().convert("CMYK"), "JPEG", quality=95), 0.05, id="CMYK"),
    ],
)
def test_other_modes_give_the_tensor_of_the_rgb_image(body: bytes, most: float) -> None:
    assert np.abs(preprocess(body, MANY) - as_rgb()).mean() <= most


def test_grey_gives_equal_channels() -> None:
    grey = upright().convert("L")
    expected = preprocess(encoded(grey.convert("RGB")), MANY)
    for body in (encoded(grey), encoded(grey.convert("LA")), encoded(grey.convert("RGB"), "BMP")):
        assert (preprocess(body, MANY) == expected).all()


def test_16_bit_grey_gives_the_tensor_of_8_bit_grey() -> None:
    grey = upright().convert("L")
    grey.paste(255, (0, 0, 100, 100))
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    assert (preprocess(encoded(deep), MANY) == preprocess(encoded(grey), MANY)).all()


def test_a_1_bit_image_gives_the_tensor_of_its_rgb_image() -> None:
    bits = upright().convert("1")
    assert (preprocess(encoded(bits), MANY) == preprocess(encoded(bits.convert("RGB")), MANY)).all()


# How an upright image is stored with each EXIF orientation.
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def held(picture: Image.Image, orientation: int) -> tuple[Image.Image, Image.Exif]:
    exif = Image.Exif()
    exif[0x0112] = orientation
    turn = STORED[orientation]
    return (picture if turn is None else picture.transpose(turn)), exif


@pytest.mark.parametrize("orientation", STORED)
def test_an_image_of_any_orientation_is_turned_upright(orientation: int) -> None:
    stored, exif = held(upright(), orientation)
    assert (preprocess(encoded(stored, exif=exif), MANY) == as_rgb()).all()


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_large_image_is_turned_upright(orientation: int) -> None:
    large = upright().resize((1920, 1440))
    stored, exif = held(large, orientation)
    turned = preprocess(encoded(stored, "JPEG", quality=95, exif=exif), MANY)
    assert np.abs(turned - preprocess(encoded(large, "JPEG", quality=95), MANY)).mean() < 0.02


def test_an_invalid_orientation_counts_as_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 77
    assert (preprocess(encoded(upright(), exif=exif), MANY) == as_rgb()).all()


def test_an_image_with_malformed_exif_is_accepted() -> None:
    jpeg = encoded(upright(), "JPEG", quality=95)
    broken = b"\xff\xe1\x00\x12Exif\x00\x00II*\x00\xff\xff\xff\xff"
    assert np.abs(preprocess(jpeg[:2] + broken + jpeg[2:], MANY) - as_rgb()).mean() < 0.05


def size_decoded(width: int, height: int, exact: bool = False) -> tuple[int, int]:
    body = encoded(Image.new("RGB", (width, height)), "JPEG")
    opened = images.open_image(body, MANY)
    opened.tensor(exact)
    return opened._image.size


def test_a_large_jpeg_is_decoded_at_a_smaller_size() -> None:
    assert size_decoded(1920, 1440) == (960, 720)
    assert size_decoded(4032, 3024) == (1008, 756)
    assert size_decoded(1024, 1024) == (512, 512)
    assert size_decoded(1500, 1023) == (1500, 1023)
    assert size_decoded(500, 375) == (500, 375)
    assert size_decoded(1920, 1440, exact=True) == (1920, 1440)


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    """Return a PNG of these chunks, each a type and its data."""
    packed = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def header(width: int, height: int) -> tuple[bytes, bytes]:
    return b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)


def bomb(width: int, height: int) -> bytes:
    """Return a PNG whose header declares far more pixels than the file contains."""
    return png(header(width, height), (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b""))


def hidden(width: int, height: int) -> bytes:
    """Return a PNG of 100 x 100 pixels that cannot be decoded; without its metadata a second, larger header counts."""
    frame = struct.pack(">IIIIIHHBB", 0, 100, 100, 0, 0, 1, 10, 0, 0)
    animated = [(b"fcTL", frame), (b"fdAT", struct.pack(">I", 1) + b"garbage!")]
    pixels = zlib.compress(bytes((3 * width + 1) * height), 1)
    return png(header(100, 100), *animated, header(width, height), (b"IDAT", pixels), (b"IEND", b""))


def scans(more: int) -> bytes:
    """Return a progressive grey JPEG of six scans whose last scan is repeated this many times."""
    body = encoded(gradient().convert("L"), "JPEG", progressive=True)
    last = body[body.rindex(b"\xff\xda") : -2]
    return body[:-2] + more * last + body[-2:]


def test_a_progressive_jpeg_is_accepted() -> None:
    assert preprocess(scans(0), MANY).shape == (1, 3, 224, 224)
    assert preprocess(scans(44), MANY).shape == (1, 3, 224, 224)


def test_the_first_image_of_a_multi_picture_jpeg_is_used() -> None:
    first, second = gradient(), Image.new("RGB", (320, 240))
    several = encoded(first, "MPO", save_all=True, append_images=[second])
    assert np.array_equal(preprocess(several, MANY), preprocess(encoded(first, "JPEG"), MANY))
    with pytest.raises(ImageError, match="at most 1000 pixels"):
        preprocess(several, 1000)
    large = encoded(Image.new("RGB", (6500, 4500)), "MPO", save_all=True, append_images=[second])
    assert preprocess(large, MANY).shape == (1, 3, 224, 224)  # more pixels than other formats may have


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param(b"", "must not be empty, got 0 bytes", id="empty"),
        pytest.param(b"hello, I am a text named .jpg", "not an image: 29 bytes starting with b'hello, I'", id="text"),
        pytest.param(encoded(gradient(), "JPEG")[:2000], "cannot decode the image", id="a truncated JPEG"),
        pytest.param(encoded(gradient())[:500], "cannot decode the image", id="a truncated PNG"),
        pytest.param(bomb(20000, 20000), "at most 50000000 pixels", id="a bomb that Pillow detects"),
        pytest.param(bomb(10000, 6000), "at most 25000000 pixels, got 10000 x 6000", id="a bomb that Pillow misses"),
        pytest.param(bomb(100, 100), "cannot decode the image", id="fewer pixels than declared"),
        pytest.param(hidden(600, 600), "cannot decode the image", id="a second header, hidden at first"),
        pytest.param(bomb(6000, 5000), "at most 25000000 pixels, got 6000 x 5000", id="large and not JPEG"),
        pytest.param(
            encoded(Image.new("RGB", (5000, 3001)), "WEBP"),
            "at most 15000000 pixels, got 5000 x 3001",
            id="large WebP",
        ),
        pytest.param(encoded(Image.new("RGB", (101, 1))), "at most 100 times the shorter, got 101 x 1", id="a line"),
        pytest.param(scans(60), "a JPEG may have at most 50 scans, got 66", id="too many scans"),
        pytest.param(b"%PDF-1.7 ...", "not an image", id="a PDF"),
        pytest.param(encoded(Image.new("L", (30000, 1))), "at most 100 times the shorter, got 30000 x 1", id="a line"),
        pytest.param(bomb(1, 30000), "at most 100 times the shorter, got 1 x 30000", id="a column"),
    ],
)
def test_an_invalid_image_is_refused_with_rule_and_value(body: bytes, words: str) -> None:
    with pytest.raises(ImageError) as caught:
        preprocess(body, MANY)
    assert words in str(caught.value)


@pytest.mark.parametrize("size", [(1, 1), (100, 1), (1, 100), (224, 224), (2560, 256)])
def test_images_of_odd_shapes_are_accepted(size: tuple[int, int]) -> None:
    assert preprocess(encoded(Image.new("RGB", size)), MANY).shape == (1, 3, 224, 224)


# The peak is the kernel's of this program. getrusage() gives that of the parent if it is higher: exec does not reset it.
LIMITED = """
import sys
from pathlib import Path
from function.images import ImageError, preprocess
def peak_kib():
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
body = sys.stdin.buffer.read()
before = peak_kib()
try:
    preprocess(body, 50_000_000)
except ImageError:
    pass
print((peak_kib() - before) // 1024)
"""


@pytest.mark.integration
@pytest.mark.parametrize(
    ("make", "most_mib"),
    [
        pytest.param(lambda: bomb(20000, 20000), 10, id="a bomb"),
        pytest.param(lambda: encoded(Image.new("L", (30000, 1))), 10, id="a line"),
        pytest.param(lambda: hidden(5000, 5000), 10, id="a second header, hidden at first"),
        pytest.param(lambda: encoded(Image.new("RGB", (25600, 256))), 80, id="the longest allowed"),
        pytest.param(lambda: encoded(Image.new("RGB", (7000, 7000)), "JPEG"), 80, id="a JPEG of 49 million pixels"),
        pytest.param(
            lambda: encoded(Image.new("RGBA", (5000, 5000)), compress_level=1), 240, id="a PNG of 25 million pixels"
        ),
    ],
)
def test_memory_is_bounded(make: Callable[[], bytes], most_mib: int) -> None:
    done = subprocess.run([sys.executable, "-c", LIMITED], input=make(), capture_output=True, check=True)
    assert int(done.stdout) <= most_mib


@pytest.mark.integration
def test_decoding_smaller_changes_an_image_no_more_than_saving_it_again(shared_dir: Path) -> None:
    smaller, saved = [], []
    for path in photographs(shared_dir / "images")[::3]:
        with Image.open(path) as photograph:
            large = encoded(
                photograph.convert("RGB").resize((1920, 1440), Image.Resampling.LANCZOS), "JPEG", quality=85
            )
        exact = preprocess(large, MANY, exact=True)
        smaller.append(rms(preprocess(large, MANY), exact))
        with Image.open(io.BytesIO(large)) as again:
            saved.append(rms(preprocess(encoded(again, "JPEG", quality=95), MANY, exact=True), exact))
    half_a_level = 0.5 / 255 / float(STD.mean())
    assert 0 < np.mean(smaller) < 1.25 * half_a_level
    assert np.mean(smaller) < 1.5 * np.mean(saved)


def rms(one: Tensor, other: Tensor) -> float:
    return float(np.sqrt(np.mean((one - other) ** 2)))
