"""Engines and precisions: what files each reads, and which of them `auto` means on this machine."""

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from function.cpu import FAST_BFLOAT16, VNNI
from function.manifest import Agreement, Manifest, ModelError

AUTO = "auto"
FLOAT32 = "float32"
PREPARED = ("resnet18.prepared.onnx", "resnet18.prepared.onnx.data")
INT8 = "resnet18.int8.onnx"
MAKE_INT8 = "python -m function.tools.export --int8 --calibrate DIR"


@dataclass(frozen=True, slots=True)
class Variant:
    """One engine in one precision; of its files the first is opened, and names the others."""

    engine: str
    precision: str
    files: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.engine} {self.precision}"


ORT_FLOAT32 = Variant("onnxruntime", FLOAT32, ("resnet18.onnx", "resnet18.onnx.data"))
ORT_INT8 = Variant("onnxruntime", "int8", (INT8,))
OPENVINO_FLOAT32 = Variant("openvino", FLOAT32, ("resnet18.xml", "resnet18.bin"))
OPENVINO_BFLOAT16 = Variant("openvino", "bfloat16", OPENVINO_FLOAT32.files)
OPENVINO_INT8 = Variant("openvino", "int8", (INT8,))
TORCH_FLOAT32 = Variant("torch", FLOAT32, ("resnet18.pth",))
TORCH_BFLOAT16 = Variant("torch", "bfloat16", TORCH_FLOAT32.files)

# In the order of preference within a precision. ONNX Runtime first: as fast as OpenVINO in float32, and half the start.
VARIANTS = (
    ORT_FLOAT32,
    OPENVINO_FLOAT32,
    TORCH_FLOAT32,
    ORT_INT8,
    OPENVINO_INT8,
    OPENVINO_BFLOAT16,
    TORCH_BFLOAT16,
)
ENGINES = tuple(dict.fromkeys(variant.engine for variant in VARIANTS))
PRECISIONS = tuple(dict.fromkeys(variant.precision for variant in VARIANTS))


@dataclass(frozen=True, slots=True)
class Host:
    """What can be chosen from: packages that are installed, what the CPU does, and the files that are there."""

    installed: frozenset[str]
    features: frozenset[str]
    files: frozenset[str]


@dataclass(frozen=True, slots=True)
class Choice:
    """The variant, the agreement that speaks for it, and why others that came before it were refused."""

    variant: Variant
    agreement: Agreement | None
    refused: tuple[str, ...] = ()


def choose(engine: str, precision: str, host: Host, manifest: Manifest) -> Choice:
    """The first variant that is asked for, can run here and passes the gate.

    engine: a name, or `auto`. precision: a name, or `auto` for the fastest that this CPU has machine code for.
    What is named in full is taken as it is; the gate is for what was left to us.
    Raises ModelError with each reason if there is none.
    """
    asked = [
        variant
        for variant in _by_preference(precision, host.features)
        if engine in (AUTO, variant.engine) and precision in (AUTO, variant.precision)
    ]
    if not asked:
        known = ", ".join(variant.precision for variant in VARIANTS if variant.engine == engine)
        raise ModelError(f"PRECISION of {engine} must be one of {known}, was {precision!r}")
    gated = AUTO in (engine, precision)
    refused: list[str] = []
    for variant in asked:
        agreement = manifest.agreement(variant.engine, variant.precision)
        reason = lacks(variant, host) or (_fails(variant, agreement) if gated else "")
        if not reason:
            return Choice(variant, agreement, tuple(refused))
        refused.append(f"{variant}: {reason}")
    raise ModelError(f"no engine can be used here: {'; '.join(refused)}")


def _by_preference(precision: str, features: frozenset[str]) -> Iterable[Variant]:
    """Float32 last where the fastest is asked for, and reduced precision only where the CPU multiplies in it."""
    if precision != AUTO:
        return VARIANTS
    reduced = []
    if features & FAST_BFLOAT16:
        reduced += [variant for variant in VARIANTS if variant.precision == "bfloat16"]
    if features & VNNI:
        reduced += [variant for variant in VARIANTS if variant.precision == "int8"]
    return [*reduced, *(variant for variant in VARIANTS if variant.precision == FLOAT32)]


def lacks(variant: Variant, host: Host) -> str:
    """Why the variant cannot run here; empty where it can."""
    if variant.engine not in host.installed:
        return f"the package {variant.engine} is not installed"
    missing = [file for file in variant.files if file not in host.files]
    if missing:
        how = f"; write it with: {MAKE_INT8}" if INT8 in missing else ""
        return f"{missing[0]} is missing{how}"
    return ""


def _fails(variant: Variant, agreement: Agreement | None) -> str:
    """Float32 is the same network until measured otherwise; reduced precision has to prove itself."""
    if agreement is not None and agreement.judged:
        return "" if agreement.passed else f"{agreement}, at least 99 % is the rule"
    if variant.precision == FLOAT32:
        return ""
    why = str(agreement) if agreement else "its agreement with torch was never measured"
    return f"{why}; measure it with: python -m function.tools.matrix --photographs DIR --record"


def this_host(model_dir: Path, features: frozenset[str]) -> Host:
    """Packages are looked for, not imported."""
    installed = frozenset(engine for engine in ENGINES if find_spec(engine) is not None)
    files = frozenset(path.name for path in model_dir.iterdir()) if model_dir.is_dir() else frozenset[str]()
    return Host(installed, features, files)


def may_load_prepared(manifest: Manifest, features: frozenset[str], engine_version: str) -> bool:
    """Whether the prepared file was written by this version of ONNX Runtime for a CPU with the same instructions."""
    prepared = manifest.prepared
    return (
        prepared is not None
        and frozenset(prepared.cpu) == features
        and prepared.engine_version == engine_version
        and all(file in manifest.sha256 for file in PREPARED)
    )
