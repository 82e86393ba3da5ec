"""Modules that stand in several components are the same: the components cannot import each other."""

from pathlib import Path

import pytest

from tests.paths import ROOT

COPIES = [
    ("trace_context", ("function", "loadgen")),
    ("otlp", ("function", "loadgen")),
    ("line_log", ("function",)),
]


def copies() -> set[Path]:
    """Return all copies but the one in dispatcher."""
    return {ROOT / other / f"{module}.py" for module, others in COPIES for other in others}


@pytest.mark.parametrize(("module", "others"), COPIES, ids=[module for module, _ in COPIES])
def test_a_copied_module_differs_only_in_the_name_of_its_package(module: str, others: tuple[str, ...]) -> None:
    text = (ROOT / f"dispatcher/{module}.py").read_text()
    for other in others:
        assert (ROOT / f"{other}/{module}.py").read_text() == text.replace("from dispatcher.", f"from {other}.")
