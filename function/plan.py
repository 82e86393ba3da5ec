"""What will be loaded, decided and verified before the first heavy import."""

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from function.cpu import this_cpu
from function.manifest import LABELS, Manifest, read_manifest, verify
from function.variants import ORT_FLOAT32, PREPARED, Choice, choose, may_load_prepared, this_host


@dataclass(frozen=True, slots=True)
class ModelPlan:
    """The variant of the choice, from the files that were prepared for this very CPU where there are such."""

    model_dir: Path
    manifest: Manifest
    choice: Choice
    prepared: bool

    @property
    def files(self) -> tuple[str, ...]:
        return PREPARED if self.prepared else self.choice.variant.files

    def verify(self) -> None:
        """Hash all that will be read. Raises ModelError."""
        for file in (LABELS, *self.files):
            verify(self.model_dir / file, self.manifest)


def plan_model(model_dir: Path, engine: str, precision: str) -> ModelPlan:
    """Raises ModelError if there is no model, or no engine that can be used."""
    manifest, features = read_manifest(model_dir), this_cpu()
    choice = choose(engine, precision, this_host(model_dir, features), manifest)
    prepared = (
        choice.variant == ORT_FLOAT32
        and may_load_prepared(manifest, features, version(choice.variant.engine))
        and all((model_dir / file).is_file() for file in PREPARED)
    )
    return ModelPlan(model_dir, manifest, choice, prepared)
