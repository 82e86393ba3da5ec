"""The encoding of workload files: UTF-8 with or without a byte order mark, or UTF-16 as Windows writes it."""

from pathlib import Path

UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def encoding_of(path: Path) -> str:
    """Return the encoding with which a text file is read; raise OSError if it cannot be read."""
    with path.open("rb") as file:
        return "utf-16" if file.read(2) in UTF16_MARKS else "utf-8-sig"
