"""Build files leave out of a pod the programs that need packages which no pod has."""

import ast
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

from tests.component_env import pinned
from tests.paths import ROOT

FOLDER = ROOT / "function"


def imported_packages(file: Path) -> set[str]:
    """Return the third-party packages that a module imports anywhere in its code."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return {name.partition(".")[0] for name in names} - {"function", *sys.stdlib_module_names}


def unusable_in_a_pod() -> set[str]:
    """Return the tools that import a package outside the pod's requirements."""
    available, distributions = set(pinned(FOLDER / "requirements.txt")), packages_distributions()
    return {
        f"tools/{file.name}"
        for file in (FOLDER / "tools").glob("*.py")
        if any(available.isdisjoint(map(str.lower, distributions[name])) for name in imported_packages(file))
    }


def test_a_func_build_leaves_out_tools_that_no_pod_can_run() -> None:
    lines = (FOLDER / ".funcignore").read_text().splitlines()
    assert {line for line in lines if line.startswith("tools/")} == unusable_in_a_pod()


def test_the_image_leaves_out_tools_that_no_pod_can_run() -> None:
    (removal,) = re.findall(r"rm -f .*", (FOLDER / "Dockerfile").read_text())
    assert (
        set(re.findall(r"function/(tools/\w+\.py)", removal))
        == unusable_in_a_pod()
        == {
            "tools/export.py",
            "tools/quantise.py",
        }
    )
