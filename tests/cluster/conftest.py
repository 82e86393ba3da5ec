"""The cluster that the tests in this folder share, and the Service deployed in it."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Protocol

import pytest

from tests.cluster import cluster as clusters
from tests.cluster import oci
from tests.cluster.cluster import Cluster
from tests.cluster.ledger import Ledger
from tests.paths import ROOT
from tests.ports import free_port


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


class Start(Protocol):
    """Starts a module of ours outside the cluster; its messages go into the log file, if one is named."""

    def __call__(self, *argv: str, log: Path | None = None) -> subprocess.Popen[bytes]: ...


@contextmanager
def starting(env: Mapping[str, str]) -> Iterator[Start]:
    """Give a function that starts our own programs with these variables; they are stopped at the end of the block."""
    started: list[subprocess.Popen[bytes]] = []

    def run(*argv: str, log: Path | None = None) -> subprocess.Popen[bytes]:
        with log.open("wb") if log else nullcontext() as output:
            command = [sys.executable, "-m", *argv]
            process = subprocess.Popen(command, cwd=ROOT, env=dict(env), stdout=output, stderr=output)
        started.append(process)
        return process

    try:
        yield run
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(90)


@pytest.fixture
def start(cluster: Cluster) -> Iterator[Start]:
    """Return a function that starts our own programs outside the cluster; they are stopped after the test."""
    with starting(cluster.env) as run:
        yield run


class StartLoad(Protocol):
    """Starts a steady load on a URL, with the route's host name if that is a gateway; call it for the ledger."""

    def __call__(self, url: str, rate_rps: int, seconds: int, host: str | None = None) -> Callable[[], Ledger]: ...


@pytest.fixture
def start_load(start: Start, tmp_path: Path) -> StartLoad:
    """Return a function that starts a load in the background and returns what waits for its ledger."""

    def run(url: str, rate_rps: int, seconds: int, host: str | None = None) -> Callable[[], Ledger]:
        out = tmp_path / f"load-{free_port()}.json"
        workload = f"step:seconds={seconds},low={rate_rps},high={rate_rps},noise=none"
        process = start(
            *("loadgen", f"{url}/predict", "--workload", workload, "--images", str(ROOT / "samples/cat.jpg")),
            *("--protocol", "raw", "--timeout-s", "60", "--max-lag-ms", "5000", "--quiet", "--json", str(out)),
            *(("--host", host) if host else ()),
            log=out.with_suffix(".log"),
        )

        def ledger() -> Ledger:
            process.wait(seconds + 120)
            assert out.exists(), out.with_suffix(".log").read_text()
            return Ledger.read(out)

        return ledger

    return run


@pytest.fixture(scope="session")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[oci.Builder]:
    """Return what builds images, with the base image of all of them."""
    if reason := oci.why_not():
        pytest.skip(reason)
    began_s = time.monotonic()
    folder = tmp_path_factory.mktemp("images")
    made = oci.Builder(folder)
    made.make_base()
    print(f"base image: {time.monotonic() - began_s:.0f} s")
    yield made
    shutil.rmtree(folder)  # a gigabyte, which pytest would keep for three runs


@pytest.fixture(scope="session")
def images(builder: oci.Builder) -> dict[str, oci.Image]:
    """Build all images; the function's model has random weights, which need no network."""
    built = {}
    weights = ("--build-arg", "WEIGHTS=random")
    for component, arguments in {"function": weights, "dispatcher": (), "autoscaler_tuning": ()}.items():
        began_s = time.monotonic()
        built[component] = builder.build(component, *arguments)
        print(f"image of {component}: {time.monotonic() - began_s:.0f} s, {built[component].size_bytes / 1e6:.0f} MB")
    return built
