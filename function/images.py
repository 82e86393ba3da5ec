"""Decoding and pre-processing of images into the network's input tensor, with numpy and Pillow only."""

import io
from contextlib import suppress
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from function.metadata import reduced
from function.recognise import described, mangled

Tensor = NDArray[np.float32]

FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
ALLOWED: Final = "an image must be JPEG, PNG, WebP, GIF or BMP"
RESIZE: Final = 256
CROP: Final = 224
MEAN: Final = np.array([0.485, 0.456, 0.406], dtype=np.float32).reshape(3, 1, 1)
STD: Final = np.array([0.229, 0.224, 0.225], dtype=np.float32).reshape(3, 1, 1)
RGB: Final = 3
# A JPEG is decoded at 1/2, 1/4 or 1/8 of its size if its shorter side stays at least this many times the resized one.
# At 2 the result differs by half of one of 255 levels (RMS), as much as saving the photograph again with quality 95.
MIN_DECODED_RATIO: Final = 2
# Only JPEG can be decoded at a smaller size. Other formats take up to 12 bytes per pixel and WebP 20, so these limits
# keep decoding within 300 MB.
MAX_PIXELS_WHOLE: Final = 25_000_000
MAX_PIXELS_WEBP: Final = 15_000_000
# Progressive JPEGs have about ten scans. Decoding each goes over the whole image, and a short scan can be repeated:
# 400 of them over 49 million pixels, in a file of 230 KB, took 10 s.
MAX_SCANS: Final = 50
SCAN: Final = b"\xff\xda\x00"  # SOS and the first byte of its length; within a scan's data every 0xff is followed by 0
JPEG: Final = ("JPEG", "MPO")  # MPO: several images in one file, as some cameras write; the first is used
# The resized image is 256 pixels by up to this many times 256, which takes at most 20 MB.
MAX_SIDES_RATIO: Final = 100
ORIENTATION: Final = 0x0112
UPRIGHT: Final = 1
# How to turn an image of each EXIF orientation upright; SIDEWAYS: those that swap width and height. Source: EXIF 2.3.
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
    """The bytes are not an image that can be classified; the text states the rule and the value."""


def preprocess(body: bytes, max_pixels: int, exact: bool = False) -> Tensor:
    """Decode, turn upright, resize the shorter side to 256, crop the central 224 x 224, normalise.

    exact: decode large JPEGs at full size; otherwise those with a shorter side of 1024 or more are decoded smaller.
    Return float32 of shape (1, 3, 224, 224), channels red, green, blue.
    Raise ImageError if body is empty, not an image or malformed, or if the image exceeds MAX_SIDES_RATIO or max_pixels.
    Source: torchvision's ResNet18_Weights.IMAGENET1K_V1.transforms(), with which it agrees bit for bit unless the image
    was decoded smaller, turned upright or is 16-bit grey: torchvision does not turn it, and clips grey above 255.
    """
    return open_image(body, max_pixels).tensor(exact)


class OpenedImage:
    """An image whose header has been read and whose size is allowed, but whose pixels are not decoded yet."""

    def __init__(self, image: Image.Image, body: bytes) -> None:
        self._image, self._body = image, body
        self.pixels = image.width * image.height

    def tensor(self, exact: bool = False) -> Tensor:
        """Decode and return the tensor of preprocess(); works once. Raise ImageError if the image is malformed."""
        size = self._image.size
        try:
            upright, turned = self._decoded(exact)
        except MemoryError:
            raise
        except Exception as error:  # as in open_image()
            text = f"cannot decode the image: {error} ({len(self._body)} bytes){mangled(self._body)}"
            raise ImageError(text) from error
        return _normalised(_central_crop(upright, size[::-1] if turned else size))

    def _decoded(self, exact: bool) -> tuple[Image.Image, bool]:
        """Decode; if a PNG fails, in which metadata may follow the pixels, decode it again without metadata.

        Metadata can hide a second header. An image of another size is not decoded, because it has not been checked.
        """
        try:
            return _upright(self._image, exact)
        except Exception:
            if self._image.format == "PNG":
                for smaller in reduced(self._body):
                    with suppress(Exception):
                        again = Image.open(io.BytesIO(smaller), formats=("PNG",))
                        if again.size == self._image.size:
                            return _upright(again, exact)
            raise


def open_image(body: bytes, max_pixels: int) -> OpenedImage:
    """Read only the header and check it before any pixel is decoded. Raise ImageError if it is invalid or too large."""
    if not body:
        raise ImageError("an image must not be empty, got 0 bytes")
    try:
        image = _opened(body)
    except Image.DecompressionBombError as error:
        raise ImageError(f"an image may have at most {max_pixels} pixels: {error}") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"not an image: {len(body)} bytes{described(body)}; {ALLOWED}{mangled(body)}") from error
    except MemoryError:
        raise
    except Exception as error:  # Pillow has no common type: OverflowError, IndexError and zlib.error were among them
        raise ImageError(f"cannot decode the image: {error} ({len(body)} bytes){mangled(body)}") from error
    _check_size(*image.size, _max_pixels(image.format, max_pixels))
    if image.format in JPEG and (scans := body.count(SCAN)) > MAX_SCANS:
        raise ImageError(f"a JPEG may have at most {MAX_SCANS} scans, got {scans}")
    return OpenedImage(image, body)


def _opened(body: bytes) -> Image.Image:
    """Read the header, if necessary without metadata. Raise what Pillow raised for the whole file if that fails too."""
    try:
        return Image.open(io.BytesIO(body), formats=FORMATS)
    except (Image.DecompressionBombError, MemoryError):
        raise
    except Exception:
        for smaller in reduced(body):
            with suppress(Exception):
                return Image.open(io.BytesIO(smaller), formats=FORMATS)
        raise


def _upright(image: Image.Image, exact: bool) -> tuple[Image.Image, bool]:
    """Decode and turn an image upright; also return whether that swapped width and height."""
    image.draft("RGB", None if exact else _min_decoded_size(*image.size))
    image.load()
    orientation = _orientation(image)
    upright = _rgb(image)
    if orientation in TURNED:
        upright = upright.transpose(TURNED[orientation])
    return upright, orientation in SIDEWAYS


def _max_pixels(image_format: str | None, max_pixels: int) -> int:
    """Return the most pixels allowed for the format, according to the memory that decoding takes."""
    if image_format in JPEG:
        return max_pixels
    return min(max_pixels, MAX_PIXELS_WEBP if image_format == "WEBP" else MAX_PIXELS_WHOLE)


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise ImageError(f"an image may have at most {max_pixels} pixels, got {width} x {height}")
    if max(width, height) > MAX_SIDES_RATIO * min(width, height):
        raise ImageError(
            f"an image's longer side may be at most {MAX_SIDES_RATIO} times the shorter, got {width} x {height}"
        )


def _min_decoded_size(width: int, height: int) -> tuple[int, int]:
    """Return the smallest size at which libjpeg may decode: MIN_DECODED_RATIO times the size after resizing."""
    resized_width, resized_height = _resized((width, height))
    return MIN_DECODED_RATIO * resized_width, MIN_DECODED_RATIO * resized_height


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, or UPRIGHT if it is absent or cannot be read, for whatever reason."""
    with suppress(Exception):
        return int(image.getexif().get(ORIENTATION, UPRIGHT))
    return UPRIGHT


def _rgb(image: Image.Image) -> Image.Image:
    """Convert an image of any mode to RGB; 16-bit grey keeps its upper eight bits, which Pillow alone would clip."""
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image).clip(0, 65535) // 256).astype(np.uint8)).convert("RGB")
    return image.convert("RGB")


def _resized(size: tuple[int, int]) -> tuple[int, int]:
    width, height = size
    shorter = min(width, height)
    return RESIZE * width // shorter, RESIZE * height // shorter


def _central_crop(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return the central 224 x 224 of the resized image. size: the image's full size, before decoding it smaller."""
    wide, high = _resized(size)
    left, top = round((wide - CROP) / 2), round((high - CROP) / 2)
    if image.size == size:
        # Pillow resizes horizontally, then vertically; cropping between the two gives the same bits for less work.
        across = image.resize((wide, image.height), Image.Resampling.BILINEAR)
        columns = across.crop((left, 0, left + CROP, image.height))
        return columns.resize((CROP, high), Image.Resampling.BILINEAR).crop((0, top, CROP, top + CROP))
    # An image that was decoded smaller is not bit-exact anyway, so only the cropped part is resized.
    across_ratio, down_ratio = image.width / wide, image.height / high
    box = (left * across_ratio, top * down_ratio, (left + CROP) * across_ratio, (top + CROP) * down_ratio)
    return image.resize((CROP, CROP), Image.Resampling.BILINEAR, box=box)


def _normalised(image: Image.Image) -> Tensor:
    """Return (value / 255 - mean) / std, computed in torchvision's order so that rounding is the same."""
    planes = np.empty((1, RGB, CROP, CROP), np.float32)
    planes[0] = np.asarray(image).transpose(2, 0, 1)
    planes /= np.float32(255)
    planes -= MEAN
    planes /= STD
    return planes
