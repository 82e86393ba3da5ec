"""Standard output and the files of a command: checked before the first request, and each written apart."""

import argparse
import os
import stat
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from loadgen.errors import BAD_INPUT, OK, InputError


def output_file(word: str) -> Path:
    """Parse the name of an output file."""
    if word == "-":
        raise argparse.ArgumentTypeError("must be a file, because standard output has the report, got '-'")
    return Path(word)


def check_files(files: Mapping[str, Path | None], inputs: Iterable[Path] = ()) -> None:
    """Raise InputError if one of the files (by flag) cannot be written, or if two are the same or one is an input."""
    outputs = {flag: path for flag, path in files.items() if path}
    taken = {_identity(path): f"the input {path}" for path in inputs if path.is_file()}
    if (redirected := _standard_output()) is not None:
        taken[redirected] = "standard output"
    for flag, path in outputs.items():
        _check_file(flag, path)
        other = taken.setdefault(_identity(path), flag)
        if other != flag and not path.is_char_device():
            raise InputError(f"{flag} must be a file of its own, got {path}, which is also {other}")


def write_file(flag: str, path: Path, render: Callable[[], str]) -> int:
    """Write what render returns; return 0, or 2 after a line about what failed, so that the other files are written."""
    try:
        path.write_text(render(), encoding="utf-8", errors="backslashreplace")
    except Exception as error:  # noqa: BLE001  a report that cannot be made or written must not cost the others
        reason = (error.strerror if isinstance(error, OSError) else None) or f"{type(error).__name__}: {error}"
        complain(f"{flag} {path} was not written: {reason}")
        return BAD_INPUT
    return OK


def fill_standard_streams() -> None:
    """Open /dev/null as each standard stream that is closed: else a socket would get its number, and libuv aborts."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number


def show(text: str, flush: bool = True) -> int:
    """Print on standard output; return 0, or 2 if it failed.

    If it is closed or full, the command goes on without it, because its files are still to be written. A reader that
    closes its pipe early, such as `head`, is no failure.
    """
    try:
        print(text, flush=flush)
    except OSError as error:
        _discard_standard_output()
        if isinstance(error, BrokenPipeError):
            return OK
        complain(f"standard output failed: {error.strerror}")
        return BAD_INPUT
    return OK


def complain(line: str) -> None:
    """Print a line on standard error, if there is one."""
    if sys.stderr is None:  # print() would take standard output instead
        return
    try:
        print(f"loadgen: {line}", file=sys.stderr, flush=True)
    except OSError:
        return


def _discard_standard_output() -> None:
    """Send the rest to /dev/null: Python would try to print what is left in its buffer once more when it exits."""
    with suppress(OSError, ValueError), Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _check_file(flag: str, path: Path) -> None:
    try:
        if not path.parent.is_dir() or path.is_dir():
            raise InputError(f"{flag} must be a file in an existing folder, got {path}")
        _try_to_write(path)
    except OSError as error:
        raise InputError(f"{flag} must be a file that can be written, got {path}: {error.strerror}") from error


def _try_to_write(path: Path) -> None:
    """Open the file without changing it, and leave none behind; raise OSError if that is not possible."""
    exists = path.exists()
    if exists and not path.is_file():  # opening a pipe would wait for its reader
        if not os.access(path, os.W_OK):
            raise PermissionError(0, "it is not writable")
        return
    real = path if exists else Path(os.path.realpath(path))  # a link to a file that does not exist yet
    with real.open("ab"):
        pass
    if not exists:
        real.unlink()


def _identity(path: Path) -> object:
    """Return what two names of one file have in common."""
    if not path.exists():
        return os.path.realpath(path)
    found = path.stat()
    return found.st_dev, found.st_ino


def _standard_output() -> object | None:
    """Return the identity of the file to which standard output is redirected, if it is one."""
    try:
        found = os.fstat(sys.stdout.fileno())
    except (OSError, ValueError, AttributeError):  # it is closed, or not a file at all
        return None
    return (found.st_dev, found.st_ino) if stat.S_ISREG(found.st_mode) else None
