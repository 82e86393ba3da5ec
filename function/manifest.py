"""The manifest that function.tools.export writes beside a model's files; only files with a listed hash are loaded."""

import hashlib
import json
import mmap
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
LABELS = "labels.json"
# The gate: the least share of images with the same top class as torch, and the least number of different classes that
# torch itself must predict for the comparison to count.
MIN_SAME_TOP_RATIO = 0.99
MIN_CLASSES = 10


class ModelError(Exception):
    """The model's files are missing or differ from the manifest; the text names the file."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far one engine and precision agreed with torch in float32 on a folder of images.

    classes: number of different top classes that torch predicted.
    same_top_ratio: share of images with the same top class, 0 to 1.
    rms_error_ratio: root mean square error of the logits over the standard deviation of torch's.
    """

    engine: str
    precision: str
    photographs: int
    classes: int
    same_top_ratio: float
    rms_error_ratio: float

    @property
    def judged(self) -> bool:
        """Whether torch predicted enough different classes for the agreement to mean something."""
        return self.classes >= MIN_CLASSES

    @property
    def passed(self) -> bool:
        return self.judged and self.same_top_ratio >= MIN_SAME_TOP_RATIO

    def __str__(self) -> str:
        if not self.judged:
            return f"not judged: torch must predict at least {MIN_CLASSES} different classes, got {self.classes}"
        return f"same top class as torch on {100 * self.same_top_ratio:.1f} % of {self.photographs} images"


@dataclass(frozen=True, slots=True)
class Prepared:
    """The CPU features and ONNX Runtime version that wrote the prepared file; it is loaded only where both match."""

    cpu: tuple[str, ...]
    engine_version: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is known of a model folder.

    sha256: hexadecimal hash of each file, by file name.
    probe_logits: the first few of torch's logits for the warm-up input.
    """

    name: str
    version: str
    weights: str
    sha256: dict[str, str]
    probe_logits: tuple[float, ...] = ()
    prepared: Prepared | None = None
    agreements: tuple[Agreement, ...] = ()

    def agreement(self, engine: str, precision: str) -> Agreement | None:
        """Return the latest measured agreement; None if it was never measured."""
        return next((one for one in self.agreements if (one.engine, one.precision) == (engine, precision)), None)

    def with_agreements(self, measured: list[Agreement]) -> "Manifest":
        """Return a manifest with these agreements, which replace earlier ones of the same engine and precision."""
        now = {(one.engine, one.precision) for one in measured}
        kept = [one for one in self.agreements if (one.engine, one.precision) not in now]
        return replace(self, agreements=(*kept, *measured))

    def without_agreements(self, precision: str) -> "Manifest":
        """Return a manifest without the agreements of this precision, whose file has changed for all engines."""
        return replace(self, agreements=tuple(one for one in self.agreements if one.precision != precision))

    def with_files(self, model_dir: Path, *names: str) -> "Manifest":
        """Return a manifest with the current hashes of these files."""
        return replace(self, sha256={**self.sha256, **{name: sha256(model_dir / name) for name in names}})


def read_manifest(model_dir: Path) -> Manifest:
    """Read a folder's manifest. Raise ModelError if it is missing or malformed."""
    try:
        document = json.loads((model_dir / MANIFEST).read_text())
        return _manifest(document)
    except FileNotFoundError as error:
        raise ModelError(
            f"no model in {model_dir}: {MANIFEST} is missing; create it with: "
            f"python -m function.tools.export --out {model_dir}"
        ) from error
    except OSError as error:
        raise ModelError(f"cannot read {model_dir / MANIFEST}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{model_dir / MANIFEST} was not written by function.tools.export: {error!r}") from error


def _manifest(document: dict[str, Any]) -> Manifest:
    prepared = document.get("prepared")
    return Manifest(
        name=document["name"],
        version=document["version"],
        weights=document["weights"],
        sha256=dict(document["sha256"]),
        probe_logits=tuple(float(logit) for logit in document.get("probe_logits", ())),
        prepared=Prepared(tuple(prepared["cpu"]), prepared["engine_version"]) if prepared else None,
        agreements=tuple(Agreement(**one) for one in document.get("agreements", ())),
    )


def write_manifest(manifest: Manifest, model_dir: Path) -> None:
    """Write the manifest atomically, so that a reader finds either the old or the new one."""
    new = model_dir / f"{MANIFEST}.new"
    new.write_text(json.dumps(asdict(manifest), indent=1) + "\n")
    new.replace(model_dir / MANIFEST)


def verify(path: Path, manifest: Manifest) -> None:
    """Raise ModelError if the file is missing or its hash differs from the manifest."""
    try:
        found = sha256(path)
    except FileNotFoundError as error:
        raise ModelError(f"{path} is missing") from error
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}") from error
    expected = manifest.sha256.get(path.name)
    if expected is None:
        raise ModelError(f"{path} is not listed in {MANIFEST}")
    if found != expected:
        raise ModelError(f"{path} must have SHA-256 {expected[:12]}... as in {MANIFEST}, got {found[:12]}...")


def sha256(path: Path) -> str:
    """Return the file's SHA-256, hashed in one call that releases the interpreter lock.

    Hashing piece by piece would wait for the lock after each piece while another thread imports modules.
    """
    with path.open("rb") as file:
        if not path.stat().st_size:  # an empty file cannot be mapped
            return hashlib.sha256().hexdigest()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            return hashlib.sha256(mapped).hexdigest()
