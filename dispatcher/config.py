"""The dispatcher's settings: flags, each with an environment variable of the same name."""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from ipaddress import ip_address
from math import isfinite
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

Number = TypeVar("Number", int, float)


class ConfigError(ValueError):
    """An invalid setting; the message contains its name, the rule and the value."""


@dataclass(frozen=True, slots=True)
class Config:
    """The dispatcher's settings; backend_concurrency holds one limit per URL."""

    host: str
    port: int
    ml_service_url: tuple[str, ...]
    ml_service_host: str | None
    backend_concurrency: tuple[int, ...]
    queue_limit: int
    slo_s: float
    order: str
    hold: str
    attempts: int
    request_timeout_s: float
    drain_timeout_s: float
    max_body_bytes: int
    accept_backends: bool
    control_host: str = "127.0.0.1"
    control_port: int = 8011
    control_key_file: Path | None = None
    api_keys_file: Path | None = None
    ml_service_ca: Path | None = None
    body_timeout_s: float = 30.0
    shutdown_delay_s: float = 0.0
    refuse_status: int = 429
    queue_bytes: int = 256 * 1024 * 1024
    expired: str = "serve"
    retry_ratio: float = 0.2
    journal: str = "none"
    journal_bytes: int = 1 << 30
    result_ttl_s: float = 600.0
    job_attempts: int = 5
    result_sink: str | None = None
    result_sink_key_file: Path | None = None
    log_requests: bool = False
    tls_cert_file: Path | None = None
    tls_key_file: Path | None = None

    def __post_init__(self) -> None:
        for name, holds, rule in RULES:
            value = getattr(self, name)
            if not holds(value):
                raise ConfigError(f"{_flag(name)} must be {rule}, got {value!r}")
        if self.port == self.control_port:
            raise ConfigError(f"--port and --control-port must differ, got {self.port} for both")
        if (self.result_sink is None) != (self.result_sink_key_file is None):
            given = self.result_sink or self.result_sink_key_file
            raise ConfigError(f"--result-sink and --result-sink-key-file must be set together, got only {given}")
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            given = self.tls_cert_file or self.tls_key_file
            raise ConfigError(f"--tls-cert-file and --tls-key-file must be set together, got only {given}")
        if self.result_sink is not None and self.journal in ("", "none"):
            raise ConfigError("--result-sink must have a --journal, got none")
        if self.control_key_file is None and not is_loopback(self.control_host):
            raise ConfigError(
                "--control-key-file must be set unless --control-host is a loopback address, got --control-host"
                f" {self.control_host}"
            )

    def hosts(self) -> tuple[str, ...]:
        """Return the addresses to bind, IPv6 ones without brackets."""
        return tuple(host.strip().removeprefix("[").removesuffix("]") for host in self.host.split(","))


def _is_port(value: int) -> bool:
    return 0 < value < 65536


def _is_positive(value: float) -> bool:
    return isfinite(value) and value > 0


def _is_url(value: str) -> bool:
    parts = urlsplit(value)
    return parts.scheme in ("http", "https") and bool(parts.hostname)


# Each setting with a rule of its own.
RULES: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("port", _is_port, "from 1 to 65535"),
    ("control_port", _is_port, "from 1 to 65535"),
    *(
        (name, lambda value: value >= 1, "at least 1")
        for name in ("queue_limit", "queue_bytes", "attempts", "max_body_bytes", "job_attempts")
    ),
    *(
        (name, _is_positive, "above 0 and finite")
        for name in ("slo_s", "request_timeout_s", "drain_timeout_s", "body_timeout_s")
    ),
    ("shutdown_delay_s", lambda value: 0 <= value <= 3600, "from 0 to 3600"),
    ("order", lambda value: value in ("deadline", "fifo"), "deadline or fifo"),
    ("hold", lambda value: value in ("capacity", "none"), "capacity or none"),
    ("expired", lambda value: value in ("serve", "drop"), "serve or drop"),
    ("retry_ratio", lambda value: 0 <= value <= 1, "from 0 to 1"),
    ("refuse_status", lambda value: value in (429, 503), "429 or 503"),
    ("journal_bytes", lambda value: value >= 1 << 20, "at least 1048576"),
    ("result_ttl_s", lambda value: 1 <= value <= 30 * 86400, "from 1 to 2592000"),
    ("result_sink", lambda value: value is None or _is_url(value), "an http or https URL"),
)


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches an address."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


# Placeholders of the flags' values in the help; the others are numbers.
METAVARS = {
    "--host": "HOST",
    "--ml-service-url": "URLS",
    "--ml-service-host": "HOST",
    "--slo-s": "SECONDS",
    "--order": "ORDER",
    "--expired": "WHAT",
    "--retry-ratio": "RATIO",
    "--queue-bytes": "BYTES",
    "--hold": "HOLD",
    "--request-timeout-s": "SECONDS",
    "--drain-timeout-s": "SECONDS",
    "--max-body-bytes": "BYTES",
    "--control-host": "HOST",
    "--control-key-file": "FILE",
    "--api-keys-file": "FILE",
    "--ml-service-ca": "FILE",
    "--body-timeout-s": "SECONDS",
    "--shutdown-delay-s": "SECONDS",
    "--refuse-status": "STATUS",
    "--journal": "JOURNAL",
    "--journal-bytes": "BYTES",
    "--result-ttl-s": "SECONDS",
    "--result-sink": "URL",
    "--result-sink-key-file": "FILE",
    "--tls-cert-file": "FILE",
    "--tls-key-file": "FILE",
}


# Flag, default and explanation.
FLAGS: tuple[tuple[str, str, str], ...] = (
    ("--host", "0.0.0.0", "address to listen on, or several, separated by commas"),
    ("--port", "8001", "port to listen on"),
    ("--ml-service-url", "http://127.0.0.1:8000", "base URLs of the backends, separated by commas"),
    ("--ml-service-host", "", "Host header of forwarded requests, for a Knative gateway behind an IP address"),
    (
        "--backend-concurrency",
        "0",
        "largest number of requests in flight at each URL: one for all, or one per URL; 0 is unlimited",
    ),
    ("--queue-limit", "1000", "largest number of waiting requests; the next one gets 503"),
    ("--queue-bytes", str(256 * 1024 * 1024), "largest sum of all unfinished requests' bodies, in bytes; then 503"),
    ("--slo-s", "0.5", "target latency, in seconds; it orders the queue and rejects no request"),
    ("--order", "deadline", "deadline (requests that can still be in time go first, oldest first) or fifo"),
    ("--expired", "serve", "serve (after the others) or drop (503) requests that exceed --slo-s"),
    ("--hold", "capacity", "capacity (hold back requests beyond the capacity set by PUT /capacity) or none"),
    ("--attempts", "3", "failed attempts at a backend after which the client gets 502"),
    ("--retry-ratio", "0.2", "largest share of retries in the forwarded requests, from 0 to 1"),
    ("--request-timeout-s", "120", "longest time from arrival to response, in seconds"),
    ("--drain-timeout-s", "60", "longest time to finish accepted requests after SIGTERM, in seconds"),
    ("--max-body-bytes", str(10 * 1024 * 1024), "largest request body, in bytes"),
    ("--body-timeout-s", "30", "longest pause of a client within its request's body, in seconds; then 408"),
    ("--shutdown-delay-s", "0", "time after SIGTERM in which new connections are still accepted, in seconds"),
    ("--refuse-status", "429", "status of requests whose own deadline cannot be met: 429 or 503"),
    ("--control-host", "127.0.0.1", "address to listen on for the controller and for operators"),
    ("--control-port", "8011", "port of /capacity, /signals, /queue and /metrics"),
    ("--control-key-file", "", "file with the key for that port; needed unless --control-host is loopback"),
    ("--api-keys-file", "", "file of the clients' API keys; without it, no key is needed"),
    ("--ml-service-ca", "", "file of CA certificates, in PEM format, for backends with https URLs"),
    ("--journal", "none", "where asynchronous work is kept: a file, a redis:// URL, or none"),
    ("--journal-bytes", str(1 << 30), "largest size of the requests and results in the journal; then 503"),
    ("--result-ttl-s", "600", "time for which the result of asynchronous work can be read, in seconds"),
    ("--job-attempts", "5", "failed attempts after which asynchronous work has failed"),
    ("--result-sink", "", "URL to which the results of asynchronous work are pushed as CloudEvents"),
    ("--result-sink-key-file", "", "file with the key that signs them: whsec_ and 24 to 64 bytes in base64"),
    ("--tls-cert-file", "", "file of the certificate chain of --port, in PEM format; without it, --port serves HTTP"),
    ("--tls-key-file", "", "file of that certificate's key, in PEM format, without a password"),
)


def build_parser(env: Mapping[str, str]) -> argparse.ArgumentParser:
    """Return the parser; an environment variable such as QUEUE_LIMIT replaces a flag's default."""
    parser = argparse.ArgumentParser(prog="dispatcher", description="Buffer bursts in front of an autoscaled service.")
    for flag, default, about in FLAGS:
        variable = flag.removeprefix("--").replace("-", "_").upper()
        shown = f"{about} (default: {default or 'none'})"
        parser.add_argument(flag, default=env.get(variable, default), metavar=METAVARS.get(flag, "N"), help=shown)
    parser.add_argument(
        "--accept-backends",
        action="store_true",
        default=_is_on(env, "ACCEPT_BACKENDS"),
        help="let PUT /capacity name the backends, for pods on this machine; any client that can reach the port can"
        " then redirect the traffic",
    )
    parser.add_argument(
        "--log-requests",
        action="store_true",
        default=_is_on(env, "LOG_REQUESTS"),
        help="write a line of JSON to standard output for each request",
    )
    return parser


def _is_on(env: Mapping[str, str], variable: str) -> bool:
    return env.get(variable, "").lower() in ("1", "true", "yes", "on")


def parse_config(argv: list[str] | None, env: Mapping[str, str]) -> Config:
    """Return the settings; raise ConfigError, with name, rule and value, if one is invalid."""
    given = vars(build_parser(env).parse_args(argv))
    urls = parse_urls("--ml-service-url", given["ml_service_url"].split(","))
    values: dict[str, Any] = {field.name: _value(given, field.name, field.type) for field in fields(Config)}
    values["ml_service_url"] = urls
    values["backend_concurrency"] = _concurrency(given["backend_concurrency"], len(urls))
    return Config(**values)


def _value(given: Mapping[str, str], name: str, kind: object) -> object:
    """Return the value of a setting, parsed as the type of its field."""
    if kind is int or kind is float:
        return _number(given, name, kind)
    if kind == Path | None:
        return Path(given[name]) if given[name] else None
    return (given[name] or None) if kind == str | None else given[name]


def parse_urls(name: str, texts: list[str]) -> tuple[str, ...]:
    """Return the base URLs, stripped of a final slash. Raise ConfigError unless all are http(s) URLs and different."""
    urls = tuple(text.strip().rstrip("/") for text in texts if text.strip())
    for url in urls:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
            raise ConfigError(f"{name} must contain URLs such as http://host:8000, got {url!r}")
    if len(set(urls)) != len(urls):
        raise ConfigError(f"{name} must not contain a URL twice, got {', '.join(urls)}")
    if not urls and name == "--ml-service-url":
        raise ConfigError(f"{name} must contain at least one URL, got none")
    return urls


def _number(given: Mapping[str, str], name: str, parse: Callable[[str], Number]) -> Number:
    try:
        return parse(given[name])
    except ValueError as error:
        kind = "an integer" if parse is int else "a number"
        raise ConfigError(f"{_flag(name)} must be {kind}, got {given[name]!r}") from error


def _concurrency(text: str, urls: int) -> tuple[int, ...]:
    try:
        numbers = [int(word) for word in text.split(",")]
    except ValueError as error:
        raise ConfigError(f"--backend-concurrency must be integers separated by commas, got {text!r}") from error
    if min(numbers) < 0 or len(numbers) not in (1, urls):
        raise ConfigError(
            f"--backend-concurrency must be one integer, or one for each of {urls} URLs, all at least 0, got {text!r}"
        )
    return tuple(numbers * urls if len(numbers) == 1 else numbers)
