"""The controller on a real Knative: its decision becomes min-scale on the live Revision, and pods follow."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.cluster.cluster import Cluster, wait_until
from tests.cluster.conftest import Start
from tests.cluster.live_parts import start_controller, start_dispatcher

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


def test_its_decisions_change_min_scale_of_the_live_revision(
    cluster: Cluster, deployed_service: str, samples_dir: Path, start: Start, tmp_path: Path
) -> None:
    client = cluster.client()
    revision = client.live_revision(deployed_service).name
    client.annotate(revision, {"min-scale": "0", "max-scale": "3"})
    before = client.annotations(revision)
    wait_until(lambda: client.pod_counts(revision).ready_pods == 0, "no pods", timeout_s=180)
    dispatcher = start_dispatcher(start, cluster, deployed_service)
    controller = start_controller(start, tmp_path, deployed_service, [dispatcher.control_url])

    def ask(number: int) -> int:
        with (samples_dir / "cat.jpg").open("rb") as photograph:
            return requests.post(f"{dispatcher.url}/predict", files={"file": photograph}, timeout=120).status_code

    with ThreadPoolExecutor(20) as threads:
        statuses = list(threads.map(ask, range(60)))
    assert statuses == [200] * 60
    wait_until(lambda: client.revision(revision).min_pods >= 1, "min-scale is set", timeout_s=60)
    wanted = client.revision(revision).min_pods
    wait_until(lambda: client.pod_counts(revision).ready_pods >= min(1, wanted), "pods follow", timeout_s=60)
    assert cluster.revisions(deployed_service) == [revision]
    wait_until(lambda: client.revision(revision).min_pods == 0, "idle, min-scale is 0 again", timeout_s=120)
    assert client.revision(revision).max_pods == 3
    controller.stop()
    assert client.annotations(revision) == before
