"""Print the parts of each package, with their files and their imports of each other, from the current code.

    .venv/bin/python scripts/layout.py            all packages
    .venv/bin/python scripts/layout.py loadgen    one of them

A part is a module or sub-package directly below a package. Its level is the longest chain of imports below it.
"""

import logging
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("function", "dispatcher", "knative", "loadgen", "autoscaler_tuning")


@dataclass(frozen=True, slots=True)
class Part:
    """A module or sub-package, with its number of files and the parts of the same package that it imports."""

    name: str
    files: int
    imports: tuple[str, ...]


def parts_of(graph: grimp.ImportGraph, package: str) -> dict[str, Part]:
    """Return the parts of a package by name."""
    names = sorted(child.removeprefix(f"{package}.") for child in graph.find_children(package))
    return {name: _part(graph, package, name, names) for name in names if name != "__main__"}


def _part(graph: grimp.ImportGraph, package: str, name: str, names: Iterable[str]) -> Part:
    module = f"{package}.{name}"
    files = len(graph.find_descendants(module)) + 1
    imports = tuple(
        other
        for other in names
        if other != name
        and graph.direct_import_exists(importer=module, imported=f"{package}.{other}", as_packages=True)
    )
    return Part(name, files, imports)


def levels(parts: dict[str, Part]) -> dict[str, int]:
    """Return each part's level, 1 for one that imports no other; raise ValueError if imports are circular."""
    found: dict[str, int] = {}
    while len(found) < len(parts):
        ready = [part for part in parts.values() if part.name not in found and set(part.imports) <= found.keys()]
        if not ready:
            raise ValueError(f"circular imports among {', '.join(sorted(parts.keys() - found.keys()))}")
        found |= {part.name: 1 + max((found[name] for name in part.imports), default=0) for part in ready}
    return found


def lines(package: str, parts: dict[str, Part]) -> Iterator[str]:
    """Yield the lines for a package, highest level first."""
    level = levels(parts)
    arrows = sum(len(part.imports) for part in parts.values())
    files = sum(part.files for part in parts.values())
    yield f"{package}: {len(parts)} parts, {files} files, {arrows} arrows, {max(level.values())} levels"
    width = max(map(len, parts))
    for part in sorted(parts.values(), key=lambda part: (-level[part.name], part.name)):
        count = f"{part.files} files" if part.files > 1 else "1 file"
        arrow = f"-> {', '.join(part.imports)}" if part.imports else ""
        yield f"  {level[part.name]}  {part.name:{width}}  {count:>8}  {arrow}".rstrip()


def main(argv: list[str]) -> int:
    """Print the layout; return 2 if a package is unknown."""
    wanted = argv or list(PACKAGES)
    if unknown := sorted(set(wanted) - set(PACKAGES)):
        print(f"layout: a package must be one of {', '.join(PACKAGES)}, got {', '.join(unknown)}", file=sys.stderr)
        return 2
    sys.path.insert(0, str(ROOT))
    logging.getLogger("grimp").setLevel(logging.ERROR)  # function/gunicorn.conf.py is not a module
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    print("\n\n".join("\n".join(lines(package, parts_of(graph, package))) for package in wanted))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
