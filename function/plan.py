"""The choice of the engine and files to load, made and verified before the first slow import."""

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from function.cpu import this_cpu
from function.manifest import LABELS, Manifest, read_manifest, verify
from function.variants import ORT_FLOAT32, PREPARED, Choice, choose, may_load_prepared, this_host


@dataclass(frozen=True, slots=True)
class ModelPlan:
    """The chosen variant of a model, and whether to load its files that were prepared for this CPU."""

    model_dir: Path
    manifest: Manifest
    choice: Choice
    prepared: bool

    @property
    def files(self) -> tuple[str, ...]:
        return PREPARED if self.prepared else self.choice.variant.files

    def verify(self) -> None:
        """Check the hashes of all files to be read. Raise ModelError if one is missing or differs."""
        for file in (LABELS, *self.files):
            verify(self.model_dir / file, self.manifest)


def plan_model(model_dir: Path, engine: str, precision: str) -> ModelPlan:
    """Choose the engine and files for this machine. Raise ModelError if there is no model or no usable engine."""
    manifest, features = read_manifest(model_dir), this_cpu()
    choice = choose(engine, precision, this_host(model_dir, features), manifest)
    prepared = (
        choice.variant == ORT_FLOAT32
        and may_load_prepared(manifest, features, version(choice.variant.engine))
        and all((model_dir / file).is_file() for file in PREPARED)
    )
    return ModelPlan(model_dir, manifest, choice, prepared)
