"""The variant that ENGINE and PRECISION choose on a machine, and the gate that applies to `auto`."""

from dataclasses import replace

import pytest

from function.manifest import Agreement, Manifest, ModelError, Prepared
from function.variants import (
    ENGINES,
    OPENVINO_BFLOAT16,
    OPENVINO_FLOAT32,
    ORT_FLOAT32,
    ORT_INT8,
    PREPARED,
    TORCH_FLOAT32,
    VARIANTS,
    Host,
    Variant,
    choose,
    may_load_prepared,
)

FILES = frozenset(file for variant in VARIANTS for file in variant.files)
PLAIN, VNNI, AMX = frozenset({"avx2"}), frozenset({"avx2", "avx512_vnni"}), frozenset({"avx512_vnni", "amx_bf16"})
NOTHING_MEASURED = Manifest("resnet18", "v", "w", {})


def host(features: frozenset[str] = PLAIN, installed: tuple[str, ...] = ENGINES, files: frozenset[str] = FILES) -> Host:
    return Host(frozenset(installed), features, files)


def measured(variant: Variant, same_top_ratio: float, classes: int = 30) -> Agreement:
    return Agreement(variant.engine, variant.precision, 100, classes, same_top_ratio, 0.01)


def knows(*agreements: Agreement) -> Manifest:
    return replace(NOTHING_MEASURED, agreements=agreements)


ALL_AGREE = knows(*(measured(variant, 1.0) for variant in VARIANTS))


@pytest.mark.parametrize(
    ("engine", "precision", "features", "chosen"),
    [
        pytest.param("auto", "float32", AMX, ORT_FLOAT32, id="float32 on every CPU"),
        pytest.param("auto", "auto", AMX, OPENVINO_BFLOAT16, id="bfloat16 with AMX"),
        pytest.param("auto", "auto", VNNI, ORT_INT8, id="int8 with VNNI"),
        pytest.param("auto", "auto", PLAIN, ORT_FLOAT32, id="float32 without both"),
        pytest.param("auto", "auto", frozenset({"avx512_bf16"}), ORT_FLOAT32, id="bfloat16 without AMX is slower"),
        pytest.param("auto", "int8", PLAIN, ORT_INT8, id="a named precision on any CPU"),
        pytest.param("auto", "bfloat16", PLAIN, OPENVINO_BFLOAT16, id="the preferred engine with the precision"),
        pytest.param("openvino", "float32", VNNI, OPENVINO_FLOAT32, id="a named engine"),
        pytest.param("openvino", "auto", AMX, OPENVINO_BFLOAT16, id="the fastest of a named engine"),
        pytest.param("torch", "float32", PLAIN, TORCH_FLOAT32, id="torch"),
    ],
)
def test_the_cpu_decides_among_variants_that_agree(
    engine: str, precision: str, features: frozenset[str], chosen: Variant
) -> None:
    assert choose(engine, precision, host(features), ALL_AGREE).variant == chosen


def test_auto_refuses_a_variant_that_agrees_on_less_than_99_percent() -> None:
    choice = choose("auto", "auto", host(VNNI), knows(measured(ORT_INT8, 0.9899), measured(ORT_FLOAT32, 1.0)))
    assert choice.variant == ORT_FLOAT32
    assert (
        "onnxruntime int8: same top class as torch on 99.0 % of 100 images, must be at least 99 %" in choice.refused[0]
    )
    assert choose("auto", "auto", host(VNNI), knows(measured(ORT_INT8, 0.99))).variant == ORT_INT8


def test_auto_refuses_float32_that_was_measured_to_disagree() -> None:
    assert choose("auto", "float32", host(), knows(measured(ORT_FLOAT32, 0.9))).variant == OPENVINO_FLOAT32


def test_reduced_precision_must_have_been_measured_and_float32_need_not() -> None:
    choice = choose("auto", "auto", host(VNNI), NOTHING_MEASURED)
    assert choice.variant == ORT_FLOAT32
    assert "never measured; measure it with: python -m function.tools.matrix" in choice.refused[0]


def test_a_reference_with_fewer_than_10_classes_does_not_count() -> None:
    few = knows(measured(ORT_INT8, 1.0, classes=9), measured(ORT_FLOAT32, 0.5, classes=9))
    choice = choose("auto", "auto", host(VNNI), few)
    assert choice.variant == ORT_FLOAT32
    assert "not judged: torch must predict at least 10 different classes, got 9" in choice.refused[0]
    assert choose("auto", "auto", host(VNNI), knows(measured(ORT_INT8, 1.0, classes=10))).variant == ORT_INT8


def test_a_variant_named_in_full_is_used_and_its_agreement_reported() -> None:
    choice = choose("onnxruntime", "int8", host(), knows(measured(ORT_INT8, 0.8)))
    assert choice.variant == ORT_INT8
    assert choice.agreement is not None
    assert str(choice.agreement) == "same top class as torch on 80.0 % of 100 images"


def test_engines_that_are_not_installed_are_skipped() -> None:
    assert choose("auto", "float32", host(installed=("openvino",)), NOTHING_MEASURED).variant == OPENVINO_FLOAT32


@pytest.mark.parametrize(
    ("engine", "precision", "machine", "words"),
    [
        ("torch", "float32", host(installed=("openvino",)), "torch float32: the package torch is not installed"),
        (
            "onnxruntime",
            "bfloat16",
            host(),
            "PRECISION must be one of float32, int8 for ENGINE=onnxruntime, got 'bfloat16'",
        ),
        ("onnxruntime", "int8", host(files=frozenset()), "resnet18.int8.onnx is missing; create it with: python -m"),
        ("auto", "int8", host(), "onnxruntime int8: its agreement with torch was never measured"),
        ("auto", "float32", host(installed=()), "onnxruntime is not installed; openvino float32: the package openvino"),
    ],
)
def test_the_reason_for_each_refused_variant_is_reported(
    engine: str, precision: str, machine: Host, words: str
) -> None:
    with pytest.raises(ModelError) as caught:
        choose(engine, precision, machine, NOTHING_MEASURED)
    assert words in str(caught.value)


PREPARED_HERE = replace(
    NOTHING_MEASURED, sha256=dict.fromkeys(PREPARED, "0" * 64), prepared=Prepared(("avx2", "fma"), "1.32.0")
)


def test_a_prepared_file_is_only_for_the_same_features_and_version() -> None:
    same = frozenset({"fma", "avx2"})
    assert may_load_prepared(PREPARED_HERE, same, "1.32.0")
    assert not may_load_prepared(PREPARED_HERE, same | {"avx512f"}, "1.32.0")
    assert not may_load_prepared(PREPARED_HERE, same - {"fma"}, "1.32.0")
    assert not may_load_prepared(PREPARED_HERE, same, "1.32.1")
    assert not may_load_prepared(replace(PREPARED_HERE, sha256={}), same, "1.32.0")
    assert not may_load_prepared(NOTHING_MEASURED, same, "1.32.0")
