"""The table of the chaos suite: a row per fault, printed at the end."""

from collections.abc import Mapping


class ChaosTable:
    """Collects rows."""

    def __init__(self) -> None:
        self._rows: list[tuple[str, Mapping[str, int]]] = []

    def row(self, fault: str, counts: Mapping[str, int]) -> None:
        """Add what became of the requests beside one fault."""
        self._rows.append((fault, counts))

    def text(self) -> str:
        """Return the table; a column per fate."""
        if not self._rows:
            return ""
        columns = list(self._rows[0][1])
        width = max(len(fault) for fault, _ in self._rows)
        lines = [" " * width + "".join(f"{column:>11}" for column in columns)]
        lines += [fault.ljust(width) + "".join(f"{counts[column]:>11}" for column in columns) for fault, counts in self._rows]  # fmt: skip
        return "\n".join(lines)
