"""Explanations for bytes that are not an image of an allowed format: what they look like, and how to send the image."""

import re
from typing import Final

# Brands of ISO media files, after `ftyp` at byte 4. Source: ISO/IEC 23008-12 (HEIF), AV1 image file format.
BRANDS: Final = {b"heic": "HEIC", b"heix": "HEIC", b"hevc": "HEIC", b"mif1": "HEIF", b"msf1": "HEIF"}
BRANDS_OTHER: Final = {b"avif": "AVIF", b"avis": "AVIF", b"crx ": "a camera's raw file (CR3)"}
STARTS: Final = (
    (rb"II\*\0|MM\0\*", "TIFF, or a camera's raw file"),
    (rb"\xff\x0a|\0\0\0\x0cJXL ", "JPEG XL"),
    (rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", "JPEG 2000"),
    (rb"%PDF-", "PDF"),
    (rb"\0\0[\x01\x02]\0", "an icon (ICO)"),
    (rb"8BPS", "Photoshop"),
    (rb"\x1f\x8b", "gzip; send Content-Encoding: gzip with it"),
    (rb"PK\x03\x04", "a ZIP archive"),
    (rb"--[^\r\n]{1,70}\r?\n[Cc]ontent-", "a form; send its Content-Type, with the boundary"),
    (rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?<svg\b", "SVG"),
    (rb"\s*<(!doctype|html|\?xml)", "HTML or XML"),
    (rb"\s*[\[{]\s*[\"\[{]", "JSON; images in JSON go to /v1/models/NAME:predict or /v2/models/NAME/infer"),
    (rb"(data:|/9j/|iVBORw0KGgo|R0lGOD|UklGR|Qk[0-3])", "base64, which goes to V1 or V2; send the decoded bytes here"),
    (rb"[^/]?(file)?=?@[\w./~-]+\s*$", "a file's name; send the bytes of the file"),
)
MAX_HEAD_BYTES: Final = 300
IMAGE: Final = rb"\xff\xd8\xff|\x89PNG|GIF8|RIFF|BM"
LINE_ENDS_CHANGED: Final = rb"\x89PNG(\n\x1a|\r\n\x1a\r|\r\r\n)"
# The first byte of a JPEG or PNG, replaced or encoded as a character: U+FFFD, U+00FF and U+0089 in UTF-8.
DECODED_AS_TEXT: Final = rb"(\xef\xbf\xbd){2}|\xc3\xbf\xc3\x98\xc3\xbf|(\xef\xbf\xbd|\xc2\x89)PNG"


def described(body: bytes) -> str:
    """Return the first bytes and the format that they suggest, as the continuation of a message."""
    kind = _kind(body[:MAX_HEAD_BYTES])
    return f" starting with {body[:8]!r}" + (f", which looks like {kind}" if kind else "")


def _kind(head: bytes) -> str:
    if head[4:8] == b"ftyp":
        return (BRANDS | BRANDS_OTHER).get(head[8:12], "a video or another ISO media file")
    for start, kind in STARTS:
        if re.match(start, head, re.DOTALL | re.IGNORECASE):
            return kind
    return ""


def mangled(body: bytes) -> str:
    """Return how to send an image that its client has changed as if it were text; empty if it has not."""
    if re.match(IMAGE, body) and not re.search(rb"[\r\n\0]", body):  # curl -d removes all three
        return "; it lacks line feeds and zero bytes, as after curl -d @FILE: use --data-binary @FILE or -F file=@FILE"
    if re.match(LINE_ENDS_CHANGED, body):
        return "; its line ends were changed as in a text, so send the file as binary data"
    if re.match(DECODED_AS_TEXT, body):
        return "; it was decoded as text, so read and send the file as binary data"
    return ""
