"""Tables of benchmarks: printed at once, and kept in bench-NAME.json."""

import json
import os
from collections.abc import Mapping, Sequence

from tests.paths import ROOT

Row = Mapping[str, object]


def show(name: str, title: str, rows: Sequence[Row]) -> None:
    """Print a table, whose columns are the keys of the first row, and write it to bench-NAME.json under its title."""
    columns = list(rows[0])
    cells = [[_text(row.get(column, "")) for column in columns] for row in rows]
    widths = [max(len(column), *(len(row[at]) for row in cells)) for at, column in enumerate(columns)]
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"\n\n{title} (load average at the end {load})")
    for line in (columns, *cells):
        first, *others = line
        print(first.ljust(widths[0]) + "".join(word.rjust(width + 2) for word, width in zip(others, widths[1:], strict=True)))  # fmt: skip
    file = ROOT / f"bench-{name}.json"
    document = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps({**document, title: list(rows)}, indent=1) + "\n")


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
