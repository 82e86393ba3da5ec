"""The production path from a model folder to a classifier, for tests and benchmarks."""

from pathlib import Path

from function.classifier import ImageClassifier
from function.config import Config
from function.loading import load_classifier
from function.plan import plan_model
from function.startup import ColdStart


def loaded_classifier(model_dir: Path, precision: str = "float32") -> ImageClassifier:
    """Load a model as a pod does, with ONNX Runtime on one thread."""
    config = Config(model_dir, "onnxruntime", precision, engine_threads=1, max_pixels=10**8)
    return load_classifier(ColdStart(), config, plan_model(model_dir, config.engine, config.precision))
