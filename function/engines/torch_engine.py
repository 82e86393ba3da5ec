"""torch, eager: the reference that the others are held against."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.models import resnet18

from function.engines import FILES, Logits


class TorchEngine:
    """The network in evaluation mode."""

    def __init__(self, model_dir: Path, threads: int) -> None:
        torch.set_num_threads(threads)
        self._network = resnet18(weights=None)
        self._network.load_state_dict(torch.load(model_dir / FILES["torch"][0], weights_only=True))
        self._network.eval()

    def infer(self, image: NDArray[np.float32]) -> Logits:
        with torch.inference_mode():
            logits: Logits = self._network(torch.from_numpy(image)).numpy()[0]
        return logits


def load(model_dir: Path, threads: int) -> TorchEngine:
    return TorchEngine(model_dir, threads)
