"""Images of a folder or a file, read and checked once before a run."""

import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from loadgen.errors import InputError

TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}
# All images are kept in memory, as requests.
MOST_BYTES = 2**30


class ImageFilesError(InputError):
    """A folder or file without images that can be sent."""


@dataclass(frozen=True, slots=True)
class ImageFile:
    """The unchanged content of an image file."""

    name: str
    content_type: str
    content: bytes


def load_images(source: Path, report: Callable[[str], None]) -> tuple[ImageFile, ...]:
    """Return every PNG, JPG and JPEG of a folder and its subfolders, or one file; report and skip unreadable ones.

    Raises ImageFilesError if no image is left, or if they are too large to be kept in memory.
    """
    if not source.is_dir() and not source.is_file():
        raise ImageFilesError(f"--images must be a folder or an image file, got {source}")
    images, size_bytes = [], 0
    for path in _image_paths(source):
        size_bytes += path.stat().st_size
        if size_bytes > MOST_BYTES:
            raise ImageFilesError(f"--images must have at most {MOST_BYTES} bytes, got more in {source}")
        content = path.read_bytes()
        if fault := _fault(content):
            report(f"{path}: skipped: {fault}")
        else:
            images.append(ImageFile(path.name, TYPES[path.suffix.lower()], content))
    if not images:
        raise ImageFilesError(f"--images must contain a readable PNG, JPG or JPEG file, got {source}")
    return tuple(images)


def _image_paths(source: Path) -> Iterator[Path]:
    """Yield the files in order; neither links to folders nor hidden folders, which repeat the files of a ConfigMap."""
    if source.is_file():
        if source.suffix.lower() in TYPES:
            yield source
        return
    for folder, subfolders, names in os.walk(source):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for path in (Path(folder, name) for name in sorted(names)):
            if path.suffix.lower() in TYPES and path.is_file():
                yield path


def _fault(content: bytes) -> str | None:
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return str(error).replace("\n", " ")
    return None
