"""OpenVINO on the CPU: the fastest here."""

from pathlib import Path

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from function.engines import FILES, Logits


class OpenVinoEngine:
    """One compiled model and one request of it."""

    def __init__(self, model_dir: Path, threads: int) -> None:
        # f32 is asked for: on CPUs with AMX the default would be bfloat16
        settings = {
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,
        }
        core = ov.Core()
        model = core.read_model(model_dir / FILES["openvino"][0])
        self._request = core.compile_model(model, "CPU", settings).create_infer_request()

    def infer(self, image: NDArray[np.float32]) -> Logits:
        self._request.infer([image], share_inputs=True)
        logits: Logits = self._request.get_output_tensor(0).data[0].copy()
        return logits


def load(model_dir: Path, threads: int) -> OpenVinoEngine:
    return OpenVinoEngine(model_dir, threads)
