"""Settings of a pod, read once from its environment."""

import json
import math
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar
from urllib.parse import urlsplit

Number = TypeVar("Number", int, float)

# An override may not forge what an event is.
EVENT_ATTRIBUTES = ("data", "datacontenttype", "dataschema", "id", "source", "specversion", "subject", "time", "type")
ENGINES = ("auto", "onnxruntime", "openvino", "torch")
PRECISIONS = ("float32", "bfloat16", "int8", "auto")


class ConfigError(ValueError):
    """A setting is out of bounds; the text names the setting, the rule and the value."""


@dataclass(frozen=True, slots=True)
class Config:
    """Field max_pixels is read from MAX_PIXELS, and so on.

    precision: of the engine's arithmetic; `auto` is the fastest that this CPU has and that agrees with torch.
    engine_threads: threads of one inference; 0 is the whole CPUs of the pod's quota, one without a quota.
    pad_service_s: a photograph takes at least this long, one after the other, for experiments on scaling.
    """

    model_dir: Path = Path("model")
    engine: str = "auto"
    precision: str = "float32"
    engine_threads: int = 0
    pad_service_s: float = 0.0
    max_pixels: int = 50_000_000

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise ConfigError(f"ENGINE must be one of {', '.join(ENGINES)}, was {self.engine!r}")
        if self.precision not in PRECISIONS:
            raise ConfigError(f"PRECISION must be one of {', '.join(PRECISIONS)}, was {self.precision!r}")
        if self.engine_threads < 0:
            raise ConfigError(f"ENGINE_THREADS must be at least 0, was {self.engine_threads}")
        if self.max_pixels < 1:
            raise ConfigError(f"MAX_PIXELS must be at least 1, was {self.max_pixels}")
        if not 0 <= self.pad_service_s <= 60:  # written so that nan fails too
            raise ConfigError(f"PAD_SERVICE_S must be from 0 to 60, was {self.pad_service_s}")

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Raises ConfigError for a value that cannot be read or is out of bounds."""
        return cls(
            model_dir=model_dir(env),
            engine=env.get("ENGINE", "auto"),
            precision=env.get("PRECISION", "float32"),
            engine_threads=number(env, "ENGINE_THREADS", 0),
            pad_service_s=number(env, "PAD_SERVICE_S", 0.0),
            max_pixels=number(env, "MAX_PIXELS", 50_000_000),
        )


@dataclass(frozen=True, slots=True)
class HttpConfig:
    """What the pod takes in over HTTP, and whom it may ask.

    max_body_bytes: of a request, and of the image behind a link.
    max_images: in one request.
    link_hosts: HOST or HOST:PORT that events may link to; none, so links are off, unless LINK_HOSTS names them.
    link_timeout_s: for the whole of a link, and of the delivery to the sink.
    sink_url: K_SINK, where classified events go instead of into the answer.
    event_extensions: attributes that every event from here gets, from K_CE_OVERRIDES.
    pod_name: what X-Pod says.
    """

    max_body_bytes: int = 10 * 1024 * 1024
    max_images: int = 16
    link_hosts: tuple[str, ...] = ()
    link_timeout_s: float = 5.0
    sink_url: str = ""
    event_extensions: tuple[tuple[str, str], ...] = ()
    pod_name: str = ""

    def __post_init__(self) -> None:
        if min(self.max_body_bytes, self.max_images) < 1:
            raise ConfigError(
                f"MAX_BODY_BYTES and MAX_IMAGES must be at least 1, were {self.max_body_bytes}, {self.max_images}"
            )
        if not 0 < self.link_timeout_s <= 60:
            raise ConfigError(f"LINK_TIMEOUT_S must be above 0 and at most 60, was {self.link_timeout_s}")
        for host in self.link_hosts:
            if not re.fullmatch(r"[a-z0-9._-]+(:\d{1,5})?", host) or int(host.partition(":")[2] or 1) > 65535:
                raise ConfigError(f"LINK_HOSTS must be HOST or HOST:PORT, separated by commas, has {host!r}")
        if self.sink_url and not (re.fullmatch("[!-~]+", self.sink_url) and _is_url(self.sink_url)):
            raise ConfigError(f"K_SINK must be http(s)://HOST/..., was {self.sink_url!r}")

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Raises ConfigError for a value that cannot be read or is out of bounds."""
        return cls(
            max_body_bytes=number(env, "MAX_BODY_BYTES", 10 * 1024 * 1024),
            max_images=number(env, "MAX_IMAGES", 16),
            link_hosts=tuple(host.strip().lower() for host in env.get("LINK_HOSTS", "").split(",") if host.strip()),
            link_timeout_s=number(env, "LINK_TIMEOUT_S", 5.0),
            sink_url=env.get("K_SINK", ""),
            event_extensions=_extensions(env.get("K_CE_OVERRIDES") or "{}"),
            pod_name=env.get("POD_NAME") or socket.gethostname(),
        )


def number(env: Mapping[str, str], name: str, default: Number, least: float = -math.inf) -> Number:
    """Of the default's type. Raises ConfigError."""
    kind, text = type(default), env.get(name, str(default))
    expected = "a whole number" if kind is int else "a number"
    try:
        value = kind(text)
    except ValueError as error:
        raise ConfigError(f"{name} must be {expected}, was {text!r}") from error
    if value < least:
        raise ConfigError(f"{name} must be at least {least:g}, was {text}")
    return value


def _is_url(text: str) -> bool:
    """Of http or https, as a request can be sent to it."""
    try:
        url = urlsplit(text)
        return url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0 and "@" not in url.netloc
    except ValueError:  # of the port, or of an address in brackets
        return False


def _extensions(overrides: str) -> tuple[tuple[str, str], ...]:
    """What a Knative SinkBinding writes: {"extensions": {"name": "value"}}. Raises ConfigError."""
    rule = (
        'K_CE_OVERRIDES must be {"extensions": {"name": "value"}}, names of 1 to 20 lower-case letters and digits, '
        f"none of {', '.join(EVENT_ATTRIBUTES)}; was {overrides!r}"
    )
    try:
        extensions = dict[str, str](json.loads(overrides).get("extensions", {}))
        "".join(extensions.values()).encode()
    except (ValueError, TypeError, AttributeError) as error:
        raise ConfigError(rule) from error
    named_well = all(re.fullmatch("[a-z0-9]{1,20}", name) for name in extensions)
    valued_well = all(isinstance(value, str) and value for value in extensions.values())
    if not named_well or not valued_well or set(extensions) & set(EVENT_ATTRIBUTES):
        raise ConfigError(rule)
    return tuple(sorted(extensions.items()))


def model_dir(env: Mapping[str, str], mounted: Path = Path("/mnt/models")) -> Path:
    """MODEL_DIR; else what KServe's storage initializer mounted, where it did; else `model`, which images bring."""
    if "MODEL_DIR" in env:
        return Path(env["MODEL_DIR"])
    return mounted if mounted.is_dir() else Path("model")
