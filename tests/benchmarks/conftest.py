"""The table that `make bench` prints and writes to bench.json."""

import json
from collections.abc import Callable, Iterator

import pytest

from tests.cluster.conftest import cluster
from tests.paths import ROOT

__all__ = ["cluster"]

Say = Callable[[str, float, str], None]


@pytest.fixture(scope="session")
def say() -> Iterator[Say]:
    """Return a function that adds a row to the table and to bench.json."""
    rows: list[dict[str, object]] = []

    def line(what: str, value: float, unit: str) -> None:
        rows.append({"what": what, "value": value, "unit": unit})

    yield line
    print("\n\n" + "\n".join(f"{row['what']:<76} {row['value']:>10.4g} {row['unit']}" for row in rows))
    (ROOT / "bench.json").write_text(json.dumps(rows, indent=1) + "\n")
