"""Inference engines behind one Protocol. Only the chosen engine is imported."""

from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Logits = NDArray[np.float32]


class Engine(Protocol):
    """A loaded network that is ready for inference."""

    def infer(self, image: NDArray[np.float32]) -> Logits:
        """Return logits of shape (1000,) for one float32 image of shape (1, 3, 224, 224). Not thread-safe."""


def import_engine_module(name: str) -> ModuleType:
    """Import the module of one engine, which imports the engine's own package."""
    return import_module(f"function.engines.{name}_engine")


def load_engine(name: str, model_file: Path, threads: int, precision: str = "float32") -> Engine:
    """Import and load one engine with this many threads; model_file is the first file of its variant."""
    engine: Engine = import_engine_module(name).load(model_file, threads, precision)
    return engine
