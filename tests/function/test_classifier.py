"""Ranking, the check of the model's files before they are loaded, and the check of the warm-up."""

import io
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from function.classifier import ImageClassifier, check_probe, classifier_of, probe, ranked
from function.engines import Logits
from function.images import Tensor
from function.manifest import Manifest, ModelError, write_manifest
from function.plan import plan_model
from function.types import ModelInfo
from function.variants import OPENVINO_BFLOAT16, ORT_FLOAT32, ORT_INT8, Variant


def test_labels_are_ranked_by_softmax() -> None:
    top = ranked(np.log(np.array([1, 6, 3, 0.5, 0.5, 0.1], np.float32)), list("abcdef"))
    assert [rank.label for rank in top] == ["b", "c", "a", "d", "e"]
    assert [rank.confidence for rank in top] == pytest.approx([6 / 11.1, 3 / 11.1, 1 / 11.1, 0.5 / 11.1, 0.5 / 11.1])


def test_large_logits_do_not_overflow() -> None:
    assert ranked(np.array([1000, 0], np.float32), ["a", "b"])[0].confidence == pytest.approx(1)


def check(folder: Path) -> None:
    plan_model(folder, "onnxruntime", "float32").verify()


def test_the_error_without_a_manifest_names_the_command_that_creates_it(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"manifest\.json is missing.*function\.tools\.export"):
        check(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_a_malformed_manifest_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ModelError, match=r"manifest\.json was not written by"):
        check(tmp_path)


def manifest(folder: Path, **hashes: str) -> None:
    text = json.dumps({"name": "resnet18", "version": "v", "weights": "w", "sha256": hashes})
    (folder / "manifest.json").write_text(text)


def engine_files(folder: Path) -> None:
    for file in ORT_FLOAT32.files:
        (folder / file).touch()


def test_missing_labels_are_named(tmp_path: Path) -> None:
    engine_files(tmp_path)
    manifest(tmp_path)
    with pytest.raises(ModelError, match=r"labels\.json is missing"):
        check(tmp_path)


def test_a_missing_engine_file_is_named(tmp_path: Path) -> None:
    manifest(tmp_path)
    with pytest.raises(ModelError, match=r"onnxruntime float32: resnet18\.onnx is missing"):
        check(tmp_path)


def test_a_changed_file_is_named(tmp_path: Path) -> None:
    engine_files(tmp_path)
    (tmp_path / "labels.json").write_text("[]")
    manifest(tmp_path, **{"labels.json": "0" * 64})
    with pytest.raises(
        ModelError,
        match=r"labels\.json must have SHA-256 000000000000\.\.\. as in manifest\.json, got 4f53cda18c2b\.\.\.",
    ):
        check(tmp_path)


@pytest.mark.parametrize("text", ["[]", '["a"]', "7", '{"a": 1}'])
def test_there_must_be_a_label_for_each_class(tmp_path: Path, text: str) -> None:
    engine_files(tmp_path)
    (tmp_path / "labels.json").write_text(text)
    about = Manifest("resnet18", "v", "w", {}, probe_logits=())
    write_manifest(about.with_files(tmp_path, "labels.json", *ORT_FLOAT32.files), tmp_path)
    with pytest.raises(ModelError, match=r"labels\.json must be a list of 1000 labels, got"):
        classifier_of(plan_model(tmp_path, "onnxruntime", "float32"), Slow(), 10**8, 0.0)


class Slow:
    """An engine that takes 20 ms."""

    def infer(self, image: Tensor) -> Logits:
        time.sleep(0.02)
        return np.arange(1000, dtype=np.float32)


@pytest.mark.parametrize("pad_s", [0.0, 0.1])
def test_requests_that_wait_for_the_engine_are_padded_and_waiting_does_not_count_as_inference(
    samples_dir: Path, pad_s: float
) -> None:
    body = (samples_dir / "cat.jpg").read_bytes()
    info = ModelInfo("resnet18", "v", "w", "slow")
    classifier = ImageClassifier(Slow(), [str(label) for label in range(1000)], info, 10**8, pad_s)
    began_s = time.perf_counter()
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(classifier.classify, [body] * 4))
    waited_s = time.perf_counter() - began_s
    inferred_s = sum(result.timing.infer_s for result in results)
    assert 4 * 0.02 <= inferred_s <= waited_s
    assert inferred_s + sum(result.timing.pre_s for result in results) >= 4 * pad_s


def test_waiting_for_the_decoding_of_other_large_images_does_not_count_as_preprocessing() -> None:
    encoded = io.BytesIO()
    Image.new("RGB", (2400, 2000)).save(encoded, "PNG", compress_level=1)
    info = ModelInfo("resnet18", "v", "w", "slow")
    classifier = ImageClassifier(Slow(), [str(label) for label in range(1000)], info, 10**8, 0.0)
    began_s = time.perf_counter()
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(classifier.classify, [encoded.getvalue()] * 8))
    # if waiting counted, the sum would be four to five times as long
    assert sum(result.timing.pre_s for result in results) < 1.5 * (time.perf_counter() - began_s)


REFERENCE = Manifest("resnet18", "v", "w", {}, probe_logits=(1.0, -1.0, 1.0, -1.0))  # their standard deviation is 1


@pytest.mark.parametrize(
    ("variant", "off", "right"),
    [
        (ORT_FLOAT32, 0.009, True),
        (ORT_FLOAT32, 0.011, False),
        (OPENVINO_BFLOAT16, 0.19, True),
        (OPENVINO_BFLOAT16, 0.21, False),
        (ORT_INT8, 0.59, True),
        (ORT_INT8, 0.61, False),
        (ORT_INT8, float("nan"), False),
    ],
    ids=str,
)
def test_the_logits_of_the_warm_up_must_be_those_of_torch(variant: Variant, off: float, right: bool) -> None:
    logits = np.array([1, -1, 1, -1, 7], np.float32) + np.float32(off)
    if right:
        check_probe(logits, variant, REFERENCE)
    else:
        with pytest.raises(ModelError, match=f"{variant} fails the warm-up check"):
            check_probe(logits, variant, REFERENCE)


def test_the_input_of_the_warm_up_is_fixed_and_not_uniform() -> None:
    assert (probe() == probe()).all()
    assert probe().shape == (1, 3, 224, 224)
    assert probe().std() > 0.5
