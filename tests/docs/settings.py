"""The flags, variables and defaults of every program, read from its parser, for docs/configuration.md."""

import argparse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from autoscaler_tuning.cli import build_parser as autoscaler_parser
from dispatcher.config import build_parser as dispatcher_parser
from knative.cli import build_parser as knative_parser
from loadgen.cli import build_parser as loadgen_parser

# What a probe of the environment sets; every flag whose default becomes it is set by that variable.
PROBE = "1"

Build = Callable[[Mapping[str, str]], argparse.ArgumentParser]


def tool_parser(name: str) -> argparse.ArgumentParser:
    """Import a tool late: export imports torch, which takes seconds."""
    parser: argparse.ArgumentParser = import_module(f"function.tools.{name}").build_parser()
    return parser


PROGRAMS: Mapping[str, Build] = {
    "dispatcher": dispatcher_parser,
    "autoscaler_tuning": autoscaler_parser,
    "knative": knative_parser,
    "loadgen": lambda env: loadgen_parser(),
    "function.tools.export": lambda env: tool_parser("export"),
    "function.tools.matrix": lambda env: tool_parser("matrix"),
}


@dataclass(frozen=True, slots=True)
class Setting:
    """One flag of one command. default is empty if there is none or the flag takes no value."""

    flag: str
    variable: str
    default: str


def commands(name: str, parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield `PROGRAM` or each `PROGRAM COMMAND`, with its parser."""
    choices = [action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not choices:
        yield name, parser
        return
    for command, subparser in choices[0].items():
        yield f"{name} {command}", subparser


def options(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    """Return the actions of a parser by their long flag, without those that its help hides."""
    shown = [action for action in parser._actions if action.help != argparse.SUPPRESS]
    return {flag: action for action in shown for flag in action.option_strings if flag.startswith("--")}


def settings_of(program: str) -> list[tuple[str, tuple[Setting, ...]]]:
    """Return every command of a program with its settings, in the order of the parser."""
    build = PROGRAMS[program]
    plain = list(commands(program, build({})))
    variables = {flag: _variable(flag) for _, parser in plain for flag in options(parser)}
    probed = dict(commands(program, build(dict.fromkeys(variables.values(), PROBE))))
    found = []
    for title, parser in plain:
        rows = [
            Setting(flag, variables[flag] if _is_set(options(probed[title])[flag], action) else "", _shown(action))
            for flag, action in options(parser).items()
            if flag != "--help"
        ]
        found.append((title, tuple(rows)))
    return found


def _variable(flag: str) -> str:
    return flag.removeprefix("--").replace("-", "_").upper()


def _is_set(probed: argparse.Action, plain: argparse.Action) -> bool:
    return bool(probed.default != plain.default)


def _shown(action: argparse.Action) -> str:
    if action.nargs == 0 or action.default in (None, "", []):
        return ""
    if isinstance(action.default, tuple):  # ranges, as the command line writes them
        return ",".join("-".join(f"{value:g}" for value in span) for span in action.default)
    if isinstance(action.default, float):
        return f"{action.default:g}"
    return str(action.default if not isinstance(action.default, Path) else action.default.as_posix())
