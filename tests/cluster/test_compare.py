"""`compare --target knative`: Knative's own KPA and then elastic on the live Revision, each starting from zero pods."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.cluster import NAMESPACE, Cluster
from tests.paths import ROOT

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]

WORKLOAD = "step:seconds=30,low=1,high=6,noise=none"
REQUESTS = 80


def test_kpa_and_elastic_on_the_live_revision(
    cluster: Cluster, deployed_service: str, samples_dir: Path, model_dir: Path, tmp_path: Path
) -> None:
    out = tmp_path / "rows.json"
    command = [sys.executable, "-m", "autoscaler_tuning", "compare", "--target", "knative", "--workload", WORKLOAD]
    command += ["--policies", "kpa,elastic", "--seeds", "1", "--max-pods", "3", "--namespace", NAMESPACE]
    command += ["--service", deployed_service, "--ml-service-url", f"http://{cluster.gateway}"]
    command += ["--ml-service-host", cluster.host(deployed_service), "--images", str(samples_dir)]
    command += ["--model-dir", str(model_dir), "--log-dir", str(tmp_path), "--json", str(out)]
    done = subprocess.run(command, cwd=ROOT, env=cluster.env, capture_output=True, text=True, timeout=1000, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
    rows = json.loads(out.read_text())["rows"]
    assert [row["policy"] for row in rows] == ["kpa", "elastic"]
    for row in rows:
        assert (row["target"], row["requests"], row["lost"]) == ("knative", REQUESTS, 0)
        assert row["cold_starts"] >= 1
        assert row["pod_seconds"] > 0
