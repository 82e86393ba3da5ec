"""Content codings of requests (gzip and deflate), decoded within the limit of the body.

Source: RFC 9110, sections 8.4 and 12.5.3; RFC 9112, section 7, for the same codings in Transfer-Encoding.
"""

import zlib
from collections.abc import Mapping
from typing import Final

from function.protocols import RefusedError, shortened

GZIP: Final = ("gzip", "x-gzip")
NONE: Final = ("identity", "chunked", "")  # gunicorn has undone `chunked`
ACCEPTED: Final = "gzip, deflate"
MAX_CODINGS: Final = 2
GZIP_ONLY: Final = 31  # zlib's wbits for the formats: gzip, zlib, and deflate without either's header
ZLIB: Final = 15
RAW: Final = -15


def codings(headers: Mapping[str, str]) -> list[str]:
    """Return the codings of a body, the one to undo first at the front; header names are in lower case."""
    named = f"{headers.get('content-encoding', '')},{headers.get('transfer-encoding', '')}".lower().split(",")
    return [coding for coding in map(str.strip, reversed(named)) if coding not in NONE]


def decoded(body: bytes, names: list[str], max_bytes: int) -> bytes:
    """Undo the codings. Raise RefusedError: 415 for unknown ones, 400 for malformed data, 413 beyond max_bytes."""
    if len(names) > MAX_CODINGS or not set(names) <= {*GZIP, "deflate"}:
        raise RefusedError(
            f"a request may have at most {MAX_CODINGS} codings, each one of {ACCEPTED}, "
            f"got {shortened(', '.join(reversed(names)))}",
            415,
            {"Accept-Encoding": ACCEPTED},
        )
    for name in names:
        wbits = GZIP_ONLY if name in GZIP else _deflate_wbits(body)
        try:
            body = _inflated(body, wbits, max_bytes)
        except zlib.error as error:
            raise RefusedError(f"the body must be {name}, got {shortened(body[:16])}: {error}") from error
    return body


def _deflate_wbits(body: bytes) -> int:
    """Return the format of a deflate body: some clients leave out zlib's header. Source: RFC 1950, section 2.2."""
    is_zlib = len(body) >= 2 and body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0
    return ZLIB if is_zlib else RAW


def _inflated(body: bytes, wbits: int, max_bytes: int) -> bytes:
    """Decompress all members of a gzip file, or one deflate stream. Raise RefusedError beyond max_bytes, zlib.error."""
    inflated = b""
    while True:
        stream = zlib.decompressobj(wbits)
        inflated += stream.decompress(body, max_bytes + 1 - len(inflated))
        if len(inflated) > max_bytes:
            raise RefusedError(f"a request body may have at most {max_bytes} bytes once decoded, got more", 413)
        if not stream.eof:
            raise zlib.error("it ends too early")
        body = stream.unused_data.lstrip(b"\0")
        if not body:
            return inflated
        if wbits != GZIP_ONLY:
            raise zlib.error(f"{len(body)} bytes follow its end")
