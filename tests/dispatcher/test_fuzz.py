"""Malformed input to a dispatcher in front of a real pod: no 5xx without a promise, no crash, bounded memory.

It takes 12 seconds at most, in continuous integration 30; `make fuzz` sends 10,000 inputs (FUZZ_INPUTS).
"""

import json
import os
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
import requests

from tests.effort import effort
from tests.function.mutations import fault_of, kinds, request
from tests.function.test_server import Pod
from tests.stubs.processes import RunningDispatcher, announced, dispatcher

INPUTS = int(os.environ.get("FUZZ_INPUTS", "0"))
MAX_S = effort(3, ci=8)
MAX_MB = 300
# Waiting may end in these, and only with a promise of when to come back.
PROMISED = (429, 503, 504)

pytestmark = [
    pytest.mark.integration,
    pytest.mark.xdist_group("fuzz"),
    pytest.mark.timeout(7200 if INPUTS else 180),
]


@dataclass(frozen=True, slots=True)
class Stack:
    """A dispatcher, its log, and images to mutate."""

    dispatcher: RunningDispatcher
    log: Path
    cat: bytes

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.dispatcher.port}"

    @property
    def control_url(self) -> str:
        return f"http://127.0.0.1:{self.dispatcher.control_port}"

    def check(self, statuses: Counter[int], about: str) -> None:
        """Require that the dispatcher lives, is small, has logged no traceback, and answers."""
        print(f"\nfuzz: {statuses.total()} {about}, by status {dict(sorted(statuses.items()))}")
        assert "Traceback" not in self.log.read_text()
        assert self.dispatcher.resident_bytes() < MAX_MB * 1e6
        assert requests.post(f"{self.url}/predict", data=self.cat, timeout=120).status_code == 200


@pytest.fixture(scope="module")
def stack(model_dir: Path, samples_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("fuzz")
    pod = Pod(model_dir).ready()
    log = folder / "dispatcher.log"
    flags = ("--journal", str(folder / "journal.sqlite3"), "--journal-bytes", str(1 << 24), "--body-timeout-s", "2")
    with ExitStack() as stack:
        stack.callback(pod.kill)
        found = stack.enter_context(dispatcher([pod.port], *flags, "--queue-limit", "50", log=log))
        stack.enter_context(announced(found, 1))
        yield Stack(found, log, (samples_dir / "cat.jpg").read_bytes())


def rounds(maximum: int) -> Iterator[range]:
    """Yield ranges of seeds until there were enough, or the time is over."""
    ends_s = time.monotonic() + MAX_S
    for start in range(0, INPUTS * maximum // 10 or 10**6, 40):
        yield range(start, start + 40)
        if not INPUTS and time.monotonic() > ends_s:
            return


def test_mutated_images_get_the_same_answers_through_the_dispatcher(stack: Stack) -> None:
    images = kinds(stack.cat)
    statuses: Counter[int] = Counter()

    def sent(seed: int) -> int:
        made = request(seed, images)
        response = requests.post(stack.url + made.path, data=made.body, headers=made.headers, timeout=120)
        if response.status_code in PROMISED and "Retry-After" in response.headers:
            return response.status_code
        # what the dispatcher refuses itself never reached a pod, and names none
        response.headers.setdefault("X-Pod", "dispatcher")
        if fault := fault_of(made, response):
            raise AssertionError(f"input {seed} ({made.kind}): {fault}: {response.status_code} {response.text[:300]}")
        return response.status_code

    with ThreadPoolExecutor(4) as threads:
        for seeds in rounds(5):
            statuses.update(threads.map(sent, seeds))
    assert statuses[200]
    assert statuses[400]
    stack.check(statuses, "mutated images through the dispatcher")


TEXTS = (
    "",
    "0",
    "1",
    "-1",
    "500",
    "1e309",
    "nan",
    "٣",
    "x" * 300,
    "\xff",
    "high",
    "respond-async",
    "a, b",
    '"q"',
    "wait=0",
)
FIELDS = (
    "X-Request-Deadline-Ms",
    "X-Request-Timeout-Ms",
    "X-Request-Priority",
    "Prefer",
    "Idempotency-Key",
    "traceparent",
    "tracestate",
    "X-Request-Id",
    "Forwarded",
    "X-Forwarded-For",
    "Content-Encoding",
    "Authorization",
    "Connection",
)
PATHS = ("/predict", "/add_to_queue", "/jobs/", "/jobs/x", "/jobs/%00", "/", "/v2/models/resnet18/infer", "/%2e%2e/queue", "/queue", "/nowhere?a=%ff")  # fmt: skip


def test_wishes_keys_and_paths_get_a_reason(stack: Stack) -> None:
    statuses: Counter[int] = Counter()

    def sent(seed: int) -> int:
        rng = Random(seed)
        headers = {
            rng.choice(FIELDS): rng.choice(TEXTS)
            .encode("utf-8" if rng.random() < 0.5 else "latin-1", "replace")
            .strip()
            for _ in range(rng.randrange(5))
        }
        method = rng.choice(("POST", "POST", "GET", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"))
        body = rng.choice((b"", b"{}", b"[" * 2000, rng.randbytes(300), stack.cat))
        url = stack.url + rng.choice(PATHS)
        response = requests.request(method, url, data=body, headers=headers, timeout=120, allow_redirects=False)
        promised = response.status_code in PROMISED and "Retry-After" in response.headers
        assert response.status_code < 500 or promised, (seed, method, url, headers, response.status_code, response.text)
        return response.status_code

    with ThreadPoolExecutor(4) as threads:
        for seeds in rounds(3):
            statuses.update(threads.map(sent, seeds))
    assert len(statuses) > 3
    stack.check(statuses, "wishes, keys and paths")


def test_the_control_port_refuses_what_is_no_capacity(stack: Stack) -> None:
    statuses: Counter[int] = Counter()
    values: tuple[object, ...] = (
        None,
        True,
        -1,
        0,
        1,
        2.5,
        10**30,
        "1",
        [],
        {},
        float("inf"),
        ["http://a"],
        "x" * 5000,
    )
    names = ("ready_pods", "concurrency", "valid_s", "backends", "problem")
    for seeds in rounds(1):
        for seed in seeds:
            rng = Random(seed)
            made = {name: rng.choice(values) for name in names if rng.random() < 0.8}
            body = rng.choice((json.dumps(made), json.dumps(made)[:-3], "[" * 20_000, json.dumps([made])))
            path = rng.choice(("/capacity", "/capacity", "/signals", "/queue", "/metrics", "/x"))
            method = rng.choice(("PUT", "PUT", "GET", "POST", "DELETE"))
            response = requests.request(method, stack.control_url + path, data=body, timeout=60)
            assert response.status_code < 500, (seed, method, path, body[:200], response.text)
            statuses[response.status_code] += 1
    assert statuses[400]
    stack.dispatcher.set_capacity(1)
    stack.check(statuses, "requests to the control port")


def test_bytes_that_are_no_http_end_the_connection_and_nothing_else(stack: Stack) -> None:
    statuses: Counter[int] = Counter()
    good = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
    for seeds in rounds(1):
        for seed in seeds:
            rng = Random(seed)
            bad = bytearray(good if rng.random() < 0.7 else rng.randbytes(200))
            for _ in range(rng.randrange(1, 6)):
                at = rng.randrange(len(bad))
                bad[at : at + rng.randrange(3)] = rng.choice((b"", b"\0", b"\r\n", b" ", b"Transfer-Encoding: chunked\r\n", rng.randbytes(3)))  # fmt: skip
            with socket.create_connection(("127.0.0.1", stack.dispatcher.port), timeout=60) as connection:
                connection.sendall(bad)
                connection.shutdown(socket.SHUT_WR)
                answer = b""
                while (chunk := connection.recv(65536)) and len(answer) < 10**6:
                    answer += chunk
            status = int(answer[9:12]) if answer.startswith(b"HTTP/1.") else 0
            assert status < 500 or (status in PROMISED and b"Retry-After" in answer), (seed, bytes(bad), answer[:300])
            statuses[status] += 1
    stack.check(statuses, "raw byte sequences (0: closed without an answer)")
