"""`compare --target knative`: stock KPA and HPA straight at the route, then elastic, each on pods of its own."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.cluster import NAMESPACE, Cluster, wait_until
from tests.paths import ROOT

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]

WORKLOAD = "step:seconds=30,low=1,high=6,noise=none"
REQUESTS = 80
# A line of progress: the policy, the second, the rate, and at its end the pods.
PROGRESS = re.compile(r"^(\S+), run 1 of 1: \d+ s +[\d.]+/s .* pods ready,", re.MULTILINE)


def command(cluster: Cluster, service: str, samples_dir: Path, logs: Path, *flags: str) -> list[str]:
    """Return the command of a comparison on the Service."""
    argv = [sys.executable, "-m", "autoscaler_tuning", "compare", "--target", "knative", "--workload", WORKLOAD]
    argv += ["--seeds", "1", "--max-pods", "3", "--namespace", NAMESPACE, "--bounds", "none"]
    argv += ["--service", service, "--ml-service-url", f"http://{cluster.gateway}"]
    argv += ["--ml-service-host", cluster.host(service), "--images", str(samples_dir)]
    return [*argv, "--log-dir", str(logs), *flags]


def services(cluster: Cluster) -> list[str]:
    """Return the names of all Services."""
    return cluster.run("kubectl", "get", "ksvc", "-n", NAMESPACE, "-o", "name").split()


def test_kpa_hpa_and_elastic_on_a_service_which_stays_as_it_was(
    cluster: Cluster, deployed_service: str, samples_dir: Path, tmp_path: Path
) -> None:
    out, record = tmp_path / "rows.json", tmp_path / "runs"
    client = cluster.client()
    revision = client.live_revision(deployed_service).name
    before, known = client.annotations(revision), (cluster.revisions(deployed_service), services(cluster))
    argv = command(cluster, deployed_service, samples_dir, tmp_path, "--json", str(out), "--record-runs", str(record))
    argv += ["--policies", "kpa,hpa70,elastic"]
    done = subprocess.run(argv, cwd=ROOT, env=cluster.env, capture_output=True, text=True, timeout=1000, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout, done.stderr)
    document = json.loads(out.read_text())
    paths = {row["policy"]: row["path"] for row in document["live"]}
    assert paths == {
        "kpa": ["ingress", "activator", "queue-proxy"],
        "hpa70": ["ingress", "queue-proxy"],
        "elastic": ["dispatcher", "ingress", "activator", "queue-proxy"],
    }
    for row, live in zip(document["rows"], document["live"], strict=True):
        assert (row["target"], row["requests"], live["new_revisions"]) == ("knative", REQUESTS, 0)
        assert row["pod_seconds"] > 0
        assert row["policy"] == "hpa70" or (row["lost"], row["cold_starts"] >= 1) == (0, True)
    assert {progress[1] for progress in PROGRESS.finditer(done.stderr)} == {"kpa", "hpa70", "elastic"}
    assert (cluster.revisions(deployed_service), services(cluster)) == known
    assert client.annotations(revision) == before


def test_an_interrupt_in_the_row_of_hpa_leaves_the_service_as_it_was(
    cluster: Cluster, deployed_service: str, samples_dir: Path, tmp_path: Path
) -> None:
    client = cluster.client()
    revision = client.live_revision(deployed_service).name
    before, known = client.annotations(revision), (cluster.revisions(deployed_service), services(cluster))
    argv = command(cluster, deployed_service, samples_dir, tmp_path, "--policies", "hpa70")
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(argv, cwd=ROOT, env=cluster.env, stdout=log, stderr=log)
    log_file = tmp_path / "log"
    wait_until(lambda: bool(PROGRESS.search(log_file.read_text())), "requests are sent to the copy", timeout_s=400)
    assert f"service.serving.knative.dev/{deployed_service}-hpa70" in services(cluster)
    process.send_signal(signal.SIGINT)
    assert process.wait(300) == 130, log_file.read_text()
    assert (cluster.revisions(deployed_service), services(cluster)) == known
    assert client.annotations(revision) == before
