"""Renders columns of text as a plain table with rich, for a terminal of any width or for a file."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

# Characters between two columns.
GAP = 2
# A column of words keeps at least this width when it is folded.
FOLDED_WIDTH = 24


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table; its first cell is the heading.

    is_text: the column holds words, which are aligned to the left and folded where the terminal is too narrow. Numbers
        are aligned to the right and never folded.
    """

    cells: tuple[str, ...]
    is_text: bool = False

    @property
    def width(self) -> int:
        """Return the characters that the widest line of any cell takes."""
        return max(cell_len(line) for cell in self.cells for line in cell.split("\n"))

    @property
    def least_width(self) -> int:
        """Return the characters that the column needs to stay readable."""
        return min(self.width, FOLDED_WIDTH) if self.is_text else self.width


def render(columns: Sequence[Column], width: int | None) -> str:
    """Return the columns as a table without colour codes; width is the terminal's, None is without limit.

    Columns that do not fit follow in further tables, each of which repeats the first column.
    """
    if width is None:
        return _table(columns, sum(column.width + GAP for column in columns))
    first, *others = columns
    return "\n\n".join(_table([first, *group], width) for group in _groups(first, others, width))


def _groups(first: Column, others: Sequence[Column], width: int) -> Iterator[list[Column]]:
    """Yield the other columns in groups that fit beside the first one."""
    group: list[Column] = []
    left = width - first.least_width
    for column in others:
        needed = GAP + column.least_width
        if group and needed > left:
            yield group
            group, left = [], width - first.least_width
        group.append(column)
        left -= needed
    yield group


def _table(columns: Sequence[Column], width: int) -> str:
    table = RichTable(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, GAP - 1, 0, 0))
    for column in columns:
        table.add_column(
            Text(column.cells[0]),
            justify="left" if column.is_text else "right",
            overflow="fold",
            no_wrap=not column.is_text,
        )
    for cells in zip(*(column.cells[1:] for column in columns), strict=True):
        table.add_row(*map(Text, cells))
    output = io.StringIO()
    Console(file=output, width=width, color_system=None, force_terminal=False, legacy_windows=False).print(table)
    return "\n".join(line.rstrip() for line in output.getvalue().rstrip("\n").split("\n"))
