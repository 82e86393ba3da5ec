"""From the bytes of a photograph to what the network takes in; numpy and Pillow only."""

import io
import struct
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

Tensor = NDArray[np.float32]

FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
RESIZE: Final = 256
CROP: Final = 224
MEAN: Final = np.array([0.485, 0.456, 0.406], dtype=np.float32)
STD: Final = np.array([0.229, 0.224, 0.225], dtype=np.float32)
RGB: Final = 3
# Only JPEG can be decoded smaller. The others take up to 12 bytes a pixel, WebP 20: never more than 300 MB.
MOST_PIXELS_WHOLE: Final = 25_000_000
MOST_PIXELS_WEBP: Final = 15_000_000
# What Pillow raises for bytes that are not what they seem.
BROKEN: Final = (OSError, SyntaxError, ValueError, EOFError, struct.error)
# Resizing the shorter side to 256 makes the longer one so many times 256: 20 MB at most.
MOST_SIDES_RATIO: Final = 100


class ImageError(ValueError):
    """The bytes are not a photograph that can be classified; the text names the rule and the value."""


def preprocess(body: bytes, max_pixels: int) -> Tensor:
    """Decode, turn upright, resize the shorter side to 256, cut the middle 224 x 224, normalise.

    Returns float32 of shape (1, 3, 224, 224), channels red, green, blue.
    Raises ImageError if body is empty, no image, broken, or has more than max_pixels pixels.
    Source: torchvision's ResNet18_Weights.IMAGENET1K_V1.transforms(), with which it agrees to the last bit.
    """
    return _normalised(_cropped(_resized(_decoded(body, max_pixels))))


def pixels(body: bytes) -> int:
    """Width times height, from the header alone; 0 where there is none that can be read."""
    try:
        with Image.open(io.BytesIO(body), formats=FORMATS) as image:
            return image.width * image.height
    except (*BROKEN, Image.DecompressionBombError):
        return 0


def _decoded(body: bytes, max_pixels: int) -> Image.Image:
    if not body:
        raise ImageError("the image is empty: 0 bytes")
    try:
        # the header alone: pixels are not decoded before their number is known
        with Image.open(io.BytesIO(body), formats=FORMATS) as image:
            width, height = image.size
            _refuse_size(width, height, _most_pixels(image.format, max_pixels))
            image.draft("RGB", None)
            image.load()
            return _rgb(ImageOps.exif_transpose(image))
    except Image.DecompressionBombError as error:
        raise ImageError(f"an image may have at most {max_pixels} pixels: {error}") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"not an image: {len(body)} bytes that begin with {body[:8]!r}") from error
    except BROKEN as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"the image is broken: {error} ({len(body)} bytes)") from error


def _most_pixels(kind: str | None, max_pixels: int) -> int:
    """By what decoding it costs."""
    if kind == "JPEG":
        return max_pixels
    return min(max_pixels, MOST_PIXELS_WEBP if kind == "WEBP" else MOST_PIXELS_WHOLE)


def _refuse_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise ImageError(f"an image may have at most {max_pixels} pixels, this has {width} x {height}")
    if max(width, height) > MOST_SIDES_RATIO * min(width, height):
        raise ImageError(
            f"an image's longer side may be at most {MOST_SIDES_RATIO} times the shorter, this has {width} x {height}"
        )


def _rgb(image: Image.Image) -> Image.Image:
    """Any mode as RGB; 16-bit grey keeps its upper eight bits, where Pillow alone would clip."""
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image).clip(0, 65535) // 256).astype(np.uint8)).convert("RGB")
    return image.convert("RGB")


def _resized(image: Image.Image) -> Image.Image:
    width, height = image.size
    shorter = min(width, height)
    size = (RESIZE * width // shorter, RESIZE * height // shorter)
    return image.resize(size, Image.Resampling.BILINEAR)


def _cropped(image: Image.Image) -> Image.Image:
    left, top = (round((side - CROP) / 2) for side in image.size)
    return image.crop((left, top, left + CROP, top + CROP))


def _normalised(image: Image.Image) -> Tensor:
    pixels = np.asarray(image, dtype=np.float32) / np.float32(255)
    channels_first = ((pixels - MEAN) / STD).transpose(RGB - 1, 0, 1)
    return np.ascontiguousarray(channels_first)[np.newaxis]
