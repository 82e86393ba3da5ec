"""Image to ranked labels, with the model's files verified before they are trusted."""

import json
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Protocol

import numpy as np

from function.cpu import this_quota, threads_for
from function.engines import Engine, Logits, import_engine_module, load_engine
from function.images import Tensor, photograph
from function.manifest import LABELS, Manifest, ModelError
from function.plan import ModelPlan, plan_model
from function.variants import FLOAT32, Variant

__all__ = ["Classification", "Classifier", "ImageClassifier", "ModelError", "ModelInfo", "Ranked", "Timing"]

TOP = 5
CLASSES = 1000
# Of the warm-up's logits, in standard deviations of torch's: rounding, and room for int8 to be itself but not nonsense.
MOST_PROBE_ERROR = {"float32": 0.01, "bfloat16": 0.2, "int8": 0.6}
# Larger images are decoded one at a time: four of the largest at once would take 1.6 GB, more than a pod may have.
LARGE_PIXELS = 4_000_000


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What every answer says of the model."""

    name: str
    version: str
    weights: str
    engine: str
    precision: str = FLOAT32


@dataclass(frozen=True, slots=True)
class Ranked:
    """One label with its confidence, 0 to 1."""

    label: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of one classification: decoding and resizing, the network (and its padding), ranking; no waiting."""

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
        read = photograph(body, self._max_pixels)
        with self._large_slot if read.pixels > LARGE_PIXELS else nullcontext():
            image = read.tensor()
        decoded_s = time.perf_counter()
        with self._slot:
            turn_s = time.perf_counter()
            logits = self._engine.infer(image)
            pad_s = self._pad_service_s - (decoded_s - began_s) - (time.perf_counter() - turn_s)
            if pad_s > 0:
                time.sleep(pad_s)
        inferred_s = time.perf_counter()
        top = ranked(logits, self._labels)
        timing = Timing(decoded_s - began_s, inferred_s - turn_s, time.perf_counter() - inferred_s)
        return Classification(top, timing, read.pixels)


def ranked(logits: Logits, labels: list[str]) -> tuple[Ranked, ...]:
    """The TOP labels by softmax; logits of shape (len(labels),)."""
    odds = np.exp(logits - logits.max())
    confidences = odds / odds.sum()
    best = np.argsort(-confidences, kind="stable")[:TOP]
    return tuple(Ranked(labels[index], float(confidences[index])) for index in best)


def load_classifier(
    model_dir: Path, engine: str, threads: int, max_pixels: int, pad_service_s: float, precision: str = FLOAT32
) -> ImageClassifier:
    """Choose, verify, load, and run one inference so that the first request finds everything warm.

    Raises ModelError if a file is missing or its hash is not the manifest's, or no engine can be used.
    """
    plan = plan_model(model_dir, engine, precision)
    plan.verify()
    loaded = load_planned(plan, threads)
    check_probe(loaded.infer(probe()), plan.choice.variant, plan.manifest)
    return classifier_of(plan, loaded, max_pixels, pad_service_s)


def load_planned(plan: ModelPlan, threads: int) -> Engine:
    """The engine with the files of the plan; ENGINE_THREADS 0 is what the pod's CPU quota allows."""
    variant = plan.choice.variant
    return load_engine(
        variant.engine, plan.model_dir / plan.files[0], threads or threads_for(this_quota()), variant.precision
    )


def import_engine(plan: ModelPlan) -> None:
    """Only the module; load_planned() finds it imported."""
    import_engine_module(plan.choice.variant.engine)


def classifier_of(plan: ModelPlan, engine: Engine, max_pixels: int, pad_service_s: float) -> ImageClassifier:
    """What serves. Raises ModelError if there is not a label for each class."""
    try:
        labels = json.loads((plan.model_dir / LABELS).read_text())
    except (OSError, ValueError) as error:
        raise ModelError(f"no labels in {plan.model_dir / LABELS}: {error}") from error
    if not isinstance(labels, list) or len(labels) != CLASSES:
        found = f"{len(labels)} elements" if isinstance(labels, list | dict) else repr(labels)[:60]
        raise ModelError(f"{plan.model_dir / LABELS} must be a list of {CLASSES} labels, has {found}")
    manifest, variant = plan.manifest, plan.choice.variant
    info = ModelInfo(manifest.name, manifest.version, manifest.weights, variant.engine, variant.precision)
    return ImageClassifier(engine, labels, info, max_pixels, pad_service_s)


def probe() -> Tensor:
    """The picture of the warm-up: a fixed one, so that its answer can be known beforehand."""
    ramp = np.linspace(-2, 2, 3 * 224 * 224, dtype=np.float32)
    return np.sin(37 * ramp).reshape(1, 3, 224, 224)


def check_probe(logits: Logits, variant: Variant, manifest: Manifest) -> None:
    """Raises ModelError if the first logits are further from torch's than the precision explains.

    So a prepared file on the wrong CPU, or a broken build of an engine, is found before it answers anybody.
    """
    expected = np.array(manifest.probe_logits, np.float32)
    if not expected.size:
        return
    error_ratio = float(np.sqrt(np.mean((logits[: expected.size] - expected) ** 2)) / expected.std())
    most = MOST_PROBE_ERROR[variant.precision]
    if not error_ratio <= most:
        raise ModelError(
            f"{variant} answers the warm-up wrongly: its logits differ from torch's by {error_ratio:.2g} "
            f"standard deviations, at most {most:g} is the rule"
        )
