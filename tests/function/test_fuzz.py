"""Malformed input to a real pod: no 5xx, no crash, a reason with every refusal, bounded memory.

It takes 12 seconds at most, in continuous integration 40; `make fuzz` sends 10,000 inputs (FUZZ_INPUTS).
"""

import os
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import Case
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.effort import effort
from tests.function.mutations import fault_of, kinds, request
from tests.function.test_server import Pod

INPUTS = int(os.environ.get("FUZZ_INPUTS", "0"))
# Three fifths of the inputs are images; schemathesis makes a sixth fewer than its maximum. Without FUZZ_INPUTS, MAX_S
# limits the time of both tests.
MAX_S = effort(6, ci=20)
MAX_MIB = 640  # the limit of a pod is 1024; it takes 170, the costliest image 290, and the allocator keeps some of it

pytestmark = [
    pytest.mark.integration,
    pytest.mark.xdist_group("fuzz"),
    pytest.mark.timeout(7200 if INPUTS else 180),
]


def worker_of(pod: Pod) -> int:
    return int(Path(f"/proc/{pod.process.pid}/task/{pod.process.pid}/children").read_text().split()[0])


def peak_mib(pid: int) -> float:
    """Return the peak resident memory. Source: proc(5), VmHWM."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found.group(1)) / 1024


@pytest.fixture(scope="module")
def pod(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pod]:
    started = Pod(model_dir).ready()
    yield started
    started.process.terminate()
    _, log = started.process.communicate(timeout=60)
    assert "Traceback" not in log


@pytest.fixture(scope="module")
def worker(pod: Pod) -> Iterator[int]:
    """Return the worker's process id; after the tests it must be the same, because the worker never crashed."""
    pid = worker_of(pod)
    yield pid
    assert worker_of(pod) == pid
    print(f"\nfuzz: at most {peak_mib(pid):.0f} MiB resident")


def sent(url: str, seed: int, images: Mapping[str, bytes]) -> int:
    """Send an input and return the status; check that a valid image is classified and that a refusal has a reason."""
    made = request(seed, images)
    response = requests.post(url + made.path, data=made.body, headers=made.headers, timeout=120)
    if fault := fault_of(made, response):
        raise AssertionError(f"input {seed} ({made.kind}): {fault}: {response.status_code} {response.text[:300]}")
    return response.status_code


def test_mutated_images_get_no_5xx_in_any_protocol(pod: Pod, worker: int, samples_dir: Path) -> None:
    images = kinds((samples_dir / "cat.jpg").read_bytes())
    statuses: Counter[int] = Counter()
    ends_s = time.monotonic() + MAX_S
    with ThreadPoolExecutor(4) as threads:
        for start in range(0, INPUTS * 3 // 5 or 10**6, 40):
            seeds = range(start, start + 40)
            statuses.update(threads.map(lambda seed: sent(pod.url, seed, images), seeds))
            if not INPUTS and time.monotonic() > ends_s:
                break
    print(f"\nfuzz: {statuses.total()} mutated images, by status {dict(statuses)}")
    assert statuses[200]
    assert statuses[400]
    assert requests.get(f"{pod.url}/health/readiness", timeout=30).ok
    assert peak_mib(worker) < MAX_MIB


def test_requests_made_from_the_openapi_document(pod: Pod, worker: int) -> None:
    schema = schemathesis.openapi.from_url(f"{pod.url}/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]
    count = 0
    ends_s = time.monotonic() + MAX_S
    for operation in (operation for operation in operations if operation.method == "post"):

        @settings(
            max_examples=INPUTS // 2 // 6 or effort(10, ci=30),
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def ask(case: Case[Any]) -> None:
            nonlocal count
            if INPUTS or time.monotonic() < ends_s:
                case.call_and_validate(excluded_checks=[positive_data_acceptance])
                count += 1

        ask()
    print(f"\nfuzz: {count} requests from the OpenAPI document")
    assert count > 10
    assert peak_mib(worker) < MAX_MIB
