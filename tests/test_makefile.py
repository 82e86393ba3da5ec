"""`make`: what it does when one of its commands fails, and how it builds images. The commands are stand-ins."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.paths import ROOT

pytestmark = pytest.mark.integration

# Writes its arguments to the file `calls`, and fails as the table of its exit statuses says.
STAND_IN = """#!/bin/bash
echo "$(basename "$0") $*" >> calls
case "$*" in {cases} esac
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a folder with the Makefile, in which nothing is installed yet."""
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text())
    (tmp_path / "requirements.txt").touch()
    return tmp_path


def install(clone: Path, python: str, finished: bool = True) -> None:
    """Make a .venv whose Python is a stand-in. python: the cases of its exit statuses."""
    stand_in(clone / ".venv/bin/python", python)
    if finished:
        (clone / ".venv/.installed-0").touch()


def stand_in(file: Path, cases: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(STAND_IN.format(cases=cases))
    file.chmod(0o755)


def make(clone: Path, *words: str) -> int:
    env = {**os.environ, "PATH": f"{clone / 'bin'}:{os.environ['PATH']}"}
    command = ["make", "STAMP=.venv/.installed-0", *words]
    return subprocess.run(command, cwd=clone, env=env, capture_output=True, check=False).returncode


def calls(clone: Path) -> list[str]:
    file = clone / "calls"
    return file.read_text().splitlines() if file.exists() else []


EXPORT = "python -m function.tools.export --weights {} --out model"


def test_random_weights_are_used_if_those_of_imagenet_cannot_be_downloaded(clone: Path) -> None:
    install(clone, "*imagenet*) exit 3;;")
    assert make(clone, "model/manifest.json") == 0
    assert calls(clone) == [EXPORT.format("imagenet"), EXPORT.format("random")]


@pytest.mark.parametrize("status", [130, 1, 137], ids=["Ctrl-C", "a file that does not verify", "a kill"])
def test_random_weights_are_used_after_no_other_failure(clone: Path, status: int) -> None:
    install(clone, f"*imagenet*) exit {status};;")
    assert make(clone, "model/manifest.json") != 0
    assert calls(clone) == [EXPORT.format("imagenet")]


@pytest.mark.parametrize("target", ["clean", "down"])
def test_what_an_interrupted_setup_has_left_can_be_removed(clone: Path, target: str) -> None:
    install(clone, "*) exit 1;;", finished=False)
    assert make(clone, target) == 0
    assert (clone / ".venv").exists() == (target == "down")


def test_clean_stops_what_runs_before_it_removes_anything(clone: Path) -> None:
    install(clone, "*down) exit 1;;")
    assert make(clone, "clean") != 0
    assert calls(clone) == ["python -m autoscaler_tuning down"]
    assert (clone / ".venv").exists()


def test_docker_builds_with_buildkit_which_old_versions_use_only_if_told_to(clone: Path) -> None:
    stand_in(clone / "bin/docker", 'info) echo "Server Version: 20.10.24";; build*) test "$DOCKER_BUILDKIT" = 1;;')
    assert make(clone, "image", "WEIGHTS=random") == 0
    build = "docker build --file function/Dockerfile --tag dev.local/resnet18 --build-arg WEIGHTS=random ."
    assert calls(clone)[-1] == build
