"""The fast engines give the same results as torch with torchvision's own transforms, for the same weights and images."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from function.engines import Engine, Logits, load_engine
from function.images import MEAN, STD, Tensor, preprocess
from function.tools.agreement import agreement, photographs
from function.variants import OPENVINO_FLOAT32, ORT_FLOAT32, ORT_INT8, TORCH_FLOAT32, Variant
from tests.function.test_images import MANY, encoded

MOST_RMS_ERROR = 1e-3

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("torch")]


def loaded(variant: Variant, model_dir: Path) -> Engine:
    return load_engine(variant.engine, model_dir / variant.files[0], 1, variant.precision)


@pytest.fixture(scope="module")
def reference(model_dir: Path) -> Callable[[Path], Logits]:
    """Return a function that computes torch's logits for an image."""
    from torchvision.models import ResNet18_Weights  # noqa: PLC0415

    transform, engine = ResNet18_Weights.IMAGENET1K_V1.transforms(), loaded(TORCH_FLOAT32, model_dir)
    known: dict[Path, Logits] = {}

    def logits(path: Path) -> Logits:
        if path not in known:
            known[path] = engine.infer(transform(Image.open(path).convert("RGB")).numpy()[np.newaxis])
        return known[path]

    return logits


def agrees(logits: Logits, expected: Logits) -> bool:
    error = np.sqrt(np.mean((logits - expected) ** 2)) / expected.std()
    return bool(error <= MOST_RMS_ERROR and logits.argmax() == expected.argmax())


@pytest.fixture(scope="module", params=[ORT_FLOAT32, OPENVINO_FLOAT32], ids=str)
def engine(request: pytest.FixtureRequest, model_dir: Path) -> Engine:
    return loaded(request.param, model_dir)


def all_agree(engine: Engine, reference: Callable[[Path], Logits], folder: Path) -> bool:
    return all(
        agrees(engine.infer(preprocess(path.read_bytes(), MANY, exact=True)), reference(path))
        for path in photographs(folder)
    )


def test_engines_agree_on_the_samples(engine: Engine, reference: Callable[[Path], Logits], samples_dir: Path) -> None:
    assert all_agree(engine, reference, samples_dir)


def test_engines_agree_on_every_shared_image(
    engine: Engine, reference: Callable[[Path], Logits], shared_dir: Path
) -> None:
    assert all_agree(engine, reference, shared_dir / "images")


def test_the_random_weights_give_images_different_classes(
    reference: Callable[[Path], Logits], shared_dir: Path
) -> None:
    assert len({int(reference(path).argmax()) for path in photographs(shared_dir / "images")}) >= 10


def test_a_large_jpeg_decoded_smaller_gets_nearly_the_same_logits(model_dir: Path, shared_dir: Path) -> None:
    engine, errors = loaded(ORT_FLOAT32, model_dir), []
    for path in photographs(shared_dir / "images")[::4]:
        with Image.open(path) as photograph:
            large = encoded(
                photograph.convert("RGB").resize((1920, 1440), Image.Resampling.LANCZOS), "JPEG", quality=85
            )
        whole = engine.infer(preprocess(large, MANY, exact=True))
        errors.append(float(np.sqrt(np.mean((engine.infer(preprocess(large, MANY)) - whole) ** 2)) / whole.std()))
    assert 0 < np.mean(errors) < 0.05


def swapped_channels(image: Tensor) -> Tensor:
    return np.ascontiguousarray(image[:, ::-1])


def not_normalised(image: Tensor) -> Tensor:
    return (image * STD + MEAN).astype(np.float32)


def shifted_crop(image: Tensor) -> Tensor:
    return np.roll(image, 1, axis=3)


@pytest.mark.parametrize("fault", [swapped_channels, not_normalised, shifted_crop])
def test_a_fault_in_pre_processing_shows_on_every_image(
    engine: Engine, reference: Callable[[Path], Logits], samples_dir: Path, fault: Callable[[Tensor], Tensor]
) -> None:
    for path in photographs(samples_dir):
        assert not agrees(engine.infer(fault(preprocess(path.read_bytes(), MANY, exact=True))), reference(path))


def logits(*tops: int) -> list[Logits]:
    """Return four logits for each image, of which that of its class is the highest."""
    return [np.eye(4, dtype=np.float32)[top] for top in tops]


def test_agreement_counts_same_top_classes_and_the_classes_of_the_reference() -> None:
    found = agreement(ORT_INT8, logits(0, 1, 1, 3), logits(0, 1, 2, 3))
    assert (found.engine, found.precision) == ("onnxruntime", "int8")
    assert (found.photographs, found.classes, found.same_top_ratio) == (4, 3, 0.75)


def test_the_error_of_logits_is_in_standard_deviations_of_the_reference() -> None:
    reference = [np.array([0, 4], np.float32), np.array([4, 0], np.float32)]  # their standard deviation is 2
    assert agreement(ORT_INT8, reference, [one + 0.5 for one in reference]).rms_error_ratio == pytest.approx(0.25)
    assert agreement(ORT_INT8, reference, reference).rms_error_ratio == 0
