"""The terminal of a command: its width, and a progress line on it."""

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def terminal_width() -> int | None:
    """Return the width of the terminal on standard output; None if it is a file or a pipe."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


@contextmanager
def progress_line(in_files: bool = False) -> Iterator[Callable[[str], None]]:
    """Yield a function that shows its text as one line on standard error, which disappears at the end.

    in_files: if standard error is no terminal, write each text as a line of its own; otherwise nothing is shown there.
    Without auto-refresh the line needs no thread, so that the worker
    processes of a comparison can be forked safely. The cursor stays visible, since SIGTERM would leave it hidden.
    """
    if not sys.stderr.isatty():
        yield (lambda text: print(text, file=sys.stderr, flush=True)) if in_files else (lambda text: None)
        return
    from rich.console import Console  # noqa: PLC0415  about 60 ms, which no pipe and no controller needs
    from rich.progress import Progress, TextColumn  # noqa: PLC0415

    class CursorConsole(Console):
        def show_cursor(self, show: bool = True) -> bool:
            return False

    column = TextColumn("{task.description}", markup=False)
    with Progress(column, console=CursorConsole(stderr=True), transient=True, auto_refresh=False) as line:
        task = line.add_task("")

        def show(text: str) -> None:
            line.update(task, description=text, refresh=True)

        yield show
