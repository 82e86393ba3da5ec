"""Settings of a pod, read from its environment once."""

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

# Attributes that K_CE_OVERRIDES must not replace, because they identify the event.
EVENT_ATTRIBUTES = ("data", "datacontenttype", "dataschema", "id", "source", "specversion", "subject", "time", "type")
ENGINES = ("auto", "onnxruntime", "openvino", "torch")
# A host name, an IPv4 address, or an IPv6 address in brackets; then a port.
HOST_PORT = re.compile(r"(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::(\d{1,5}))?")
PRECISIONS = ("float32", "bfloat16", "int8", "auto")


class ConfigError(ValueError):
    """A setting is out of bounds; the text names the setting, the rule and the value."""


@dataclass(frozen=True, slots=True)
class Config:
    """Settings of the engine; field max_pixels is read from MAX_PIXELS, and so on.

    precision: arithmetic of the engine; `auto` is the fastest that this CPU supports and that agrees with torch.
    engine_threads: threads of one inference; 0 means the pod's CPU quota rounded down, or 1 without a quota.
    pad_service_s: least time that each image occupies the pod, one image at a time, for experiments on scaling.
    """

    model_dir: Path = Path("model")
    engine: str = "auto"
    precision: str = "float32"
    engine_threads: int = 0
    pad_service_s: float = 0.0
    max_pixels: int = 50_000_000

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise ConfigError(f"ENGINE must be one of {', '.join(ENGINES)}, got {self.engine!r}")
        if self.precision not in PRECISIONS:
            raise ConfigError(f"PRECISION must be one of {', '.join(PRECISIONS)}, got {self.precision!r}")
        if self.engine_threads < 0:
            raise ConfigError(f"ENGINE_THREADS must be at least 0, got {self.engine_threads}")
        if self.max_pixels < 1:
            raise ConfigError(f"MAX_PIXELS must be at least 1, got {self.max_pixels}")
        if not 0 <= self.pad_service_s <= 60:  # written so that nan fails too
            raise ConfigError(f"PAD_SERVICE_S must be from 0 to 60 seconds, got {self.pad_service_s}")

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Read the settings. Raise ConfigError for a value that cannot be parsed or is out of bounds."""
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
    """Limits of incoming requests, and where the pod may send requests itself.

    max_body_bytes: largest body of a request, and of the image behind a link.
    max_images: most images in one request.
    link_hosts: HOST or HOST:PORT that events may link to; empty by default, which disables links.
    link_timeout_s: total time for fetching a link, and for delivering an event to the sink.
    sink_url: K_SINK, which receives classified events instead of the response.
    event_extensions: attributes to add to every outgoing event, from K_CE_OVERRIDES.
    pod_name: value of the response header X-Pod.
    log_requests: write a line of JSON to standard output for each request.
    """

    max_body_bytes: int = 10 * 1024 * 1024
    max_images: int = 16
    link_hosts: tuple[str, ...] = ()
    link_timeout_s: float = 5.0
    sink_url: str = ""
    event_extensions: tuple[tuple[str, str], ...] = ()
    pod_name: str = ""
    log_requests: bool = False

    def __post_init__(self) -> None:
        if min(self.max_body_bytes, self.max_images) < 1:
            raise ConfigError(
                f"MAX_BODY_BYTES and MAX_IMAGES must be at least 1, got {self.max_body_bytes} and {self.max_images}"
            )
        if not 0 < self.link_timeout_s <= 60:
            raise ConfigError(f"LINK_TIMEOUT_S must be above 0 and at most 60 seconds, got {self.link_timeout_s}")
        for host in self.link_hosts:
            found = HOST_PORT.fullmatch(host)
            if not found or int(found[1] or 1) > 65535:
                raise ConfigError(f"LINK_HOSTS must be a comma-separated list of HOST or HOST:PORT, got {host!r}")
        if self.sink_url and not (re.fullmatch("[!-~]+", self.sink_url) and _is_url(self.sink_url)):
            raise ConfigError(f"K_SINK must be a URL http(s)://HOST/..., got {self.sink_url!r}")

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Read the settings. Raise ConfigError for a value that cannot be parsed or is out of bounds."""
        return cls(
            max_body_bytes=number(env, "MAX_BODY_BYTES", 10 * 1024 * 1024),
            max_images=number(env, "MAX_IMAGES", 16),
            link_hosts=tuple(
                bracketed(host.strip().lower()) for host in env.get("LINK_HOSTS", "").split(",") if host.strip()
            ),
            link_timeout_s=number(env, "LINK_TIMEOUT_S", 5.0),
            sink_url=env.get("K_SINK", ""),
            event_extensions=_extensions(env.get("K_CE_OVERRIDES") or "{}"),
            pod_name=env.get("POD_NAME") or socket.gethostname(),
            log_requests=env.get("LOG_REQUESTS", "").lower() in ("1", "true", "yes", "on"),
        )


def number(env: Mapping[str, str], name: str, default: Number, least: float = -math.inf) -> Number:
    """Parse a setting as a number of the default's type. Raise ConfigError if it is invalid or below least."""
    kind, text = type(default), env.get(name, str(default))
    expected = "an integer" if kind is int else "a number"
    try:
        value = kind(text)
    except ValueError as error:
        raise ConfigError(f"{name} must be {expected}, got {text!r}") from error
    if value < least:
        raise ConfigError(f"{name} must be at least {least:g}, got {text}")
    return value


def bracketed(host: str) -> str:
    """Return a host as URLs write it: an IPv6 address in brackets; anything else is unchanged."""
    return f"[{host}]" if host.count(":") > 1 and not host.startswith("[") else host


def _is_url(text: str) -> bool:
    """Return whether the text is an http or https URL to which a request can be sent."""
    try:
        url = urlsplit(text)
        return url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0 and "@" not in url.netloc
    except ValueError:  # an invalid port, or an invalid address in brackets
        return False


def _extensions(overrides: str) -> tuple[tuple[str, str], ...]:
    """Parse what a Knative SinkBinding sets: {"extensions": {"name": "value"}}. Raise ConfigError if it is invalid."""
    rule = (
        'K_CE_OVERRIDES must be {"extensions": {"name": "value"}} with names of lower-case letters and digits, '
        f"none of {', '.join(EVENT_ATTRIBUTES)}, got {overrides!r}"
    )
    try:
        extensions = dict[str, str](json.loads(overrides).get("extensions", {}))
        "".join(extensions.values()).encode()
    except (ValueError, TypeError, AttributeError) as error:
        raise ConfigError(rule) from error
    names_valid = all(re.fullmatch("[a-z0-9]+", name) for name in extensions)
    values_valid = all(isinstance(value, str) and value for value in extensions.values())
    if not names_valid or not values_valid or set(extensions) & set(EVENT_ATTRIBUTES):
        raise ConfigError(rule)
    return tuple(sorted(extensions.items()))


def model_dir(env: Mapping[str, str], mounted: Path = Path("/mnt/models")) -> Path:
    """Return MODEL_DIR if it is set, else the folder that KServe's storage initializer mounted, else `model`."""
    if "MODEL_DIR" in env:
        return Path(env["MODEL_DIR"])
    return mounted if mounted.is_dir() else Path("model")
