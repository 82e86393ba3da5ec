"""Photographs in a form, multipart/form-data of RFC 7578.

Read by the package multipart: for the new boundary of each form werkzeug compiles a regular expression and searches the
photograph with it, which takes eight times as long.
"""

from typing import Final

from multipart import MultipartError, MultipartSegment, ParserLimitReached, PushMultipartParser, parse_options_header

from function.protocols import RefusedError, seen

FIELD: Final = "file"
MOST_PARTS: Final = 1000


def files(content_type: str, body: bytes) -> tuple[bytes, ...]:
    """The files in the field FIELD, in their order. Raises RefusedError if there is none, or the form is broken."""
    parts = _parts(content_type, body)
    found = tuple(b"".join(pieces) for part, pieces in parts if part.name == FIELD and part.filename is not None)
    if not found:
        names = [f"{part.name}{' (without a file name)' * (part.filename is None)}" for part, _ in parts]
        raise RefusedError(f"the form must have a file in its field {FIELD!r}; fields found: {seen(names)}")
    return found


def _parts(content_type: str, body: bytes) -> list[tuple[MultipartSegment, list[bytes]]]:
    """Each with the pieces of its content."""
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
            raise RefusedError(f"a form may have {MOST_PARTS} parts, this has more", 413) from error
        raise RefusedError(f"the form is broken: {error}", 413) from error
    except MultipartError as error:
        raise RefusedError(f"the form is broken: {error} (boundary {seen(boundary)}, {len(body)} bytes)") from error
    return parts
