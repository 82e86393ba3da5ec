"""The cluster that the tests of this folder share, and the Service deployed in it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import cluster as clusters
from tests.cluster.cluster import ROOT, Cluster


@pytest.fixture(scope="session")
def cluster(shared_dir: Path, model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A real Kubernetes and Knative whose image dev.local/resnet18 is the real function."""
    scripts = shared_dir / "cluster"
    if not scripts.is_dir():
        pytest.skip(f"needs the cluster's scripts, {scripts} does not exist")
    if reason := clusters.why_not():
        pytest.skip(reason)
    programs = clusters.get_programs(scripts)
    with clusters.running(scripts, programs, model_dir, tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture(scope="session")
def deployed_service(cluster: Cluster) -> str:
    """Name of the Service that the README's own line `kn service create` made; its first Revision is ready."""
    argv = clusters.kn_create((ROOT / "README.md").read_text())
    cluster.run(*argv)
    return argv[3]
