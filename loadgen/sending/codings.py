"""Content codings of responses: a body is decoded where it is read, not where it would delay a send.

Source: RFC 9110, 8.4 (Content-Encoding).
"""

import zlib

# A response that is larger than this when decoded is not read.
MOST_DECODED_BYTES = 64 * 2**20
# 32 + 15: zlib and gzip by their headers; -15: deflate without a header, as some servers send it.
WINDOWS = {"gzip": (47,), "x-gzip": (47,), "deflate": (47, -15)}


class CodingError(ValueError):
    """A body that is not what its Content-Encoding says; the text names the coding."""


def decoded(content: bytes, codings: str) -> bytes:
    """Return the content without its codings; what is neither gzip nor deflate is left as it is.

    Raises CodingError if the content is not coded in that way or is too large.
    """
    for coding in reversed(codings.lower().replace(" ", "").split(",") if content else []):
        content = _inflated(content, coding) if coding in WINDOWS else content
    return content


def _inflated(content: bytes, coding: str) -> bytes:
    reason = ""
    for window in WINDOWS[coding]:
        inflater = zlib.decompressobj(window)
        try:
            found = inflater.decompress(content, MOST_DECODED_BYTES)
        except zlib.error as error:
            reason = str(error)
            continue
        if inflater.eof:
            return found
        reason = "it is cut off" if len(found) < MOST_DECODED_BYTES else f"it exceeds {MOST_DECODED_BYTES} bytes"
    raise CodingError(f"the body is not {coding} as its Content-Encoding says: {reason}")
