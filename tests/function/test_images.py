"""Pre-processing: equal to torchvision's, and strict about what is no photograph."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from function.images import ImageError, preprocess

MANY = 50_000_000


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def gradient(width: int = 320, height: int = 240) -> Image.Image:
    """Every corner another colour, so that a turn or a mirror shows."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, 255 - x], axis=-1).astype(np.uint8))


def photographs(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))


def differs_from_torchvision(folder: Path) -> float:
    from torchvision.models import ResNet18_Weights  # noqa: PLC0415  two seconds that unit tests do not need

    transform = ResNet18_Weights.IMAGENET1K_V1.transforms()
    worst = 0.0
    for path in photographs(folder):
        expected = transform(Image.open(path).convert("RGB")).numpy()[np.newaxis]
        worst = max(worst, float(np.abs(preprocess(path.read_bytes(), MANY) - expected).max()))
    return worst


@pytest.mark.integration
def test_it_equals_torchvisions_transforms_on_the_samples(samples_dir: Path) -> None:
    assert differs_from_torchvision(samples_dir) == 0.0


@pytest.mark.integration
def test_it_equals_torchvisions_transforms_on_every_shared_photograph(shared_dir: Path) -> None:
    assert differs_from_torchvision(shared_dir / "images") == 0.0


def test_the_result_is_one_normalised_float32_image() -> None:
    grey = preprocess(encoded(Image.new("RGB", (500, 300), (128, 128, 128))), MANY)
    assert grey.shape == (1, 3, 224, 224)
    assert grey.dtype == np.float32
    expected = (128 / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    assert grey[0, :, 0, 0] == pytest.approx(expected, rel=1e-5)


def test_other_modes_are_seen_as_the_rgb_picture() -> None:
    upright = gradient()
    expected = preprocess(encoded(upright), MANY)
    for made in (upright.convert("RGBA"), upright.convert("P"), upright.quantize(64)):
        assert np.abs(preprocess(encoded(made), MANY) - expected).mean() < 0.3
    cmyk = preprocess(encoded(upright.convert("CMYK"), "JPEG", quality=95), MANY)
    assert np.abs(cmyk - expected).mean() < 0.1


def test_grey_of_sixteen_bits_is_seen_as_grey_of_eight() -> None:
    grey = gradient().convert("L")
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    assert np.abs(preprocess(encoded(deep), MANY) - preprocess(encoded(grey), MANY)).max() < 0.05


def test_a_camera_held_sideways_is_turned_upright() -> None:
    upright = gradient(256, 256)
    turned = upright.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise
    assert preprocess(encoded(turned, exif=exif), MANY) == pytest.approx(preprocess(encoded(upright), MANY), abs=1e-6)


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header promises far more pixels than it has bytes."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b"")]
    packed = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param(b"", "empty: 0 bytes", id="nothing"),
        pytest.param(
            b"hello, I am a text named .jpg", "not an image: 29 bytes that begin with b'hello, I'", id="a text"
        ),
        pytest.param(encoded(gradient(), "JPEG")[:2000], "broken", id="a truncated JPEG"),
        pytest.param(encoded(gradient())[:500], "broken", id="a truncated PNG"),
        pytest.param(bomb(20000, 20000), "at most 50000000 pixels", id="a bomb that Pillow knows"),
        pytest.param(bomb(10000, 6000), "at most 25000000 pixels, this has 10000 x 6000", id="a bomb that it does not"),
        pytest.param(bomb(100, 100), "broken", id="fewer pixels than promised"),
        pytest.param(bomb(6000, 5000), "at most 25000000 pixels, this has 6000 x 5000", id="large, and no JPEG"),
        pytest.param(
            encoded(Image.new("RGB", (5000, 3001)), "WEBP"),
            "at most 15000000 pixels, this has 5000 x 3001",
            id="large WebP",
        ),
        pytest.param(
            encoded(Image.new("RGB", (101, 1))), "at most 100 times the shorter, this has 101 x 1", id="a line"
        ),
        pytest.param(b"%PDF-1.7 ...", "not an image", id="a PDF"),
    ],
)
def test_what_is_no_photograph_is_refused_with_rule_and_value(body: bytes, words: str) -> None:
    with pytest.raises(ImageError) as caught:
        preprocess(body, MANY)
    assert words in str(caught.value)


@pytest.mark.parametrize("size", [(1, 1), (100, 1), (1, 100), (224, 224)])
def test_odd_shapes_are_classified_all_the_same(size: tuple[int, int]) -> None:
    assert preprocess(encoded(Image.new("RGB", size)), MANY).shape == (1, 3, 224, 224)
