"""Flags with environment variables of the same name, and what their values may be."""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

from autoscaler_tuning.experiments.compare import BoundName
from autoscaler_tuning.policies.registry import UnknownPolicyError, policy_named, split_names

PROGRAM = "autoscaler_tuning"


class Flags:
    """Adds flags whose defaults can be set by the environment variable of the same name: --max-pods by MAX_PODS."""

    def __init__(self, parser: argparse.ArgumentParser, env: Mapping[str, str]) -> None:
        self._parser, self._env = parser, env

    def add(self, flag: str, parse: Callable[[str], object], default: object, about: str) -> None:
        """A string default goes through parse as well, as argparse has it."""
        given = self._env.get(flag.lstrip("-").replace("-", "_").upper(), default)
        self._parser.add_argument(flag, type=parse, default=given, metavar=parse.__name__.upper(), help=about)


def number(text: str) -> float:
    """A finite number that is not negative."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a finite number and not negative, was {text!r}")
    return value


def numbers(text: str) -> tuple[float, ...]:
    """Numbers separated by commas."""
    return tuple(number(part) for part in text.split(","))


def spans(text: str) -> tuple[tuple[float, float], ...]:
    """Numbers or ranges, separated by commas."""
    return tuple(span(part) for part in text.split(","))


def whole(text: str) -> int:
    """A whole number above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number above 0, was {text!r}")
    return int(text)


def span(text: str) -> tuple[float, float]:
    """`4`, or `2-6` for anything from 2 to 6."""
    least, _, most = text.partition("-")
    try:
        return number(least), number(most or least)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"must be a number or a range such as 2-6, was {text!r}") from error


def urls(text: str) -> tuple[str, ...]:
    """Addresses separated by commas."""
    found = tuple(url.strip() for url in text.split(",") if url.strip())
    if not found or not all(url.startswith(("http://", "https://")) for url in found):
        raise argparse.ArgumentTypeError(f"must be http:// or https:// addresses separated by commas, was {text!r}")
    return found


def url(text: str) -> str:
    """One address."""
    (found, *others) = urls(text)
    if others:
        raise argparse.ArgumentTypeError(f"must be one address, was {text!r}")
    return found


def target_among(*names: str) -> Callable[[str], str]:
    """One of these; unlike argparse's own choices, for what the environment says, too."""

    def target(text: str) -> str:
        if text not in names:
            raise argparse.ArgumentTypeError(f"must be one of {', '.join(names)}, was {text!r}")
        return text

    return target


def seed(text: str) -> int:
    """A whole number, 0 or more."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number, 0 or more, was {text!r}")
    return int(text)


def out(text: str) -> Path:
    """A file to write, in a folder that is there: to be told before a long run, not after it."""
    path = Path(text)
    if path.is_dir() or not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"must be a file in a folder that exists, was {text!r}")
    return path


def bounds(text: str) -> tuple[BoundName, ...]:
    """`lp`, `milp`, `lp,milp` or `none`."""
    known: dict[str, BoundName] = {"lp": "lp", "milp": "milp"}
    names = [] if text == "none" else text.split(",")
    if not set(names) <= set(known):
        raise argparse.ArgumentTypeError(f"must be lp, milp, lp,milp or none, was {text!r}")
    return tuple(known[name] for name in names)


def policies(text: str) -> tuple[str, ...]:
    """Names separated by commas, each once; checked here, so that a wrong one stops before anything runs."""
    names = split_names(text)
    try:
        for name in names:
            policy_named(name)
    except UnknownPolicyError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(f"each policy once, was {text!r}")
    return tuple(names)


def add_local(flags: Flags) -> None:
    """What pods of this machine are made from."""
    flags.add("--pad-service-s", number, 0.0, "hold each request at least this long in the pod, for experiments")
    flags.add("--model-dir", Path, Path("model"), "what function.tools.export wrote")
    flags.add("--log-dir", Path, Path(".run"), "logs of the processes")
