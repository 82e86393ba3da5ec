"""Images in the modes of cameras, scanners and browsers get the same labels as the upright RGB image."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from function.classifier import ImageClassifier
from tests.function.loading import loaded_classifier
from tests.function.mutations import encoded

pytestmark = pytest.mark.integration

# How EXIF orientations 2 to 8 store an upright image: the inverse of the turn that a viewer applies.
STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.fixture(scope="module")
def classifier(model_dir: Path) -> ImageClassifier:
    return loaded_classifier(model_dir)


@pytest.fixture(scope="module")
def pictures(samples_dir: Path) -> list[Image.Image]:
    paths = sorted(path for path in samples_dir.iterdir() if path.suffix == ".jpg")
    assert paths
    return [Image.open(path).convert("RGB") for path in paths]


def as_rgb(body: bytes) -> bytes:
    """Return the pixels that a viewer shows, encoded without loss."""
    return encoded(Image.open(io.BytesIO(body)).convert("RGB"), "PNG")


def stored(picture: Image.Image, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(picture.transpose(STORED[orientation]), "PNG", exif=exif)


def deep(picture: Image.Image) -> bytes:
    return encoded(Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257), "PNG")


MADE: dict[str, Callable[[Image.Image], tuple[bytes, bytes]]] = {
    "CMYK JPEG": lambda picture: (body := encoded(picture.convert("CMYK"), "JPEG"), as_rgb(body)),
    "grey JPEG": lambda picture: (body := encoded(picture.convert("L"), "JPEG"), as_rgb(body)),
    "palette PNG": lambda picture: (body := encoded(picture.quantize(256), "PNG"), as_rgb(body)),
    "GIF": lambda picture: (body := encoded(picture, "GIF"), as_rgb(body)),
    "WebP": lambda picture: (body := encoded(picture, "WEBP"), as_rgb(body)),
    "opaque alpha PNG": lambda picture: (encoded(picture.convert("RGBA"), "PNG"), encoded(picture, "PNG")),
    "16-bit grey PNG": lambda picture: (deep(picture), encoded(picture.convert("L"), "PNG")),
}


@pytest.mark.parametrize("kind", MADE)
def test_every_mode_is_classified_as_its_rgb_image(
    classifier: ImageClassifier, pictures: list[Image.Image], kind: str
) -> None:
    for picture in pictures:
        made, reference = MADE[kind](picture)
        found, expected = (classifier.classify(body).top for body in (made, reference))
        assert [rank.label for rank in found] == [rank.label for rank in expected]
        assert [rank.confidence for rank in found] == pytest.approx([rank.confidence for rank in expected], abs=1e-4)


@pytest.mark.parametrize("orientation", STORED)
def test_an_image_that_is_stored_turned_is_classified_upright(
    classifier: ImageClassifier, pictures: list[Image.Image], orientation: int
) -> None:
    for picture in pictures:
        found, expected = (
            classifier.classify(body).top for body in (stored(picture, orientation), encoded(picture, "PNG"))
        )
        assert [rank.label for rank in found] == [rank.label for rank in expected]
        assert found[0].confidence == pytest.approx(expected[0].confidence, abs=1e-4)


def test_a_transparent_png_is_classified_by_its_own_colours(
    classifier: ImageClassifier, pictures: list[Image.Image]
) -> None:
    clear = pictures[0].copy()
    clear.putalpha(128)
    found, expected = (classifier.classify(encoded(picture, "PNG")).top for picture in (clear, pictures[0]))
    assert found == expected
