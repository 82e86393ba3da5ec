"""Images of a folder, read and checked once before a run."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from loadgen.errors import InputError

TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}


class ImageFilesError(InputError):
    """A folder without images that can be sent."""


@dataclass(frozen=True, slots=True)
class ImageFile:
    """The unchanged content of an image file."""

    name: str
    content_type: str
    content: bytes


def load_images(folder: Path, report: Callable[[str], None]) -> tuple[ImageFile, ...]:
    """Return every PNG, JPG and JPEG of the folder; report unreadable files and skip them.

    Raises ImageFilesError if no image is left.
    """
    if not folder.is_dir():
        raise ImageFilesError(f"--images must be a folder, got {folder}")
    images = []
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in TYPES or not path.is_file():
            continue
        content = path.read_bytes()
        if fault := _fault(content):
            report(f"{path}: skipped: {fault}")
        else:
            images.append(ImageFile(path.name, TYPES[path.suffix.lower()], content))
    if not images:
        raise ImageFilesError(f"--images must contain a readable PNG, JPG or JPEG file, got {folder}")
    return tuple(images)


def _fault(content: bytes) -> str | None:
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return str(error).replace("\n", " ")
    return None
