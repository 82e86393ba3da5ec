"""The load generator against a Knative route, with the gateway's address and the route's host name."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.cluster import Cluster
from tests.paths import ROOT

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


def test_a_workload_is_replayed_through_the_route(
    cluster: Cluster, deployed_service: str, samples_dir: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run.json"
    command = [
        sys.executable,
        "-m",
        "loadgen",
        f"http://{cluster.gateway}/predict",
        "--host",
        cluster.host(deployed_service),
    ]
    command += ["--workload", "step:seconds=20,low=1,high=4,noise=none", "--images", str(samples_dir)]
    command += ["--timeout-s", "60", "--max-lag-ms", "1000", "--json", str(out), "--verbose"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    print(done.stdout[-1500:])
    columns = json.loads(out.read_text())["requests"]
    assert done.returncode == 0, done.stderr
    assert len(columns["status"]) == 41
    assert set(columns["status"]) == {200}
    assert all(columns["label"])
    assert "Classified as" in done.stdout


def test_an_unknown_host_name_is_recorded_as_404_and_does_not_stop_the_run(
    cluster: Cluster, samples_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "w.txt").write_text("3")
    command = [sys.executable, "-m", "loadgen", f"http://{cluster.gateway}/predict", "--host", "unknown.example.com"]
    command += ["--workload", str(tmp_path / "w.txt"), "--images", str(samples_dir), "--max-lag-ms", "1000"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert "3x status 404" in done.stdout
