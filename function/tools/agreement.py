"""Measurement of how far an engine agrees with torch in float32 on a folder of images."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from function.engines import Logits, load_engine
from function.images import ImageError, Tensor, preprocess
from function.manifest import Agreement
from function.variants import TORCH_FLOAT32, Variant

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif")
MAX_PIXELS = 50_000_000


class NoPhotographsError(Exception):
    """The folder contains no images, or too few; the text names it."""


def photographs(folder: Path) -> list[Path]:
    """Return the images in a folder, sorted by name. Raise NoPhotographsError if there are none."""
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES) if folder.is_dir() else []
    if not found:
        raise NoPhotographsError(f"{folder} must be a folder that contains images ({', '.join(SUFFIXES)})")
    return found


def torch_logits(model_dir: Path, paths: Sequence[Path]) -> list[Logits]:
    """Return the logits of torch in float32, the reference, for each image."""
    return logits_of(TORCH_FLOAT32, model_dir, paths)


def logits_of(variant: Variant, model_dir: Path, paths: Sequence[Path]) -> list[Logits]:
    """Return the variant's logits for each image, computed on one thread from images decoded at full size."""
    engine = load_engine(variant.engine, model_dir / variant.files[0], 1, variant.precision)
    return [engine.infer(tensor(path, exact=True)) for path in paths]


def tensor(path: Path, exact: bool) -> Tensor:
    """Pre-process an image file. Raise ImageError with its path if it cannot be decoded."""
    try:
        return preprocess(path.read_bytes(), MAX_PIXELS, exact)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error


def measured_agreement(
    variant: Variant, model_dir: Path, paths: Sequence[Path], reference: Sequence[Logits]
) -> Agreement:
    """Run the variant on the images and return its agreement with the reference."""
    return agreement(variant, reference, logits_of(variant, model_dir, paths))


def agreement(variant: Variant, reference: Sequence[Logits], found: Sequence[Logits]) -> Agreement:
    """Compare logits; reference and found hold an array of shape (classes,) for each of at least one image."""
    expected, given = np.stack(reference), np.stack(found)
    tops = expected.argmax(axis=1)
    return Agreement(
        engine=variant.engine,
        precision=variant.precision,
        photographs=len(tops),
        classes=len(set(tops.tolist())),
        same_top_ratio=float(np.mean(given.argmax(axis=1) == tops)),
        rms_error_ratio=float(np.sqrt(np.mean((given - expected) ** 2)) / expected.std()),
    )
