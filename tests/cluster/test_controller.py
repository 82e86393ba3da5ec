"""The controller on a real Knative: its decision becomes min-scale on the live Revision, and pods follow."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.cluster.cluster import NAMESPACE, Cluster, wait_until
from tests.cluster.conftest import Start
from tests.ports import free_port, wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


def test_its_decisions_change_min_scale_of_the_live_revision(
    cluster: Cluster, deployed_service: str, samples_dir: Path, start: Start
) -> None:
    client = cluster.client()
    revision = client.live_revision(deployed_service).name
    client.annotate(revision, {"min-scale": "0", "max-scale": "3"})
    before = client.annotations(revision)
    wait_until(lambda: client.pod_counts(revision).ready_pods == 0, "no pods", timeout_s=180)
    port, control_port, controller_port = free_port(), free_port(), free_port()
    url = f"http://127.0.0.1:{port}"
    start(
        *("dispatcher", "--host", "127.0.0.1", "--port", str(port), "--ml-service-url", f"http://{cluster.gateway}"),
        *("--ml-service-host", cluster.host(deployed_service), "--control-port", str(control_port)),
    )
    wait_for(url)
    controller = start(
        *("autoscaler_tuning", "control", "--target", "knative", "--policy", "elastic"),
        *("--dispatcher", f"http://127.0.0.1:{control_port}"),
        *("--port", str(controller_port), "--namespace", NAMESPACE, "--service", deployed_service, "--max-pods", "3"),
    )
    wait_for(f"http://127.0.0.1:{controller_port}/")

    def ask(number: int) -> int:
        with (samples_dir / "cat.jpg").open("rb") as photograph:
            return requests.post(f"{url}/predict", files={"file": photograph}, timeout=120).status_code

    with ThreadPoolExecutor(20) as threads:
        statuses = list(threads.map(ask, range(60)))
    assert statuses == [200] * 60
    wait_until(lambda: client.revision(revision).min_pods >= 1, "min-scale is set", timeout_s=60)
    wanted = client.revision(revision).min_pods
    wait_until(lambda: client.pod_counts(revision).ready_pods >= min(1, wanted), "pods follow", timeout_s=60)
    assert cluster.revisions(deployed_service) == [revision]
    wait_until(lambda: client.revision(revision).min_pods == 0, "idle, min-scale is 0 again", timeout_s=120)
    assert client.revision(revision).max_pods == 3
    controller.terminate()
    controller.wait(60)
    assert client.annotations(revision) == before
