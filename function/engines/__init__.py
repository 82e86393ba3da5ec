"""Inference engines behind one Protocol; each is imported only when it is chosen."""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Logits = NDArray[np.float32]


class Engine(Protocol):
    """A network that is loaded and ready."""

    def infer(self, image: NDArray[np.float32]) -> Logits:
        """Logits of shape (1000,) for one image of shape (1, 3, 224, 224), float32. Not to be called by two at once."""


# The files that each engine reads, the one to open first; `auto` takes the first engine that is installed.
FILES: dict[str, tuple[str, ...]] = {
    "onnxruntime": ("resnet18.onnx", "resnet18.onnx.data"),
    "openvino": ("resnet18.xml", "resnet18.bin"),
    "torch": ("resnet18.pth",),
}


def first_installed() -> str:
    """The engine that `auto` means here: ONNX Runtime starts soonest and is as fast as OpenVINO in float32."""
    return next(name for name in FILES if find_spec(name) is not None)


def load_engine(name: str, model_dir: Path, threads: int) -> Engine:
    """Import and load one engine, with this many threads; float32 throughout."""
    engine: Engine = import_module(f"function.engines.{name}_engine").load(model_dir, threads)
    return engine
