"""Python environments with only one component's pinned requirements, created without network access."""

import os
import re
import subprocess
import sys
from importlib.metadata import distribution
from importlib.util import cache_from_source
from pathlib import Path

PIN = re.compile(r"^([A-Za-z0-9_.-]+)==", re.MULTILINE)


def pinned(requirements: Path) -> list[str]:
    """Return the names of the distributions that a requirements.txt pins."""
    return PIN.findall(requirements.read_text())


def component_environment(requirements: Path, folder: Path) -> dict[str, str]:
    """Return the environment variables of a process that finds these packages and commands, and no others of ours.

    The packages are links to those that run this test; test_house.py checks that the versions are the same.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", "--symlinks", str(folder)], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    for name in pinned(requirements):
        _link(name, site, folder / "bin")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
    return {**kept, "PATH": f"{folder / 'bin'}:/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"}


def _link_bytecode(source: Path, link: Path) -> None:
    """Link the compiled module, if there is one: compiling the cluster library takes seconds."""
    compiled, target = Path(cache_from_source(source)), Path(cache_from_source(link))
    if compiled.is_file():
        target.parent.mkdir(exist_ok=True)
        target.symlink_to(compiled)


def _link(name: str, site: Path, commands: Path) -> None:
    found = distribution(name)
    for file in found.files or ():
        source = Path(str(found.locate_file(file)))
        if ".." not in file.parts and source.is_file():
            (site / file).parent.mkdir(parents=True, exist_ok=True)
            (site / file).symlink_to(source)
            if source.suffix == ".py":
                _link_bytecode(source, site / file)
    for entry in found.entry_points.select(group="console_scripts"):
        module, _, function = entry.value.partition(":")
        script = commands / entry.name
        script.write_text(
            f"#!{commands / 'python'}\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n"
        )
        script.chmod(0o755)
