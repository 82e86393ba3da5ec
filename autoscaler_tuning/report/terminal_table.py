"""Renders columns of text as a plain table with rich, for a terminal of any width or for a file.

rich is imported only where a table is rendered: the controller, which starts with this module, never renders one.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import compress, takewhile

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
        from rich.cells import cell_len  # noqa: PLC0415

        return max(cell_len(line) for cell in self.cells for line in cell.split("\n"))

    @property
    def least_width(self) -> int:
        """Return the characters that the column needs to stay readable."""
        return min(self.width, FOLDED_WIDTH) if self.is_text else self.width


def render(columns: Sequence[Column], width: int | None) -> str:
    """Return the columns as a table without colour codes.

    width: characters of the terminal; None means no limit.
    Columns that do not fit follow in further tables. These repeat the columns of words at the left and leave out lines
    that are empty otherwise.
    """
    if width is None:
        return _table(columns, sum(column.width + GAP for column in columns))
    keys = list(takewhile(lambda column: column.is_text, columns))
    first, *others = _groups(columns[len(keys) :], width - sum(column.least_width + GAP for column in keys))
    groups = [[*keys, *first], *(_without_empty_lines(keys, group) for group in others)]
    return "\n\n".join(_table(group, width) for group in groups)


def _groups(columns: Sequence[Column], width: int) -> Iterator[list[Column]]:
    """Yield the columns in groups that fit into a width; a group has at least one column, unless there are none."""
    group: list[Column] = []
    left = width
    for column in columns:
        if group and column.least_width > left:
            yield group
            group, left = [], width
        group.append(column)
        left -= column.least_width + GAP
    yield group


def _without_empty_lines(keys: Sequence[Column], group: Sequence[Column]) -> list[Column]:
    """Return both as the columns of one table, without the lines in which the group is empty."""
    kept = [any(cells) for cells in zip(*(column.cells for column in group), strict=True)]
    return [replace(column, cells=tuple(compress(column.cells, kept))) for column in (*keys, *group)]


def _table(columns: Sequence[Column], width: int) -> str:
    from rich import box  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table as RichTable  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

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
