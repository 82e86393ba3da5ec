"""From the bytes of a photograph to what the network takes in; numpy and Pillow only."""

import io
import struct
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

Tensor = NDArray[np.float32]

FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
RESIZE: Final = 256
CROP: Final = 224
MEAN: Final = np.array([0.485, 0.456, 0.406], dtype=np.float32).reshape(3, 1, 1)
STD: Final = np.array([0.229, 0.224, 0.225], dtype=np.float32).reshape(3, 1, 1)
RGB: Final = 3
# A JPEG is decoded at 1/2, 1/4 or 1/8 of its size as long as its shorter side stays this much larger than the result.
# At 2 the result differs by half of one of 255 levels (RMS), as a photograph saved once more with quality 95 does.
LEAST_DECODED: Final = 2
# Only JPEG can be decoded smaller. The others take up to 12 bytes a pixel, WebP 20: never more than 300 MB.
MOST_PIXELS_WHOLE: Final = 25_000_000
MOST_PIXELS_WEBP: Final = 15_000_000
# Progressive JPEGs have some ten. Each goes over the whole picture, and a short one can be repeated: 400 of them over
# 49 million pixels, 230 KB together, took 10 s.
MOST_SCANS: Final = 50
SCAN: Final = b"\xff\xda\x00"  # SOS and the first byte of its length; in the data of a scan 0 follows every 255
JPEG: Final = ("JPEG", "MPO")  # MPO: several in one file, as some cameras write; the first counts
# What Pillow raises for bytes that are not what they seem.
BROKEN: Final = (OSError, SyntaxError, ValueError, EOFError, struct.error)
# Resizing the shorter side to 256 makes the longer one so many times 256: 20 MB at most.
MOST_SIDES_RATIO: Final = 100
ORIENTATION: Final = 0x0112
UPRIGHT: Final = 1
# What turns a picture of each EXIF orientation upright, and those whose sides change places. Source: EXIF 2.3.
TURNED: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS: Final = (5, 6, 7, 8)


class ImageError(ValueError):
    """The bytes are not a photograph that can be classified; the text names the rule and the value."""


def preprocess(body: bytes, max_pixels: int, exact: bool = False) -> Tensor:
    """Decode, turn upright, resize the shorter side to 256, cut the middle 224 x 224, normalise.

    exact: decode large JPEGs in full, too; without, those with a shorter side of 1024 or more are decoded smaller.
    Returns float32 of shape (1, 3, 224, 224), channels red, green, blue.
    Raises ImageError if body is empty, no image, broken, too long for its width, or has more than max_pixels pixels.
    Source: torchvision's ResNet18_Weights.IMAGENET1K_V1.transforms(), with which it agrees to the last bit where
    nothing was decoded smaller.
    """
    return photograph(body, max_pixels).tensor(exact)


class Photograph:
    """An image whose header was read and whose size is allowed; its pixels are not decoded yet."""

    def __init__(self, image: Image.Image, told: str) -> None:
        """told: its bytes, for an error's text."""
        self._image, self._told = image, told
        self.pixels = image.width * image.height

    def tensor(self, exact: bool = False) -> Tensor:
        """What preprocess() returns; once, since decoding uses the image up. Raises ImageError if it is broken."""
        image = self._image
        width, height = image.size
        try:
            image.draft("RGB", None if exact else _least_decoded(width, height))
            image.load()
            orientation = _orientation(image)
            picture = _rgb(image)
            if orientation in TURNED:
                picture = picture.transpose(TURNED[orientation])
        except (*BROKEN, Image.DecompressionBombError) as error:
            raise ImageError(f"the image is broken: {error} ({self._told})") from error
        return _normalised(_middle(picture, (height, width) if orientation in SIDEWAYS else (width, height)))


def photograph(body: bytes, max_pixels: int) -> Photograph:
    """Read the header alone: pixels are not decoded before their number is known. Raises ImageError."""
    if not body:
        raise ImageError("the image is empty: 0 bytes")
    told = f"{len(body)} bytes"
    try:
        image = Image.open(io.BytesIO(body), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise ImageError(f"an image may have at most {max_pixels} pixels: {error}") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"not an image: {told} that begin with {body[:8]!r}") from error
    except BROKEN as error:
        raise ImageError(f"the image is broken: {error} ({told})") from error
    _refuse_size(*image.size, _most_pixels(image.format, max_pixels))
    if image.format in JPEG and (scans := body.count(SCAN)) > MOST_SCANS:
        raise ImageError(f"a JPEG may have at most {MOST_SCANS} scans, this has {scans}")
    return Photograph(image, told)


def _most_pixels(kind: str | None, max_pixels: int) -> int:
    """By what decoding it costs."""
    if kind in JPEG:
        return max_pixels
    return min(max_pixels, MOST_PIXELS_WEBP if kind == "WEBP" else MOST_PIXELS_WHOLE)


def _refuse_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise ImageError(f"an image may have at most {max_pixels} pixels, this has {width} x {height}")
    if max(width, height) > MOST_SIDES_RATIO * min(width, height):
        raise ImageError(
            f"an image's longer side may be at most {MOST_SIDES_RATIO} times the shorter, this has {width} x {height}"
        )


def _least_decoded(width: int, height: int) -> tuple[int, int]:
    """What libjpeg may not go below: LEAST_DECODED times the size after resizing."""
    wide, high = _resized((width, height))
    return LEAST_DECODED * wide, LEAST_DECODED * high


def _orientation(image: Image.Image) -> int:
    """Of EXIF; upright where what is there cannot be read."""
    try:
        return int(image.getexif().get(ORIENTATION, UPRIGHT))
    except (SyntaxError, ValueError, TypeError, KeyError, struct.error, OSError):
        return UPRIGHT


def _rgb(image: Image.Image) -> Image.Image:
    """Any mode as RGB; 16-bit grey keeps its upper eight bits, where Pillow alone would clip."""
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image).clip(0, 65535) // 256).astype(np.uint8)).convert("RGB")
    return image.convert("RGB")


def _resized(size: tuple[int, int]) -> tuple[int, int]:
    width, height = size
    shorter = min(width, height)
    return RESIZE * width // shorter, RESIZE * height // shorter


def _middle(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The middle 224 x 224 of the picture resized. size: what the picture has in full."""
    wide, high = _resized(size)
    left, top = round((wide - CROP) / 2), round((high - CROP) / 2)
    if image.size == size:
        # Pillow resizes across, then down; cutting between the two gives the same bits for less work.
        across = image.resize((wide, image.height), Image.Resampling.BILINEAR)
        columns = across.crop((left, 0, left + CROP, image.height))
        return columns.resize((CROP, high), Image.Resampling.BILINEAR).crop((0, top, CROP, top + CROP))
    # What was decoded smaller is not exact to the last bit anyway: here the rest is not even computed.
    across_ratio, down_ratio = image.width / wide, image.height / high
    box = (left * across_ratio, top * down_ratio, (left + CROP) * across_ratio, (top + CROP) * down_ratio)
    return image.resize((CROP, CROP), Image.Resampling.BILINEAR, box=box)


def _normalised(image: Image.Image) -> Tensor:
    """(value / 255 - mean) / std, with the rounding of torchvision's own order."""
    planes = np.empty((1, RGB, CROP, CROP), np.float32)
    planes[0] = np.asarray(image).transpose(2, 0, 1)
    planes /= np.float32(255)
    planes -= MEAN
    planes /= STD
    return planes
