"""torch in eager mode, the reference for the other engines."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.models import resnet18

from function.engines import Logits


class TorchEngine:
    """An engine with the network in evaluation mode and its weights mapped from the file."""

    def __init__(self, model_file: Path, threads: int, precision: str) -> None:
        torch.set_num_threads(threads)
        self._type = torch.bfloat16 if precision == "bfloat16" else torch.float32
        self._network = resnet18(weights=None)
        self._network.load_state_dict(torch.load(model_file, weights_only=True, mmap=True), assign=True)
        self._network.eval().to(self._type)

    def infer(self, image: NDArray[np.float32]) -> Logits:
        with torch.inference_mode():
            logits: Logits = self._network(torch.from_numpy(image).to(self._type)).float().numpy()[0]
        return logits


def load(model_file: Path, threads: int, precision: str) -> TorchEngine:
    return TorchEngine(model_file, threads, precision)
