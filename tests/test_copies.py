"""Modules that stand in several components are the same: the components cannot import each other."""

import pytest

from tests.paths import ROOT

COPIES = [
    ("trace_context", ("function", "loadgen")),
    ("otlp", ("function", "loadgen")),
    ("line_log", ("function",)),
]


@pytest.mark.parametrize(("module", "others"), COPIES, ids=[module for module, _ in COPIES])
def test_a_copied_module_differs_only_in_the_name_of_its_package(module: str, others: tuple[str, ...]) -> None:
    text = (ROOT / f"dispatcher/{module}.py").read_text()
    for other in others:
        assert (ROOT / f"{other}/{module}.py").read_text() == text.replace("from dispatcher.", f"from {other}.")
