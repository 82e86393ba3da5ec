"""Photographs of a folder as request bodies, made once."""

import io
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}


class ImagesError(ValueError):
    """The folder holds nothing that can be sent."""


@dataclass(frozen=True, slots=True)
class Body:
    """A ready request body of one photograph."""

    name: str
    content_type: str
    content: bytes


def load_images(folder: Path, report: Callable[[str], None]) -> tuple[Body, ...]:
    """Every PNG, JPG and JPEG of the folder as multipart field `file`; broken ones are reported and left out.

    Raises ImagesError if none is left.
    """
    if not folder.is_dir():
        raise ImagesError(f"--images must be a folder, {folder} is none")
    bodies = []
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in TYPES:
            continue
        content = path.read_bytes()
        if fault := _fault(content):
            report(f"{path}: left out: {fault}")
        else:
            bodies.append(multipart(path.name, TYPES[path.suffix.lower()], content))
    if not bodies:
        raise ImagesError(f"no PNG, JPG or JPEG that can be read in {folder}")
    return tuple(bodies)


def multipart(name: str, content_type: str, content: bytes) -> Body:
    """The form that a browser or curl would send for one file.

    Source: RFC 7578.
    """
    boundary = uuid.uuid4().hex
    quoted = name.replace('"', "%22")
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{quoted}"\r\n'
        f"Content-Type: {content_type}\r\n\r\n"
    )
    form = head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
    return Body(name, f"multipart/form-data; boundary={boundary}", form)


def _fault(content: bytes) -> str | None:
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return str(error)
    return None
