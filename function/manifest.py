"""What function.tools.export says of the files it wrote; nothing is loaded whose hash is not in it."""

import hashlib
import json
import mmap
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
LABELS = "labels.json"
# The gate: the share of photographs with torch's top class, over a reference that itself tells this many classes apart.
LEAST_SAME_TOP = 0.99
LEAST_CLASSES = 10


class ModelError(Exception):
    """The model's files are missing or not what the manifest says; the text names the file."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far one engine and precision agreed with torch in float32, over a folder of photographs.

    classes: how many different top classes torch named.
    same_top_ratio: photographs with the same top class, 0 to 1.
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
        """Where torch itself sees nearly one thing everywhere, agreeing with it proves nothing."""
        return self.classes >= LEAST_CLASSES

    @property
    def passed(self) -> bool:
        return self.judged and self.same_top_ratio >= LEAST_SAME_TOP

    def __str__(self) -> str:
        share = f"{100 * self.same_top_ratio:.1f} % the same top class as torch over {self.photographs} photographs"
        return share if self.judged else f"not judged: torch named only {self.classes} classes"


@dataclass(frozen=True, slots=True)
class Prepared:
    """Where ONNX Runtime's prepared file was written: only there may it be loaded."""

    cpu: tuple[str, ...]
    engine_version: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """sha256: file name to hexadecimal digits. probe_logits: what torch answers to the warm-up, the first few."""

    name: str
    version: str
    weights: str
    sha256: dict[str, str]
    probe_logits: tuple[float, ...] = ()
    prepared: Prepared | None = None
    agreements: tuple[Agreement, ...] = ()

    def agreement(self, engine: str, precision: str) -> Agreement | None:
        """As it was measured last; None if it never was."""
        return next((one for one in self.agreements if (one.engine, one.precision) == (engine, precision)), None)

    def with_agreements(self, measured: list[Agreement]) -> "Manifest":
        """Those measured now, and of the others what was known before."""
        now = {(one.engine, one.precision) for one in measured}
        kept = [one for one in self.agreements if (one.engine, one.precision) not in now]
        return replace(self, agreements=(*kept, *measured))

    def without_agreements(self, precision: str) -> "Manifest":
        """Of any engine: all read the same file, which is another one now."""
        return replace(self, agreements=tuple(one for one in self.agreements if one.precision != precision))

    def with_files(self, model_dir: Path, *names: str) -> "Manifest":
        """With the hashes of files that were just written."""
        return replace(self, sha256={**self.sha256, **{name: sha256(model_dir / name) for name in names}})


def read_manifest(model_dir: Path) -> Manifest:
    """Raises ModelError."""
    try:
        document = json.loads((model_dir / MANIFEST).read_text())
        return _manifest(document)
    except FileNotFoundError as error:
        raise ModelError(
            f"no model in {model_dir} (no {MANIFEST}); write one: python -m function.tools.export --out {model_dir}"
        ) from error
    except OSError as error:
        raise ModelError(f"no model can be read from {model_dir}: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{model_dir}/{MANIFEST} is not what function.tools.export writes: {error!r}") from error


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
    """In one step, so that a reader finds the old or the new one."""
    new = model_dir / f"{MANIFEST}.new"
    new.write_text(json.dumps(asdict(manifest), indent=1) + "\n")
    new.replace(model_dir / MANIFEST)


def verify(path: Path, manifest: Manifest) -> None:
    """Raises ModelError if the file is missing or its hash is not the manifest's."""
    try:
        found = sha256(path)
    except FileNotFoundError as error:
        raise ModelError(f"{path} is missing") from error
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error}") from error
    expected = manifest.sha256.get(path.name, "nothing of it")
    if found != expected:
        raise ModelError(f"{path} has SHA-256 {found[:12]}..., the manifest says {expected[:12]}...")


def sha256(path: Path) -> str:
    """In one call, which leaves the interpreter to the imports beside it; by pieces it would wait for them at each."""
    with path.open("rb") as file:
        if not path.stat().st_size:  # what cannot be mapped
            return hashlib.sha256().hexdigest()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            return hashlib.sha256(mapped).hexdigest()
