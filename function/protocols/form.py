"""Images in a form (multipart/form-data, RFC 7578).

The package multipart parses it. Werkzeug's parser takes eight times as long, because it compiles a regular expression
for the boundary of each form and searches the image with it.
"""

from typing import Final

from multipart import MultipartError, MultipartSegment, ParserLimitReached, PushMultipartParser, parse_options_header

from function.protocols import RefusedError, shortened

FIELD: Final = "file"
MOST_PARTS: Final = 1000


def files(content_type: str, body: bytes) -> tuple[bytes, ...]:
    """Return the files in field FIELD, in their order. Raise RefusedError if there are none or the form is broken."""
    parts = _parts(content_type, body)
    found = tuple(b"".join(pieces) for part, pieces in parts if part.name == FIELD and part.filename is not None)
    if not found:
        names = [f"{part.name}{' (no file name)' * (part.filename is None)}" for part, _ in parts]
        raise RefusedError(f"the form must have a file in field {FIELD!r}, got fields {shortened(names)}")
    return found


def _parts(content_type: str, body: bytes) -> list[tuple[MultipartSegment, list[bytes]]]:
    """Return each part with the pieces of its content."""
    boundary = parse_options_header(content_type)[1].get("boundary", "")
    parts: list[tuple[MultipartSegment, list[bytes]]] = []
    try:
        with PushMultipartParser(boundary, max_segment_count=MOST_PARTS) as parser:
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
