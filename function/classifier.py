"""Classification of an image into ranked labels, and the check of the engine's first inference."""

import json
import time
from contextlib import nullcontext
from threading import Lock
from typing import Protocol

import numpy as np

from function.cpu import this_quota, threads_for
from function.engines import Engine, Logits, import_engine_module, load_engine
from function.images import Tensor, open_image
from function.manifest import LABELS, Manifest, ModelError
from function.plan import ModelPlan
from function.types import TOP, Classification, ModelInfo, Ranked, Timing
from function.variants import Variant

CLASSES = 1000
# Largest RMS error of the warm-up's logits, in standard deviations of torch's logits: float32 may differ by rounding,
# and int8 by its usual error, but a wrong result must not pass.
MAX_PROBE_ERROR = {"float32": 0.01, "bfloat16": 0.2, "int8": 0.6}
# Larger images are decoded one at a time: decoding four of the largest at once would take 1.6 GB, beyond a pod's limit.
LARGE_PIXELS = 4_000_000


class Classifier(Protocol):
    """The interface that the server needs; tests pass a fake."""

    @property
    def model(self) -> ModelInfo: ...

    def classify(self, body: bytes) -> Classification: ...


class ImageClassifier:
    """One engine that runs one inference at a time, because two at once on a pod's one CPU would both be late."""

    def __init__(
        self, engine: Engine, labels: list[str], model: ModelInfo, max_pixels: int, pad_service_s: float
    ) -> None:
        self.model = model
        self._engine, self._labels = engine, labels
        self._max_pixels, self._pad_service_s = max_pixels, pad_service_s
        self._slot, self._large_slot = Lock(), Lock()

    def classify(self, body: bytes) -> Classification:
        """Classify an encoded image. Raise ImageError if the bytes are not an image that can be classified."""
        began_s = time.perf_counter()
        opened = open_image(body, self._max_pixels)
        pre_s = time.perf_counter() - began_s
        with self._large_slot if opened.pixels > LARGE_PIXELS else nullcontext():
            began_s = time.perf_counter()
            image = opened.tensor()
            pre_s += time.perf_counter() - began_s
        with self._slot:
            began_s = time.perf_counter()
            logits = self._engine.infer(image)
            pad_s = self._pad_service_s - pre_s - (time.perf_counter() - began_s)
            if pad_s > 0:
                time.sleep(pad_s)
        inferred_s = time.perf_counter()
        top = ranked(logits, self._labels)
        timing = Timing(pre_s, inferred_s - began_s, time.perf_counter() - inferred_s)
        return Classification(top, timing, opened.pixels)


def ranked(logits: Logits, labels: list[str]) -> tuple[Ranked, ...]:
    """Return the TOP labels by softmax; logits have shape (len(labels),)."""
    exponentials = np.exp(logits - logits.max())
    confidences = exponentials / exponentials.sum()
    best = np.argsort(-confidences, kind="stable")[:TOP]
    return tuple(Ranked(labels[index], float(confidences[index])) for index in best)


def load_planned(plan: ModelPlan, threads: int) -> Engine:
    """Load the plan's files into its engine; threads 0 means as many as the pod's CPU quota allows."""
    variant = plan.choice.variant
    return load_engine(
        variant.engine, plan.model_dir / plan.files[0], threads or threads_for(this_quota()), variant.precision
    )


def import_engine(plan: ModelPlan) -> None:
    """Import the engine's module ahead of load_planned()."""
    import_engine_module(plan.choice.variant.engine)


def classifier_of(plan: ModelPlan, engine: Engine, max_pixels: int, pad_service_s: float) -> ImageClassifier:
    """Return the classifier around a loaded engine. Raise ModelError unless there is a label for each class."""
    try:
        labels = json.loads((plan.model_dir / LABELS).read_text())
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read labels from {plan.model_dir / LABELS}: {error}") from error
    if not isinstance(labels, list) or len(labels) != CLASSES:
        found = f"{len(labels)} elements" if isinstance(labels, list | dict) else repr(labels)[:60]
        raise ModelError(f"{plan.model_dir / LABELS} must be a list of {CLASSES} labels, got {found}")
    manifest, variant = plan.manifest, plan.choice.variant
    info = ModelInfo(manifest.name, manifest.version, manifest.weights, variant.engine, variant.precision)
    return ImageClassifier(engine, labels, info, max_pixels, pad_service_s)


def probe() -> Tensor:
    """Return the input of the warm-up, which is fixed so that torch's logits for it can be recorded at export."""
    ramp = np.linspace(-2, 2, 3 * 224 * 224, dtype=np.float32)
    return np.sin(37 * ramp).reshape(1, 3, 224, 224)


def check_probe(logits: Logits, variant: Variant, manifest: Manifest) -> None:
    """Raise ModelError if the first logits differ from torch's by more than the precision explains.

    This finds a prepared file on the wrong CPU, or a broken build of an engine, before the pod serves a request.
    """
    expected = np.array(manifest.probe_logits, np.float32)
    if not expected.size:
        return
    error_ratio = float(np.sqrt(np.mean((logits[: expected.size] - expected) ** 2)) / expected.std())
    max_ratio = MAX_PROBE_ERROR[variant.precision]
    if not error_ratio <= max_ratio:
        raise ModelError(
            f"{variant} fails the warm-up check: the RMS error of its logits against torch's must be at most "
            f"{max_ratio:g} standard deviations, got {error_ratio:.2g}"
        )
