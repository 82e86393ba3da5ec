"""Image to ranked labels, with the model's files verified before they are trusted."""

import hashlib
import json
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Protocol

import numpy as np

from function.engines import FILES, Engine, Logits, first_installed, load_engine
from function.images import pixels, preprocess

TOP = 5
# Larger images are decoded one at a time: four of the largest at once would take 1.6 GB, more than a pod may have.
LARGE_PIXELS = 4_000_000


class ModelError(Exception):
    """The model's files are missing or not what the manifest says; the text names the file."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What every answer says of the model."""

    name: str
    version: str
    weights: str
    engine: str


@dataclass(frozen=True, slots=True)
class Ranked:
    """One label with its confidence, 0 to 1."""

    label: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of one classification: decoding and resizing, the network (and its padding), ranking."""

    pre_s: float
    infer_s: float
    post_s: float


@dataclass(frozen=True, slots=True)
class Classification:
    """The labels, likeliest first, how long it took, and the image's width times height."""

    top: tuple[Ranked, ...]
    timing: Timing
    pixels: int


class Classifier(Protocol):
    """What the server needs; tests pass a fake."""

    @property
    def model(self) -> ModelInfo: ...

    def classify(self, body: bytes) -> Classification: ...


class ImageClassifier:
    """One engine, one inference at a time: a pod has one CPU, and two at once would both be late."""

    def __init__(
        self, engine: Engine, labels: list[str], model: ModelInfo, max_pixels: int, pad_service_s: float
    ) -> None:
        self.model = model
        self._engine, self._labels = engine, labels
        self._max_pixels, self._pad_service_s = max_pixels, pad_service_s
        self._slot, self._large_slot = Lock(), Lock()

    def classify(self, body: bytes) -> Classification:
        """Raises ImageError for bytes that are no photograph."""
        began_s = time.perf_counter()
        size_pixels = pixels(body)
        with self._large_slot if size_pixels > LARGE_PIXELS else nullcontext():
            image = preprocess(body, self._max_pixels)
        decoded_s = time.perf_counter()
        with self._slot:
            logits = self._engine.infer(image)
            pad_s = self._pad_service_s - (time.perf_counter() - began_s)
            if pad_s > 0:
                time.sleep(pad_s)
        inferred_s = time.perf_counter()
        top = ranked(logits, self._labels)
        timing = Timing(decoded_s - began_s, inferred_s - decoded_s, time.perf_counter() - inferred_s)
        return Classification(top, timing, size_pixels)


def ranked(logits: Logits, labels: list[str]) -> tuple[Ranked, ...]:
    """The TOP labels by softmax; logits of shape (len(labels),)."""
    odds = np.exp(logits - logits.max())
    confidences = odds / odds.sum()
    best = np.argsort(-confidences, kind="stable")[:TOP]
    return tuple(Ranked(labels[index], float(confidences[index])) for index in best)


def load_classifier(
    model_dir: Path, engine: str, threads: int, max_pixels: int, pad_service_s: float
) -> ImageClassifier:
    """Verify, load, and run one inference so that the first request finds everything warm.

    Raises ModelError if a file is missing or its hash is not the manifest's.
    """
    name = first_installed() if engine == "auto" else engine
    manifest = _manifest(model_dir)
    for file in ("labels.json", *FILES[name]):
        _verify(model_dir / file, manifest)
    labels = json.loads((model_dir / "labels.json").read_text())
    loaded = load_engine(name, model_dir, threads)
    loaded.infer(np.zeros((1, 3, 224, 224), np.float32))
    info = ModelInfo(manifest["name"], manifest["version"], manifest["weights"], name)
    return ImageClassifier(loaded, labels, info, max_pixels, pad_service_s)


def _manifest(model_dir: Path) -> dict[str, str]:
    try:
        document = json.loads((model_dir / "manifest.json").read_text())
        return {**document["sha256"], **{key: document[key] for key in ("name", "version", "weights")}}
    except FileNotFoundError as error:
        raise ModelError(
            f"no model in {model_dir} (no manifest.json); write one with: python -m function.export --out {model_dir}"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{model_dir}/manifest.json is not what function.export writes: {error!r}") from error


def _verify(path: Path, manifest: dict[str, str]) -> None:
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise ModelError(f"{path} is missing") from error
    expected = manifest.get(path.name, "nothing of it")
    if found != expected:
        raise ModelError(f"{path} has SHA-256 {found[:12]}..., the manifest says {expected[:12]}...")
