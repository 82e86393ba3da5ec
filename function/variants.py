"""Engines and precisions: the files that each reads, and the choice that `auto` makes on this machine."""

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from function.cpu import FAST_BFLOAT16, VNNI
from function.manifest import MIN_SAME_TOP_RATIO, Agreement, Manifest, ModelError

AUTO = "auto"
FLOAT32 = "float32"
PREPARED = ("resnet18.prepared.onnx", "resnet18.prepared.onnx.data")
INT8 = "resnet18.int8.onnx"
MAKE_INT8 = "python -m function.tools.export --int8 --calibrate DIR"


@dataclass(frozen=True, slots=True)
class Variant:
    """One engine in one precision. Its first file is opened by name and refers to the others."""

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

# In order of preference within a precision. ONNX Runtime is first because it is as fast as OpenVINO in float32 and
# starts in half the time.
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
    """What a machine offers: installed engines, CPU features, and the files in the model folder."""

    installed: frozenset[str]
    features: frozenset[str]
    files: frozenset[str]


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen variant, its measured agreement, and why preferred variants were refused."""

    variant: Variant
    agreement: Agreement | None
    refused: tuple[str, ...] = ()


def choose(engine: str, precision: str, host: Host, manifest: Manifest) -> Choice:
    """Return the first variant that matches, can run here and passes the gate.

    engine: a name, or `auto`. precision: a name, or `auto` for the fastest that this CPU supports in hardware.
    The gate applies only if engine or precision is `auto`; a variant named in full is used as it is.
    Raise ModelError with the reason for each variant if none can be used.
    """
    matching = [
        variant
        for variant in _by_preference(precision, host.features)
        if engine in (AUTO, variant.engine) and precision in (AUTO, variant.precision)
    ]
    if not matching:
        known = ", ".join(variant.precision for variant in VARIANTS if variant.engine == engine)
        raise ModelError(f"PRECISION must be one of {known} for ENGINE={engine}, got {precision!r}")
    gated = AUTO in (engine, precision)
    refused: list[str] = []
    for variant in matching:
        agreement = manifest.agreement(variant.engine, variant.precision)
        reason = lacks(variant, host) or (_fails(variant, agreement) if gated else "")
        if not reason:
            return Choice(variant, agreement, tuple(refused))
        refused.append(f"{variant}: {reason}")
    raise ModelError(f"no engine can run here: {'; '.join(refused)}")


def _by_preference(precision: str, features: frozenset[str]) -> Iterable[Variant]:
    """Return the variants, most preferred first.

    With precision `auto`, reduced precisions that the CPU computes in hardware come first, then float32.
    """
    if precision != AUTO:
        return VARIANTS
    reduced = []
    if features & FAST_BFLOAT16:
        reduced += [variant for variant in VARIANTS if variant.precision == "bfloat16"]
    if features & VNNI:
        reduced += [variant for variant in VARIANTS if variant.precision == "int8"]
    return [*reduced, *(variant for variant in VARIANTS if variant.precision == FLOAT32)]


def lacks(variant: Variant, host: Host) -> str:
    """Return why the variant cannot run here; empty if it can."""
    if variant.engine not in host.installed:
        return f"the package {variant.engine} is not installed"
    missing = [file for file in variant.files if file not in host.files]
    if missing:
        how = f"; create it with: {MAKE_INT8}" if INT8 in missing else ""
        return f"{missing[0]} is missing{how}"
    return ""


def _fails(variant: Variant, agreement: Agreement | None) -> str:
    """Return why the variant fails the gate; empty if it passes.

    Float32 passes unless a measurement shows a difference. Reduced precision passes only if it was measured.
    """
    if agreement is not None and agreement.judged:
        return "" if agreement.passed else f"{agreement}, must be at least {100 * MIN_SAME_TOP_RATIO:g} %"
    if variant.precision == FLOAT32:
        return ""
    reason = str(agreement) if agreement else "its agreement with torch was never measured"
    return f"{reason}; measure it with: python -m function.tools.matrix --photographs DIR --record"


def this_host(model_dir: Path, features: frozenset[str]) -> Host:
    """Return what this machine offers. Engines are looked up without importing them."""
    installed = frozenset(engine for engine in ENGINES if find_spec(engine) is not None)
    files = frozenset(path.name for path in model_dir.iterdir()) if model_dir.is_dir() else frozenset[str]()
    return Host(installed, features, files)


def may_load_prepared(manifest: Manifest, features: frozenset[str], engine_version: str) -> bool:
    """Return whether this version of ONNX Runtime wrote the prepared file on a CPU with the same features."""
    prepared = manifest.prepared
    return (
        prepared is not None
        and frozenset(prepared.cpu) == features
        and prepared.engine_version == engine_version
        and all(file in manifest.sha256 for file in PREPARED)
    )
