"""The dispatcher's settings: flags, each with an environment variable of the same name."""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import TypeVar
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

    def __post_init__(self) -> None:
        if not 0 < self.port < 65536:
            raise ConfigError(f"--port must be from 1 to 65535, got {self.port}")
        for flag in ("queue_limit", "attempts", "max_body_bytes"):
            if getattr(self, flag) < 1:
                raise ConfigError(f"--{flag.replace('_', '-')} must be at least 1, got {getattr(self, flag)}")
        for flag in ("slo_s", "request_timeout_s", "drain_timeout_s"):
            value = getattr(self, flag)
            if not (isfinite(value) and value > 0):
                raise ConfigError(f"--{flag.replace('_', '-')} must be above 0 and finite, got {value}")
        if self.order not in ("deadline", "fifo"):
            raise ConfigError(f"--order must be deadline or fifo, got {self.order!r}")
        if self.hold not in ("capacity", "none"):
            raise ConfigError(f"--hold must be capacity or none, got {self.hold!r}")


# Placeholders of the flags' values in the help; the others are numbers.
METAVARS = {
    "--host": "HOST",
    "--ml-service-url": "URLS",
    "--ml-service-host": "HOST",
    "--slo-s": "SECONDS",
    "--order": "ORDER",
    "--hold": "HOLD",
    "--request-timeout-s": "SECONDS",
    "--drain-timeout-s": "SECONDS",
    "--max-body-bytes": "BYTES",
}


def build_parser(env: Mapping[str, str]) -> argparse.ArgumentParser:
    """Return the parser; an environment variable such as QUEUE_LIMIT replaces a flag's default."""
    parser = argparse.ArgumentParser(prog="dispatcher", description="Buffer bursts in front of an autoscaled service.")

    def add(flag: str, default: str, about: str) -> None:
        variable = flag.removeprefix("--").replace("-", "_").upper()
        shown = f"{about} (default: {default or 'none'})"
        parser.add_argument(flag, default=env.get(variable, default), metavar=METAVARS.get(flag, "N"), help=shown)

    add("--host", "0.0.0.0", "address to listen on")
    add("--port", "8001", "port to listen on")
    add("--ml-service-url", "http://127.0.0.1:8000", "base URLs of the backends, separated by commas")
    add("--ml-service-host", "", "Host header of forwarded requests, for a Knative gateway behind an IP address")
    add(
        "--backend-concurrency",
        "0",
        "largest number of requests in flight at each URL: one for all, or one per URL; 0 is unlimited",
    )
    add("--queue-limit", "1000", "largest number of waiting requests; the next one gets 503")
    add("--slo-s", "0.5", "target latency, in seconds; it orders the queue and rejects no request")
    add("--order", "deadline", "deadline (requests that can still be in time go first, oldest first) or fifo")
    add("--hold", "capacity", "capacity (hold back requests beyond the capacity set by PUT /capacity) or none")
    add("--attempts", "3", "failed attempts at a backend after which the client gets 502")
    add("--request-timeout-s", "120", "longest time from arrival to response, in seconds")
    add("--drain-timeout-s", "60", "longest time to finish accepted requests after SIGTERM, in seconds")
    add("--max-body-bytes", str(10 * 1024 * 1024), "largest request body, in bytes")
    accepts = env.get("ACCEPT_BACKENDS", "").lower() in ("1", "true", "yes", "on")
    parser.add_argument(
        "--accept-backends",
        action="store_true",
        default=accepts,
        help="let PUT /capacity name the backends, for pods on this machine; any client that can reach the port can"
        " then redirect the traffic",
    )
    return parser


def parse_config(argv: list[str] | None, env: Mapping[str, str]) -> Config:
    """Return the settings; raise ConfigError, with name, rule and value, if one is invalid."""
    given = vars(build_parser(env).parse_args(argv))
    urls = parse_urls("--ml-service-url", given["ml_service_url"].split(","))
    return Config(
        host=given["host"],
        port=_number(given, "port", int),
        ml_service_url=urls,
        ml_service_host=given["ml_service_host"] or None,
        backend_concurrency=_concurrency(given["backend_concurrency"], len(urls)),
        queue_limit=_number(given, "queue_limit", int),
        slo_s=_number(given, "slo_s", float),
        order=given["order"],
        hold=given["hold"],
        attempts=_number(given, "attempts", int),
        request_timeout_s=_number(given, "request_timeout_s", float),
        drain_timeout_s=_number(given, "drain_timeout_s", float),
        max_body_bytes=_number(given, "max_body_bytes", int),
        accept_backends=given["accept_backends"],
    )


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
        raise ConfigError(f"--{name.replace('_', '-')} must be {kind}, got {given[name]!r}") from error


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
