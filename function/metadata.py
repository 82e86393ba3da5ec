"""Removal of metadata from encoded images: what a decoder does not need must not cost the picture.

Pillow reads colour profiles, text, EXIF and the frames of animations while it opens a file, and fails on those that are
malformed or large. Its failures are then tried again without them.
"""

from collections.abc import Callable, Iterator
from typing import Final

PNG: Final = b"\x89PNG\r\n\x1a\n"
PNG_PIXELS: Final = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})
PNG_EXIF: Final = b"eXIf"
JPEG: Final = b"\xff\xd8"
# Markers of segments: APP0 (JFIF) and APP14 (Adobe) name the colour space; APP1 holds EXIF. Source: ITU T.81, B.1.1.3.
APP: Final = range(0xE0, 0xF0)
COMMENT: Final = 0xFE
START_OF_SCAN: Final = 0xDA
COLOUR_SPACES: Final = {0xE0: (b"JFIF\0", 14), 0xEE: (b"Adobe", 12)}  # marker: (identifier, least bytes)
EXIF: Final = (0xE1, b"Exif\0\0")

Keep = Callable[[int, bytes], bool]


def reduced(body: bytes) -> Iterator[bytes]:
    """Yield the image with EXIF, which may say how to turn it, as its only metadata, then without any; if shorter."""
    strip = _png if body.startswith(PNG) else _jpeg if body.startswith(JPEG) else None
    least_bytes = len(body)
    for exif in (True, False) if strip else ():
        assert strip is not None
        smaller = strip(body, exif)
        if len(smaller) < least_bytes:
            least_bytes = len(smaller)
            yield smaller


def _png(body: bytes, exif: bool) -> bytes:
    """Keep the chunks with pixels; what follows a malformed length or IEND is dropped. Source: PNG, section 5.3."""
    kept, start = [PNG], len(PNG)
    while start + 12 <= len(body):
        end = start + 12 + int.from_bytes(body[start : start + 4], "big")
        kind = body[start + 4 : start + 8]
        if kind in PNG_PIXELS or (exif and kind == PNG_EXIF):
            kept.append(body[start:end])
        if kind == b"IEND":
            break
        start = end
    return b"".join(kept)


def _jpeg(body: bytes, exif: bool) -> bytes:
    """Keep all but comments and application segments up to the first scan. Source: ITU T.81, B.1.1."""
    kept, start = [JPEG], len(JPEG)
    while start + 4 <= len(body) and body[start] == 0xFF and body[start + 1] != START_OF_SCAN:
        marker = body[start + 1]
        if marker == 0xFF:  # fill bytes may precede a marker
            start += 1
            continue
        end = start + 2 + int.from_bytes(body[start + 2 : start + 4], "big")
        if _needed(marker, body[start + 4 : end], exif):
            kept.append(body[start:end])
        start = end
    kept.append(body[start:])
    return b"".join(kept)


def _needed(marker: int, content: bytes, exif: bool) -> bool:
    if marker in COLOUR_SPACES:
        identifier, least_bytes = COLOUR_SPACES[marker]
        return content.startswith(identifier) and len(content) >= least_bytes
    if exif and marker == EXIF[0]:
        return content.startswith(EXIF[1])
    return marker not in APP and marker != COMMENT
