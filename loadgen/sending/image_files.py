"""Photographs of a folder, read and looked at once, before the start."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from loadgen.errors import InputError

TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}


class ImageFilesError(InputError):
    """The folder holds nothing that can be sent."""


@dataclass(frozen=True, slots=True)
class ImageFile:
    """One file, as it lies in the folder."""

    name: str
    content_type: str
    content: bytes


def load_images(folder: Path, report: Callable[[str], None]) -> tuple[ImageFile, ...]:
    """Every PNG, JPG and JPEG of the folder; broken ones are reported and left out.

    Raises ImagesError if none is left.
    """
    if not folder.is_dir():
        raise ImageFilesError(f"--images must be a folder, {folder} is none")
    photographs = []
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in TYPES or not path.is_file():
            continue
        content = path.read_bytes()
        if fault := _fault(content):
            report(f"{path}: left out: {fault}")
        else:
            photographs.append(ImageFile(path.name, TYPES[path.suffix.lower()], content))
    if not photographs:
        raise ImageFilesError(f"no PNG, JPG or JPEG that can be read in {folder}")
    return tuple(photographs)


def _fault(content: bytes) -> str | None:
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return str(error).replace("\n", " ")
    return None
