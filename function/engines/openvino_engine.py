"""OpenVINO on the CPU, which is fast on CPUs with AMX but slow to import."""

from pathlib import Path

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from function.engines import Logits

# f32 is explicit because the default on CPUs with AMX is bfloat16. An int8 file uses float32 between its int8 parts.
HINTS = {"float32": "f32", "int8": "f32", "bfloat16": "bf16"}


class OpenVinoEngine:
    """An engine with one compiled model and one inference request."""

    def __init__(self, model_file: Path, threads: int, precision: str) -> None:
        settings = {
            "INFERENCE_PRECISION_HINT": HINTS[precision],
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,
        }
        core = ov.Core()
        core.set_property({"ENABLE_MMAP": True})
        model = core.read_model(model_file)
        self._request = core.compile_model(model, "CPU", settings).create_infer_request()

    def infer(self, image: NDArray[np.float32]) -> Logits:
        self._request.infer([image], share_inputs=True)
        logits: Logits = self._request.get_output_tensor(0).data[0].copy()
        return logits


def load(model_file: Path, threads: int, precision: str) -> OpenVinoEngine:
    return OpenVinoEngine(model_file, threads, precision)
