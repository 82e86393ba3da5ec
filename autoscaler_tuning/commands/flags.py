"""Flags with an environment variable of the same name, and the parsers of their values."""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from autoscaler_tuning.live.dispatcher_names import PREFIX
from autoscaler_tuning.policies.registry import ALIASES, POLICIES, UnknownPolicyError, policy_named, split_names

if TYPE_CHECKING:
    from autoscaler_tuning.experiments.compare import BoundName

PROGRAM = "autoscaler_tuning"


class Flags:
    """Adds flags whose default can be set by an environment variable of the same name, as --max-pods by MAX_PODS."""

    def __init__(self, parser: argparse.ArgumentParser, env: Mapping[str, str]) -> None:
        self._parser, self._env = parser, env

    def add(self, flag: str, parse: Callable[[str], object], default: object, about: str) -> None:
        """Add a flag. argparse parses a default that is a string too. The metavar is the last word of parse's name."""
        given = self._env.get(variable_of(flag), default)
        shown = "" if given in (None, "") else f" (default: {given})".replace("%", "%%")  # argparse formats the help
        metavar = parse.__name__.rpartition("_")[2].upper()
        self._parser.add_argument(flag, type=parse, default=given, metavar=metavar, help=about + shown)

    def switch(self, flag: str, about: str) -> None:
        """Add a flag without a value. argparse parses the variable's text, the default, as it does for other flags."""
        action = self._parser.add_argument(flag, action="store_true", help=about)
        action.default, action.type = self._env.get(variable_of(flag), False), on_or_off


def variable_of(flag: str) -> str:
    """Return the environment variable of a flag."""
    return flag.lstrip("-").replace("-", "_").upper()


def on_or_off(text: str) -> bool:
    """Parse the variable of a flag without a value; an empty one counts as not set."""
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    if text and text.lower() not in words:
        raise argparse.ArgumentTypeError(f"must be one of {', '.join(words)}, got {text!r}")
    return words.get(text.lower(), False)


def number(text: str) -> float:
    """Parse a finite number that is at least 0."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a finite number, at least 0, got {text!r}")
    return value


def positive_number(text: str) -> float:
    """Parse a finite number above 0."""
    value = number(text)
    if value == 0:
        raise argparse.ArgumentTypeError("must be above 0, got 0")
    return value


def numbers(text: str) -> tuple[float, ...]:
    """Parse numbers separated by commas."""
    return tuple(number(part) for part in text.split(","))


def number_ranges(text: str) -> tuple[tuple[float, float], ...]:
    """Parse numbers or ranges, separated by commas."""
    return tuple(number_range(part) for part in text.split(","))


def positive_integer(text: str) -> int:
    """Parse an integer above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be an integer above 0, got {text!r}")
    return int(text)


def number_range(text: str) -> tuple[float, float]:
    """Parse a range such as `2-6`; a single number such as `4` is the range from 4 to 4."""
    least, _, most = text.partition("-")
    try:
        return number(least), number(most or least)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"must be a number or a range such as 2-6, got {text!r}") from error


def urls(text: str) -> tuple[str, ...]:
    """Parse addresses separated by commas."""
    found = tuple(url.strip() for url in text.split(",") if url.strip())
    if not found or not all(url.startswith(("http://", "https://")) for url in found):
        raise argparse.ArgumentTypeError(f"must be http:// or https:// addresses separated by commas, got {text!r}")
    return found


def dispatcher_urls(text: str) -> tuple[str, ...]:
    """Parse addresses of dispatchers, which may have the prefix dns+."""
    urls(",".join(url.strip().removeprefix(PREFIX) for url in text.split(",")))
    return tuple(url.strip() for url in text.split(",") if url.strip())


def url(text: str) -> str:
    """Parse a single address."""
    (found, *others) = urls(text)
    if others:
        raise argparse.ArgumentTypeError(f"must be one address, got {text!r}")
    return found


def target_among(*names: str) -> Callable[[str], str]:
    """Return a parser of one of these names; unlike argparse's choices, it also checks values from the environment."""

    def target(text: str) -> str:
        if text not in names:
            raise argparse.ArgumentTypeError(f"must be one of {', '.join(names)}, got {text!r}")
        return text

    return target


def non_negative_integer(text: str) -> int:
    """Parse an integer that is at least 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be an integer, at least 0, got {text!r}")
    return int(text)


def output_file(text: str) -> Path:
    """Parse the path of a file to write; a missing folder is an error before a long run, not after it."""
    path = Path(text)
    if path.is_dir() or not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"must be a file in an existing folder, got {text!r}")
    return path


def output_folder(text: str) -> Path:
    """Parse the path of a folder, which is made later if only its parent exists."""
    path = Path(text)
    if not (path.is_dir() or (path.parent.is_dir() and not path.exists())):
        raise argparse.ArgumentTypeError(f"must be a folder, or a new one in an existing folder, got {text!r}")
    return path


def bounds(text: str) -> "tuple[BoundName, ...]":
    """Parse `lp`, `milp`, `lp,milp` or `none`."""
    known: dict[str, BoundName] = {"lp": "lp", "milp": "milp"}
    names = [] if text == "none" else text.split(",")
    if not set(names) <= set(known):
        raise argparse.ArgumentTypeError(f"must be lp, milp, lp,milp or none, got {text!r}")
    return tuple(known[name] for name in names)


def policies(text: str) -> tuple[str, ...]:
    """Parse names of policies separated by commas; an unknown or repeated one is an error before anything runs."""
    names = split_names(text)
    try:
        for name in names:
            policy_named(name)
    except UnknownPolicyError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(f"must name each policy only once, got {text!r}")
    return tuple(names)


def list_policies(parser: argparse.ArgumentParser) -> None:
    """End the help with the registered policies."""
    rows = [f"  {entry.name:12}{entry.about}" for entry in POLICIES]
    aliases = f"  {', '.join(ALIASES)}: elastic without one of its parts"
    parser.epilog = "\n".join(["policies:", *rows, aliases])
    parser.formatter_class = argparse.RawDescriptionHelpFormatter


def add_local(flags: Flags, pad_service_s: str = "0") -> None:
    """Add the flags of pods on this machine."""
    flags.add(
        "--pad-service-s",
        number,
        pad_service_s,
        "shortest time that a pod takes for a request, in seconds, for experiments",
    )
    flags.add("--model-dir", Path, Path("model"), "folder with the output of function.tools.export")
    flags.add("--log-dir", Path, Path(".run"), "folder for the logs of the processes")
