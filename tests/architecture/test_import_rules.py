"""The import contracts refuse what they forbid: wrong imports are planted in a copy, one at a time."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.paths import ROOT

PACKAGES = ("function", "dispatcher", "knative", "autoscaler_tuning", "loadgen")

# (file, import, words from the name of the contract that must refuse it)
PLANTED = [
    ("function/images.py", "import dispatcher.config", "services and tools, which know nothing of each other"),
    ("dispatcher/relay.py", "from function.config import number", "which know nothing of each other"),
    ("loadgen/sending/transport.py", "import knative.errors", "which know nothing of each other"),
    ("knative/local.py", "from autoscaler_tuning.types import PodPhase", "which know nothing of each other"),
    ("autoscaler_tuning/live/serve.py", "import dispatcher.buffer", "Decisions never import the services"),
    ("autoscaler_tuning/experiments/compare.py", "import function.config", "Decisions never import the services"),
    (
        "autoscaler_tuning/live/live_run.py",
        "from loadgen.sending.replay import run_replay",
        "only its workloads are used",
    ),
    ("autoscaler_tuning/report/tables.py", "import loadgen.analysis.summary", "only its workloads are used"),
    ("autoscaler_tuning/policies/peak.py", "from knative.objects import Pod", "runs with real pods knows the cluster"),
    ("autoscaler_tuning/experiments/tune.py", "import knative.client", "runs with real pods knows the cluster"),
    ("autoscaler_tuning/live/targets.py", "from kubernetes import client", "imported in knative.client alone"),
    ("knative/objects.py", "import kubernetes", "imported in knative.client alone"),
    ("autoscaler_tuning/policies/elastic/error_paths.py", "import time", "Pure cores import no"),
    ("autoscaler_tuning/policies/start_times.py", "import logging", "Pure cores import no"),
    ("autoscaler_tuning/simulator/cluster.py", "import threading", "Pure cores import no"),
    ("autoscaler_tuning/bounds/grid.py", "from concurrent.futures import ProcessPoolExecutor", "Pure cores import no"),
    ("dispatcher/buffer.py", "import asyncio", "Pure cores import no"),
    ("dispatcher/signals.py", "from dispatcher.relay import Relay", "Pure cores import no"),
    ("function/protocols/v1.py", "import flask", "Pure cores import no"),
    ("function/protocols/v2.py", "import function.classifier", "Pure cores import no"),
    ("loadgen/analysis/gates.py", "import requests", "Pure cores import no"),
    ("loadgen/workload/arrivals.py", "import random", "Pure cores import no"),
    ("autoscaler_tuning/policies/base.py", "import autoscaler_tuning.simulator.world", "autoscaler_tuning: layers"),
    (
        "autoscaler_tuning/simulator/world.py",
        "import autoscaler_tuning.experiments.reaction",
        "autoscaler_tuning: layers",
    ),
    ("autoscaler_tuning/experiments/goals.py", "import autoscaler_tuning.validation.fit", "autoscaler_tuning: layers"),
    ("autoscaler_tuning/report/tables.py", "import autoscaler_tuning.live.serve", "autoscaler_tuning: layers"),
    ("autoscaler_tuning/policies/peak.py", "import autoscaler_tuning.policies.registry", "no policy knows another"),
    ("autoscaler_tuning/policies/hpa/rules.py", "import autoscaler_tuning.policies.kpa.kpa", "no policy knows another"),
    ("loadgen/analysis/summary.py", "import loadgen.sending.sender", "loadgen: layers"),
    ("dispatcher/config.py", "import dispatcher.buffer", "dispatcher: layers"),
    ("dispatcher/journal/base.py", "import dispatcher.journal.opening", "dispatcher.journal: two kinds"),
    (
        "dispatcher/journal/sqlite_journal.py",
        "import dispatcher.journal.redis_journal",
        "dispatcher.journal: two kinds",
    ),
    ("dispatcher/signals.py", "import redis", "dispatcher.journal.redis_journal alone"),
    ("function/manifest.py", "import function.classifier", "function: layers"),
    ("function/app.py", "import function.tools.export", "function: layers"),
    ("knative/procfs.py", "import knative.local", "knative: layers"),
]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the packages and the contracts."""
    folder = tmp_path_factory.mktemp("copy")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__", "model"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


@contextmanager
def planted(file: Path, line: str) -> Iterator[None]:
    before = file.read_text()
    file.write_text(f"{before}\n{line}\n")
    try:
        yield
    finally:
        file.write_text(before)


def lint(folder: Path) -> tuple[int, str]:
    """Return the exit status, and the output with its line breaks replaced by spaces."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, " ".join(f"{done.stdout} {done.stderr}".split())


@pytest.mark.integration
def test_the_unchanged_project_keeps_every_contract(copy: Path) -> None:
    status, output = lint(copy)
    assert status == 0, output
    assert " 0 broken" in output


@pytest.mark.integration
@pytest.mark.parametrize(("file", "line", "contract"), PLANTED, ids=[f"{file}: {line}" for file, line, _ in PLANTED])
def test_a_wrong_import_is_refused(copy: Path, file: str, line: str, contract: str) -> None:
    with planted(copy / file, line):
        status, output = lint(copy)
    assert status == 1, output
    broken = output.partition("Broken contracts")[2]
    assert contract in broken, output


@pytest.mark.integration
@pytest.mark.parametrize("package", ["autoscaler_tuning", "loadgen", "dispatcher", "function", "knative"])
def test_a_new_module_must_be_assigned_to_a_layer(copy: Path, package: str) -> None:
    new = copy / package / "newcomer.py"
    new.write_text('"""A module that no layer lists."""\n')
    try:
        status, output = lint(copy)
    finally:
        new.unlink()
    assert status == 1
    assert f"{package}.newcomer" in output
