"""Each name has one meaning: no two modules of a package and no two classes of the project share a name."""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

from tests.paths import ROOT
from tests.test_copies import copies

PACKAGES = ("function", "dispatcher", "knative", "autoscaler_tuning", "loadgen")
# Module names that a reader expects in every package, with the same meaning in each.
EVERYWHERE = {"__init__", "__main__", "cli", "config", "base", "errors", "types"}
# Each component has its own settings and connection errors; the names mean the same in each.
SAME_MEANING = {"Config", "ConfigError", "UnreachableError"}


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def doubles(places: dict[str, list[str]], allowed: set[str]) -> dict[str, list[str]]:
    return {name: found for name, found in places.items() if len(found) > 1 and name not in allowed}


@pytest.mark.parametrize("package", PACKAGES)
def test_no_two_modules_of_a_package_share_a_name(package: str) -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path in modules(package):
        # a sub-package may hold the module that it is named after, as kpa/kpa.py
        places[path.stem].append(str(path.relative_to(ROOT)))
    assert doubles(places, EVERYWHERE) == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_shares_its_name_with_a_data_folder_or_another_sub_package(package: str) -> None:
    folders = {path for path in (ROOT / package).rglob("*") if path.is_dir() and path.name != "__pycache__"}
    clashes = {
        str(path.relative_to(ROOT))
        for path in modules(package)
        for folder in folders
        if path.stem in (folder.name, folder.name.removesuffix("s"))
        and path.parent != folder
        and folder not in path.parents
    }
    assert clashes == set()


def test_no_two_classes_of_the_project_share_a_name() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for package in PACKAGES:
        for path in set(modules(package)) - copies():
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.ClassDef):
                    places[node.name].append(str(path.relative_to(ROOT)))
    assert len(places) > 150
    assert doubles(places, SAME_MEANING) == {}
