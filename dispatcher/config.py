"""Settings of the dispatcher: flags, each with an environment variable of the same name."""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import TypeVar
from urllib.parse import urlsplit

Number = TypeVar("Number", int, float)


class ConfigError(ValueError):
    """A setting is out of bounds; the text names the flag, the rule and the value."""


@dataclass(frozen=True, slots=True)
class Config:
    """What the dispatcher was started with; backend_concurrency holds one number for each URL."""

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
            raise ConfigError(f"--port must be from 1 to 65535, was {self.port}")
        for flag in ("queue_limit", "attempts", "max_body_bytes"):
            if getattr(self, flag) < 1:
                raise ConfigError(f"--{flag.replace('_', '-')} must be at least 1, was {getattr(self, flag)}")
        for flag in ("slo_s", "request_timeout_s", "drain_timeout_s"):
            value = getattr(self, flag)
            if not (isfinite(value) and value > 0):
                raise ConfigError(f"--{flag.replace('_', '-')} must be above 0 and finite, was {value}")
        if self.order not in ("deadline", "fifo"):
            raise ConfigError(f"--order must be deadline or fifo, was {self.order!r}")
        if self.hold not in ("capacity", "none"):
            raise ConfigError(f"--hold must be capacity or none, was {self.hold!r}")


def build_parser(env: Mapping[str, str]) -> argparse.ArgumentParser:
    """Flags with their defaults, which a variable such as QUEUE_LIMIT replaces."""
    parser = argparse.ArgumentParser(prog="dispatcher", description="Buffer bursts in front of a service that scales.")

    def add(flag: str, default: str, about: str) -> None:
        variable = flag.removeprefix("--").replace("-", "_").upper()
        parser.add_argument(flag, default=env.get(variable, default), metavar="X", help=f"{about} (default {default})")

    add("--host", "0.0.0.0", "address to listen on")
    add("--port", "8001", "port to listen on")
    add("--ml-service-url", "http://127.0.0.1:8000", "where requests go, base URLs separated by commas")
    add("--ml-service-host", "", "Host header for them, for a Knative gateway that is reached by address")
    add("--backend-concurrency", "0", "most requests in flight at each URL, one number or one a URL; 0: no limit")
    add("--queue-limit", "1000", "most requests waiting; the next is refused with 503")
    add("--slo-s", "0.5", "an answer should come within this; it orders the queue and refuses nobody")
    add("--order", "deadline", "deadline (the oldest that can still be in time first) or fifo")
    add("--hold", "capacity", "capacity (hold back what PUT /capacity says the pods cannot take) or none")
    add("--attempts", "3", "how often a request may fail at a backend before its client is told")
    add("--request-timeout-s", "120", "longest time of a request in here")
    add("--drain-timeout-s", "60", "longest time to finish what was accepted, after SIGTERM")
    add("--max-body-bytes", str(10 * 1024 * 1024), "largest body")
    accepts = env.get("ACCEPT_BACKENDS", "").lower() in ("1", "true", "yes", "on")
    parser.add_argument(
        "--accept-backends",
        action="store_true",
        default=accepts,
        help="PUT /capacity may name the backends: for pods on this machine; whoever can reach the port can then"
        " redirect the traffic",
    )
    return parser


def parse_config(argv: list[str] | None, env: Mapping[str, str]) -> Config:
    """Raises ConfigError naming the flag, the rule and the value."""
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
    """Base URLs without their last slash; raises ConfigError unless each is http(s) with a host, no two alike."""
    urls = tuple(text.strip().rstrip("/") for text in texts if text.strip())
    for url in urls:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
            raise ConfigError(f"{name} must hold addresses such as http://host:8000, found {url!r}")
    if len(set(urls)) != len(urls):
        raise ConfigError(f"{name} names an address twice: {', '.join(urls)}")
    if not urls and name == "--ml-service-url":
        raise ConfigError(f"{name} must hold at least one address, was empty")
    return urls


def _number(given: Mapping[str, str], name: str, parse: Callable[[str], Number]) -> Number:
    try:
        return parse(given[name])
    except ValueError as error:
        kind = "a whole number" if parse is int else "a number"
        raise ConfigError(f"--{name.replace('_', '-')} must be {kind}, was {given[name]!r}") from error


def _concurrency(text: str, urls: int) -> tuple[int, ...]:
    try:
        numbers = [int(word) for word in text.split(",")]
    except ValueError as error:
        raise ConfigError(f"--backend-concurrency must be whole numbers separated by commas, was {text!r}") from error
    if min(numbers) < 0 or len(numbers) not in (1, urls):
        raise ConfigError(
            f"--backend-concurrency must be one number, or one for each of {urls} URLs, 0 or more; was {text!r}"
        )
    return tuple(numbers * urls if len(numbers) == 1 else numbers)
