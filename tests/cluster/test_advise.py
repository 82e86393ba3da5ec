"""`advise` on a live Service under stock KPA, and then what it predicted for a choice beside the real run of it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

from tests.cluster.cluster import NAMESPACE, Cluster
from tests.paths import ROOT

pytestmark = [pytest.mark.cluster, pytest.mark.proof, pytest.mark.timeout(1200)]

SERVICE = "advised"
STUB = ROOT / "tests/cluster/stub_service.py"
# Half a minute of each rate, so that the pods have to follow; advise sees the first two minutes.
WORKLOAD = "step:seconds=150,low=4,high=14,noise=none"
MINUTES = 2
HOUR_S = 3600


@pytest.fixture
def service(cluster: Cluster) -> Iterator[str]:
    """Deploy a stub that starts in 3 s and serves a request in 0.1 s."""
    env = {"START_S": "3", "SERVICE_S": "0.1", "CPU_S": "0.005"}
    argv, files = ["/usr/bin/python3", "-I", "-S", str(STUB)], {str(STUB): str(STUB)}
    cluster.add_image("dev.local/advised", {"argv": argv, "env": env, "files": files})
    container = {"image": "dev.local/advised", "resources": {"requests": {"cpu": "50m"}, "limits": {"cpu": "1"}}}
    template = {
        "metadata": {"annotations": {"autoscaling.knative.dev/max-scale": "12"}},
        "spec": {"containerConcurrency": 1, "timeoutSeconds": 60, "containers": [container]},
    }
    manifest = {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": {"name": SERVICE}}
    cluster.apply({**manifest, "spec": {"template": template}})
    cluster.run("kubectl", "wait", "-n", NAMESPACE, "--for=condition=Ready", f"ksvc/{SERVICE}", "--timeout=180s")
    yield SERVICE
    cluster.run("kubectl", "delete", "ksvc", "-n", NAMESPACE, SERVICE)


def python(cluster: Cluster, *words: str, timeout_s: float = 900) -> str:
    """Run a module of the project, and return what it printed."""
    argv = [sys.executable, "-m", *words]
    done = subprocess.run(
        argv, cwd=ROOT, env=cluster.env, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_pod_seconds_of_a_choice_are_as_predicted(
    cluster: Cluster, service: str, samples_dir: Path, tmp_path: Path
) -> None:
    traffic = ["loadgen", f"http://{cluster.gateway}/predict", "--host", cluster.host(service), "--quiet"]
    traffic += ["--workload", WORKLOAD, "--images", str(samples_dir), "--max-lag-ms", "10000"]
    sender = subprocess.Popen([sys.executable, "-m", *traffic], cwd=ROOT, env=cluster.env)
    advice = tmp_path / "advice.json"
    words = ["--service", service, "--namespace", NAMESPACE, "--minutes", str(MINUTES), "--initial-pods", "0"]
    print(
        python(
            cluster, "autoscaler_tuning", "advise", *words, "--seeds", "9", "--bounds", "none", "--json", str(advice)
        )
    )
    assert sender.wait(300) == 0
    document = json.loads(advice.read_text())
    counts = document["counts"]
    assert len(counts) == 60 * MINUTES
    assert 4 * 60 * MINUTES <= sum(counts) <= 14 * 60 * MINUTES
    by_policy: dict[str, Any] = {one["policy"]: one for one in document["advice"]}
    assert {"kpa", "kpa[min-scale=1]", "elastic"} <= by_policy.keys()
    seen = tmp_path / "seen.txt"
    seen.write_text(" ".join(map(str, counts)))
    knobs = [one for one in document["advice"] if one["policy"].startswith("kpa")]
    choice = min(knobs, key=lambda one: one["cost_per_hour"])["policy"]
    # The phase of Knative's clock decides how often KPA panics: single runs, real and simulated, can differ by a third.
    runs = 3
    rows = tmp_path / "rows.json"
    words = ["--target", "knative", "--workload", str(seen), "--policies", choice, "--seeds", str(runs)]
    words += ["--max-pods", "12", "--bounds", "none", "--namespace", NAMESPACE, "--service", service]
    words += ["--ml-service-url", f"http://{cluster.gateway}", "--ml-service-host", cluster.host(service)]
    words += ["--images", str(samples_dir), "--log-dir", str(tmp_path), "--json", str(rows), "--max-lag-ms", "10000"]
    print(python(cluster, "autoscaler_tuning", "compare", *words))
    spent = [row["pod_seconds"] for row in json.loads(rows.read_text())["rows"]]
    predicted = by_policy[choice]["pod_seconds_per_hour"]["value"] * len(counts) / HOUR_S
    print(f"{choice}: predicted {predicted:.0f} pod-seconds, real {mean(spent):.0f}, the mean of {spent}")
    assert len(spent) == runs
    assert predicted == pytest.approx(mean(spent), rel=0.1)
