"""The dispatcher in front of a Knative route: every protocol passes through it."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.cluster.cluster import NAMESPACE, Cluster
from tests.cluster.conftest import Start
from tests.cluster.live_parts import start_dispatcher
from tests.paths import ROOT

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


def test_the_kserve_client_passes_through_the_dispatcher(
    cluster: Cluster, deployed_service: str, samples_dir: Path, start: Start
) -> None:
    python = ROOT / ".venv-clients/bin/python"
    if not python.exists():
        if os.environ.get("CI"):
            pytest.fail("continuous integration must not skip this test: make clients")
        pytest.skip("needs KServe's client in its own environment: make clients")
    dispatcher = start_dispatcher(start, cluster, deployed_service)
    photograph = samples_dir / "cat.jpg"
    requests.post(f"{dispatcher.url}/predict", data=photograph.read_bytes(), timeout=120)  # a pod is ready from here on
    command = [str(python), "tests/clients/kserve_client.py", dispatcher.url, str(photograph)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stderr
    results: Any = json.loads(done.stdout)
    label = cluster.predict(deployed_service, photograph).json()["label"]
    assert results["v1"] == {"live": True, "ready": True, "labels": [label, label]}
    for kind in ("v2 JSON", "v2 binary"):
        assert (results[kind]["ready"], results[kind]["labels"]) == (True, [label, label])
    assert "not an image" in results["refused"]


def test_an_event_as_a_trigger_posts_it_is_answered_with_an_event(
    cluster: Cluster, deployed_service: str, samples_dir: Path, start: Start
) -> None:
    """Knative Eventing posts in binary mode with Prefer: reply and Kn-Namespace, and takes the response as the reply."""
    dispatcher = start_dispatcher(start, cluster, deployed_service)
    headers = {
        **{"ce-specversion": "1.0", "ce-id": "42", "ce-source": "/camera", "ce-type": "com.example.photo"},
        **{"Content-Type": "image/jpeg", "Prefer": "reply", "Kn-Namespace": NAMESPACE},
    }
    body = (samples_dir / "cat.jpg").read_bytes()
    answer = requests.post(dispatcher.url, data=body, headers=headers, timeout=120)
    assert answer.status_code == 200, answer.text
    assert answer.headers["ce-causationid"] == "42"
    assert answer.json()["label"]
    assert answer.headers["X-Pod"].startswith(deployed_service)
