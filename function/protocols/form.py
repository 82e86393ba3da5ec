"""Images in a form (multipart/form-data, RFC 7578).

The package multipart parses it. Werkzeug's parser takes eight times as long, because it compiles a regular expression
for the boundary of each form and searches the image with it.
"""

import re
from typing import Final

from multipart import MultipartError, MultipartSegment, ParserLimitReached, PushMultipartParser, parse_options_header

from function.protocols import RefusedError, from_base64, shortened

FIELD: Final = "file"
MOST_PARTS: Final = 1000
MAX_HEADER_BYTES: Final = 32 * 1024  # of a part: the name of a file may be long
FILENAME: Final = re.compile(r";\s*filename\*\d*\*?\s*=", re.IGNORECASE)
FIRST_LINE: Final = re.compile(rb"(?:\r?\n)?--([^\r\n]{1,200})\r?\n")


def files(content_type: str, body: bytes) -> tuple[bytes, ...]:
    """Return the files in field FIELD, in their order. Raise RefusedError if there are none or the form is broken."""
    parts = _parts(content_type, body)
    found = [(part, _content(part, pieces)) for part, pieces in parts if part.name == FIELD and _is_file(part)]
    if not found:
        names = [f"{part.name}{' (no file name)' * (not _is_file(part))}" for part, _ in parts]
        raise RefusedError(f"the form must have a file in field {FIELD!r}, got fields {shortened(names)}")
    # A browser sends an input that was left empty as a file without name and content.
    filled = tuple(content for part, content in found if content or part.filename)
    if not filled:
        raise RefusedError(f"the form must have a file in field {FIELD!r}, which was left empty")
    return filled


def _is_file(part: MultipartSegment) -> bool:
    """Return whether the part has a file name, also as RFC 5987 and RFC 2231 write it: filename*, filename*0."""
    return part.filename is not None or bool(FILENAME.search(part.header("Content-Disposition", "")))


def _content(part: MultipartSegment, pieces: list[bytes]) -> bytes:
    content = b"".join(pieces)
    if part.header("Content-Transfer-Encoding", "").strip().lower() != "base64":
        return content
    return from_base64(content.decode("latin-1"), f"the file in field {FIELD!r}")


def _boundary(content_type: str, body: bytes) -> str:
    """Return the boundary; where a client has set the content type by hand and left it out, that of the first line."""
    named = parse_options_header(content_type)[1].get("boundary", "")
    first = FIRST_LINE.match(body)
    return named or (first[1].decode("latin-1") if first else "")


def _parts(content_type: str, body: bytes) -> list[tuple[MultipartSegment, list[bytes]]]:
    """Return each part with the pieces of its content."""
    boundary = _boundary(content_type, body)
    parts: list[tuple[MultipartSegment, list[bytes]]] = []
    try:
        with PushMultipartParser(boundary, max_header_size=MAX_HEADER_BYTES, max_segment_count=MOST_PARTS) as parser:
            for event in parser.parse(body):
                if isinstance(event, MultipartSegment):
                    parts.append((event, []))
                elif event:
                    parts[-1][1].append(event)
    except ParserLimitReached as error:
        if len(parts) == MOST_PARTS:
            raise RefusedError(f"a form may have at most {MOST_PARTS} parts, got more", 413) from error
        raise RefusedError(f"malformed form: {error}", 413) from error
    except MultipartError as error:
        raise RefusedError(f"malformed form: {error} (boundary {shortened(boundary)}, {len(body)} bytes)") from error
    return parts
