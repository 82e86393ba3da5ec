"""Settings of a pod, read once from its environment."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

ENGINES = ("auto", "onnxruntime", "openvino", "torch")


class ConfigError(ValueError):
    """A setting is out of bounds; the text names the setting, the rule and the value."""


@dataclass(frozen=True, slots=True)
class Config:
    """Field max_pixels is read from MAX_PIXELS, and so on.

    engine_threads: threads of one inference; a pod of one CPU has one.
    pad_service_s: every inference holds its slot at least this long, for experiments on scaling.
    pod_name: what X-Pod says.
    """

    model_dir: Path = Path("model")
    engine: str = "auto"
    engine_threads: int = 1
    pad_service_s: float = 0.0
    max_body_bytes: int = 10 * 1024 * 1024
    max_pixels: int = 50_000_000
    pod_name: str = ""

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise ConfigError(f"ENGINE must be one of {', '.join(ENGINES)}, was {self.engine!r}")
        if min(self.engine_threads, self.max_body_bytes, self.max_pixels) < 1:
            raise ConfigError(
                "ENGINE_THREADS, MAX_BODY_BYTES and MAX_PIXELS must be at least 1, were "
                f"{self.engine_threads}, {self.max_body_bytes}, {self.max_pixels}"
            )
        if not 0 <= self.pad_service_s <= 60:  # written so that nan fails too
            raise ConfigError(f"PAD_SERVICE_S must be from 0 to 60, was {self.pad_service_s}")

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Raises ConfigError for a value that cannot be read or is out of bounds."""
        try:
            return cls(
                model_dir=model_dir(env),
                engine=env.get("ENGINE", "auto"),
                engine_threads=int(env.get("ENGINE_THREADS", "1")),
                pad_service_s=float(env.get("PAD_SERVICE_S", "0")),
                max_body_bytes=int(env.get("MAX_BODY_BYTES", str(10 * 1024 * 1024))),
                max_pixels=int(env.get("MAX_PIXELS", "50000000")),
                pod_name=env.get("POD_NAME") or socket.gethostname(),
            )
        except ValueError as error:
            raise ConfigError(str(error)) from error


def model_dir(env: Mapping[str, str], mounted: Path = Path("/mnt/models")) -> Path:
    """MODEL_DIR; else what KServe's storage initializer mounted, where it did; else `model`, which images bring."""
    if "MODEL_DIR" in env:
        return Path(env["MODEL_DIR"])
    return mounted if mounted.is_dir() else Path("model")
