"""Text for terminals, log files and pipes through rich; rich is imported only where something is printed.

Importing rich takes about 60 ms, which a run with --quiet or a report need not spend.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

# Columns of a file or pipe: wider than any line, so that none is wrapped.
UNLIMITED_COLUMNS = 10_000


def console_for(out: TextIO) -> Console:
    """Return a console that prints text as it is, and colours and control codes only on a terminal.

    Neither square brackets nor emoji names in a user's text are interpreted. As with print(), a closed pipe raises
    BrokenPipeError.
    """
    from rich.console import Console  # noqa: PLC0415

    class PipeConsole(Console):
        def on_broken_pipe(self) -> None:  # rich would exit with 1, which stands for a missed SLO
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    terminal = out.isatty()
    return PipeConsole(
        file=out,
        force_terminal=terminal,  # not left to rich: it would obey FORCE_COLOR in a log file too
        width=None if terminal else UNLIMITED_COLUMNS,
        markup=False,
        emoji=False,
        highlight=False,
    )


def plain_table(*headings: str) -> Table:
    """Return a table without lines; the first column is left-aligned, the others are right-aligned."""
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="right" if index else "left")
    return table
