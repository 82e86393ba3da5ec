"""The command line: selects the command; each command is a module in loadgen/commands."""

import argparse
import io
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from loadgen.commands import cmd_diff as diff
from loadgen.commands import cmd_find_max as find_max
from loadgen.commands import cmd_replay as replay
from loadgen.commands import cmd_report as report
from loadgen.commands import cmd_stress as stress
from loadgen.commands.output_files import complain, fill_standard_streams
from loadgen.errors import BAD_INPUT, INTERRUPTED, UNREACHABLE, InputError, UnreachableError
from loadgen.masking import masked
from loadgen.sending.stop_signals import raising

# Each module adds its flags to a parser and sets `run`, which takes the parsed flags and returns the exit code.
COMMANDS = {"replay": replay, "stress": stress, "find-max": find_max, "diff": diff, "report": report}
EXIT_CODES = "exit codes: 0 success; 1 SLO missed; 2 bad input; 3 run is invalid; 4 server unreachable; 130 interrupted"


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = _Parser(
        prog="loadgen",
        description="Open-loop load generator. `loadgen URL ...` is short for `loadgen replay URL ...`.",
        epilog=EXIT_CODES,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, module in COMMANDS.items():
        about = (module.__doc__ or "").strip().splitlines()[0]
        module.configure(commands.add_parser(name, help=_as_help(about), description=about, epilog=EXIT_CODES))
    return parser


class _Parser(argparse.ArgumentParser):
    """A parser whose errors repeat no secrets."""

    def error(self, message: str) -> NoReturn:
        super().error(masked(message))


def _as_help(sentence: str) -> str:
    return (sentence[:1].lower() + sentence[1:]).removesuffix(".")


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the arguments and run the command; print a refused input as one line; return the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] not in {*COMMANDS, "-h", "--help"}:
        words.insert(0, "replay")
    fill_standard_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that is not UTF-8 has no µ, and a file name may be none
            stream.reconfigure(errors="backslashreplace")
    args = build_parser().parse_args(words)
    with raising():
        return _run(args)


def _run(args: argparse.Namespace) -> int:
    run: Callable[[argparse.Namespace], int] = args.run
    try:
        return run(args)
    except (OSError, InputError) as error:
        complain(masked(str(error)))
        return BAD_INPUT
    except UnreachableError as error:
        complain(str(error))
        return UNREACHABLE
    except KeyboardInterrupt:
        complain("interrupted; there is nothing to report")
        return INTERRUPTED
