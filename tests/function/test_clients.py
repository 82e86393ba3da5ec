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

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def pod(model_dir: Path) -> Iterator[Pod]:
    started = Pod(model_dir).ready()
    yield started
    started.process.terminate()
    started.process.communicate(timeout=60)


@pytest.fixture(scope="module")
def label(pod: Pod, samples_dir: Path) -> str:
    """What the project's own protocol says of the photograph."""
    return str(pod.predict(samples_dir / "cat.jpg").json()["label"])


@pytest.fixture(scope="module")
def told(pod: Pod, samples_dir: Path) -> Any:
    """What KServe's client got, run in its own environment."""
    python = ROOT / ".venv-clients/bin/python"
    if not python.exists():
        if os.environ.get("CI"):
            pytest.fail("continuous integration must not leave this out: make clients")
        pytest.skip("needs KServe's client in an environment of its own: make clients")
    command = [str(python), "tests/clients/kserve_client.py", pod.url, str(samples_dir / "cat.jpg")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_kserves_client_speaks_v1(told: Any, label: str) -> None:
    assert told["v1"] == {"live": True, "ready": True, "labels": [label, label]}


@pytest.mark.parametrize("kind", ["v2 JSON", "v2 binary"])
def test_kserves_client_speaks_v2(told: Any, label: str, kind: str) -> None:
    answer = told[kind]
    assert (answer["live"], answer["ready"], answer["id"]) == (True, True, "42")
    assert (answer["labels"], answer["shape"]) == ([label, label], [2, 5])
    assert answer["confidence"] == pytest.approx(told["v2 JSON"]["confidence"], abs=1e-6)


def test_kserves_client_shows_its_user_why_it_was_refused(told: Any) -> None:
    assert told["refused"].startswith("image 1 of 2: not an image: 8 bytes that begin with b'no image'")


@pytest.mark.parametrize("mode", [to_binary_event, to_structured_event], ids=["binary", "structured"])
def test_the_cloudevents_sdk_reads_our_answer(pod: Pod, samples_dir: Path, label: str, mode: Any) -> None:
    attributes = {"id": "1", "source": "/camera", "type": "com.example.photo", "datacontenttype": "image/jpeg"}
    message = mode(CloudEvent(attributes, (samples_dir / "cat.jpg").read_bytes()))
    answer = requests.post(pod.url, data=message.body, headers=message.headers, timeout=60)
    reply: Any = from_http_event(HTTPMessage(dict(answer.headers), answer.content))
    assert (reply.get_type(), reply.get_extension("causationid")) == (CLASSIFIED, "1")
    assert reply.get_data()["label"] == label
    assert ("ce-type" in answer.headers) == (mode is to_binary_event)
