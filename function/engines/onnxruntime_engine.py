"""ONNX Runtime on the CPU, the engine that starts fastest. The model file determines the precision."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from function.engines import Logits
from function.variants import PREPARED


class OnnxRuntimeEngine:
    """An engine with one ONNX Runtime session."""

    def __init__(self, model_file: Path, threads: int) -> None:
        options = session_options(threads)
        if model_file.name in PREPARED:  # already optimised; its weights are mapped as they are
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._session = ort.InferenceSession(str(model_file), options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def infer(self, image: NDArray[np.float32]) -> Logits:
        logits: Logits = self._session.run(None, {self._input: image})[0][0]
        return logits


def session_options(threads: int) -> ort.SessionOptions:
    """Return options for a session whose threads sleep while idle instead of spinning, and that logs only errors."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def load(model_file: Path, threads: int, precision: str) -> OnnxRuntimeEngine:
    return OnnxRuntimeEngine(model_file, threads)
