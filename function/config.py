"""Settings of a pod, read once from its environment."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

ENGINES = ("auto", "onnxruntime", "openvino", "torch")
PRECISIONS = ("float32", "bfloat16", "int8", "auto")


class ConfigError(ValueError):
    """A setting is out of bounds; the text names the setting, the rule and the value."""


@dataclass(frozen=True, slots=True)
class Config:
    """Field max_pixels is read from MAX_PIXELS, and so on.

    precision: of the engine's arithmetic; `auto` is the fastest that this CPU has and that agrees with torch.
    engine_threads: threads of one inference; 0 is the whole CPUs of the pod's quota, one without a quota.
    pad_service_s: every inference holds its slot at least this long, for experiments on scaling.
    pod_name: what X-Pod says.
    """

    model_dir: Path = Path("model")
    engine: str = "auto"
    precision: str = "float32"
    engine_threads: int = 0
    pad_service_s: float = 0.0
    max_body_bytes: int = 10 * 1024 * 1024
    max_pixels: int = 50_000_000
    pod_name: str = ""

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise ConfigError(f"ENGINE must be one of {', '.join(ENGINES)}, was {self.engine!r}")
        if self.precision not in PRECISIONS:
            raise ConfigError(f"PRECISION must be one of {', '.join(PRECISIONS)}, was {self.precision!r}")
        if self.engine_threads < 0:
            raise ConfigError(f"ENGINE_THREADS must be at least 0, was {self.engine_threads}")
        if min(self.max_body_bytes, self.max_pixels) < 1:
            raise ConfigError(
                f"MAX_BODY_BYTES and MAX_PIXELS must be at least 1, were {self.max_body_bytes}, {self.max_pixels}"
            )
        if not 0 <= self.pad_service_s <= 60:  # written so that nan fails too
            raise ConfigError(f"PAD_SERVICE_S must be from 0 to 60, was {self.pad_service_s}")

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Raises ConfigError for a value that cannot be read or is out of bounds."""
        try:
            return cls(
                model_dir=Path(env.get("MODEL_DIR", "model")),
                engine=env.get("ENGINE", "auto"),
                precision=env.get("PRECISION", "float32"),
                engine_threads=int(env.get("ENGINE_THREADS", "0")),
                pad_service_s=float(env.get("PAD_SERVICE_S", "0")),
                max_body_bytes=int(env.get("MAX_BODY_BYTES", str(10 * 1024 * 1024))),
                max_pixels=int(env.get("MAX_PIXELS", "50000000")),
                pod_name=env.get("POD_NAME") or socket.gethostname(),
            )
        except ValueError as error:
            raise ConfigError(str(error)) from error
