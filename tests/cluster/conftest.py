"""The cluster that the tests in this folder share, and the Service deployed in it."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster import cluster as clusters
from tests.cluster import oci
from tests.cluster.cluster import Cluster
from tests.paths import ROOT


@pytest.fixture(scope="session")
def cluster(shared_dir: Path, model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Run a real Kubernetes and Knative in which the image dev.local/resnet18 is the real function."""
    scripts = shared_dir / "cluster"
    if not scripts.is_dir():
        pytest.skip(f"needs the cluster's scripts: {scripts} does not exist")
    if reason := clusters.why_not():
        pytest.skip(reason)
    programs = clusters.get_programs(scripts)
    with clusters.running(scripts, programs, model_dir, tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture(scope="session")
def deployed_service(cluster: Cluster) -> str:
    """Deploy a Service with the README's command `kn service create`, and return its name once a Revision is ready."""
    argv = clusters.kn_create((ROOT / "README.md").read_text())
    cluster.run(*argv)
    return argv[3]


Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start(cluster: Cluster) -> Iterator[Start]:
    """Return a function that starts our own programs outside the cluster; they are stopped after the test."""
    started: list[subprocess.Popen[bytes]] = []

    def run(*argv: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, "-m", *argv], cwd=ROOT, env=cluster.env)
        started.append(process)
        return process

    yield run
    for process in started:
        process.terminate()
    for process in started:
        process.wait(90)


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, oci.Image]]:
    """Build both images; the function's model has random weights, which need no network."""
    if reason := oci.why_not():
        pytest.skip(reason)
    began_s = time.monotonic()
    folder = tmp_path_factory.mktemp("images")
    builder = oci.Builder(folder)
    builder.make_base()
    print(f"base image: {time.monotonic() - began_s:.0f} s")
    built = {}
    for component, arguments in {"function": ("--build-arg", "WEIGHTS=random"), "dispatcher": ()}.items():
        began_s = time.monotonic()
        built[component] = builder.build(component, *arguments)
        print(f"image of {component}: {time.monotonic() - began_s:.0f} s, {built[component].size_bytes / 1e6:.0f} MB")
    yield built
    shutil.rmtree(folder)  # a gigabyte, which pytest would keep for three runs
