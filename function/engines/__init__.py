"""Inference engines behind one Protocol; each is imported only when it is chosen."""

from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Logits = NDArray[np.float32]


class Engine(Protocol):
    """A network that is loaded and ready."""

    def infer(self, image: NDArray[np.float32]) -> Logits:
        """Logits of shape (1000,) for one image of shape (1, 3, 224, 224), float32. Not to be called by two at once."""


def import_engine_module(name: str) -> ModuleType:
    """The engine's own package comes with it."""
    return import_module(f"function.engines.{name}_engine")


def load_engine(name: str, model_file: Path, threads: int, precision: str = "float32") -> Engine:
    """Import and load one engine, with this many threads; model_file is the first of its variant's files."""
    engine: Engine = import_engine_module(name).load(model_file, threads, precision)
    return engine
