"""The fast engines against torch with torchvision's own transforms: same weights, same photographs, same answer."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from function.engines import Engine, Logits, load_engine
from function.images import MEAN, STD, Tensor, preprocess
from tests.function.test_images import MANY, photographs

MOST_RMS_ERROR = 1e-3

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def reference(model_dir: Path) -> Callable[[Path], Logits]:
    """Logits of torch for a photograph."""
    from torchvision.models import ResNet18_Weights  # noqa: PLC0415

    transform, engine = ResNet18_Weights.IMAGENET1K_V1.transforms(), load_engine("torch", model_dir, 1)
    known: dict[Path, Logits] = {}

    def logits(path: Path) -> Logits:
        if path not in known:
            known[path] = engine.infer(transform(Image.open(path).convert("RGB")).numpy()[np.newaxis])
        return known[path]

    return logits


def agrees(logits: Logits, expected: Logits) -> bool:
    error = np.sqrt(np.mean((logits - expected) ** 2)) / expected.std()
    return bool(error <= MOST_RMS_ERROR and logits.argmax() == expected.argmax())


@pytest.fixture(scope="module", params=["onnxruntime", "openvino"])
def engine(request: pytest.FixtureRequest, model_dir: Path) -> Engine:
    return load_engine(request.param, model_dir, 1)


def all_agree(engine: Engine, reference: Callable[[Path], Logits], folder: Path) -> bool:
    return all(
        agrees(engine.infer(preprocess(path.read_bytes(), MANY)), reference(path)) for path in photographs(folder)
    )


def test_on_the_samples(engine: Engine, reference: Callable[[Path], Logits], samples_dir: Path) -> None:
    assert all_agree(engine, reference, samples_dir)


def test_on_every_shared_photograph(engine: Engine, reference: Callable[[Path], Logits], shared_dir: Path) -> None:
    assert all_agree(engine, reference, shared_dir / "images")


def test_the_weights_tell_photographs_apart(reference: Callable[[Path], Logits], shared_dir: Path) -> None:
    assert len({int(reference(path).argmax()) for path in photographs(shared_dir / "images")}) >= 10


def swapped_channels(image: Tensor) -> Tensor:
    return np.ascontiguousarray(image[:, ::-1])


def not_normalised(image: Tensor) -> Tensor:
    return (image * STD[:, None, None] + MEAN[:, None, None]).astype(np.float32)


def shifted_crop(image: Tensor) -> Tensor:
    return np.roll(image, 1, axis=3)


@pytest.mark.parametrize("fault", [swapped_channels, not_normalised, shifted_crop])
def test_a_fault_in_the_pre_processing_would_be_seen_on_each_photograph(
    engine: Engine, reference: Callable[[Path], Logits], samples_dir: Path, fault: Callable[[Tensor], Tensor]
) -> None:
    for path in photographs(samples_dir):
        assert not agrees(engine.infer(fault(preprocess(path.read_bytes(), MANY))), reference(path))
