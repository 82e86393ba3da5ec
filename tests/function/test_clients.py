"""Unmodified clients against a real pod: KServe's own, and the parser of the CloudEvents SDK."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from cloudevents.core.bindings.http import HTTPMessage, from_http_event, to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent

from function.protocols.cloudevents import CLASSIFIED
from tests.function.test_server import Pod
from tests.paths import ROOT

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("clients")]


@pytest.fixture(scope="module")
def pod(model_dir: Path) -> Iterator[Pod]:
    started = Pod(model_dir).ready()
    yield started
    started.process.terminate()
    started.process.communicate(timeout=60)


@pytest.fixture(scope="module")
def label(pod: Pod, samples_dir: Path) -> str:
    """Return the label of the image in the native protocol."""
    return str(pod.predict(samples_dir / "cat.jpg").json()["label"])


@pytest.fixture(scope="module")
def results(pod: Pod, samples_dir: Path) -> Any:
    """Run KServe's client in its own environment and return its results."""
    python = ROOT / ".venv-clients/bin/python"
    if not python.exists():
        if os.environ.get("CI"):
            pytest.fail("continuous integration must not skip this test: make clients")
        pytest.skip("needs KServe's client in its own environment: make clients")
    command = [str(python), "tests/clients/kserve_client.py", pod.url, str(samples_dir / "cat.jpg")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_kserves_client_speaks_v1(results: Any, label: str) -> None:
    assert results["v1"] == {"live": True, "ready": True, "labels": [label, label]}


@pytest.mark.parametrize("kind", ["v2 JSON", "v2 binary"])
def test_kserves_client_speaks_v2(results: Any, label: str, kind: str) -> None:
    result = results[kind]
    assert (result["live"], result["ready"], result["id"]) == (True, True, "42")
    assert (result["labels"], result["shape"]) == ([label, label], [2, 5])
    assert result["confidence"] == pytest.approx(results["v2 JSON"]["confidence"], abs=1e-6)


def test_kserves_client_shows_the_reason_of_a_refusal(results: Any) -> None:
    assert results["refused"].startswith("image 1 of 2: not an image: 8 bytes starting with b'no image'")


@pytest.mark.parametrize("mode", [to_binary_event, to_structured_event], ids=["binary", "structured"])
def test_the_cloudevents_sdk_parses_our_response(pod: Pod, samples_dir: Path, label: str, mode: Any) -> None:
    attributes = {"id": "1", "source": "/camera", "type": "com.example.photo", "datacontenttype": "image/jpeg"}
    message = mode(CloudEvent(attributes, (samples_dir / "cat.jpg").read_bytes()))
    response = requests.post(pod.url, data=message.body, headers=message.headers, timeout=60)
    reply: Any = from_http_event(HTTPMessage(dict(response.headers), response.content))
    assert (reply.get_type(), reply.get_extension("causationid")) == (CLASSIFIED, "1")
    assert reply.get_data()["label"] == label
    assert ("ce-type" in response.headers) == (mode is to_binary_event)
