"""The chaos suite's table."""

from collections.abc import Iterator

import pytest

from tests.chaos.table import ChaosTable


@pytest.fixture(scope="module")
def chaos_table() -> Iterator[ChaosTable]:
    """Return the table of a file of faults, and print it after its last test."""
    table = ChaosTable()
    yield table
    print(f"\n\n{table.text()}")
