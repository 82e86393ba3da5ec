"""ONNX Runtime on the CPU."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from function.engines import FILES, Logits


class OnnxRuntimeEngine:
    """One session."""

    def __init__(self, model_dir: Path, threads: int) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        path = str(model_dir / FILES["onnxruntime"][0])
        self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def infer(self, image: NDArray[np.float32]) -> Logits:
        logits: Logits = self._session.run(None, {self._input: image})[0][0]
        return logits


def load(model_dir: Path, threads: int) -> OnnxRuntimeEngine:
    return OnnxRuntimeEngine(model_dir, threads)
