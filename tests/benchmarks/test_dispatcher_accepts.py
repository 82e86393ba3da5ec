"""Asynchronous requests that a dispatcher on one core accepts in a second, with SQLite and with Redis.

No pod is ready, so nothing else uses the core. Redis, which syncs once a second as it does by default, shares the other
core with the clients. SQLite syncs each group of jobs before it answers.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from statistics import median

import pytest
import uvloop

from tests.benchmarks.tables import show
from tests.ports import free_port
from tests.stubs.load import closed_loop
from tests.stubs.processes import dispatcher, running, stub_pods
from tests.stubs.wire import request

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
ROUND_S, CLIENTS = 4.0, 64

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]


@contextmanager
def sqlite_journal(folder: Path, _: int) -> Iterator[str]:
    """Yield what --journal takes."""
    yield str(folder / "journal.sqlite3")


@contextmanager
def redis_journal(folder: Path, cpu: int) -> Iterator[str]:
    """Run a Redis and yield its URL."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("needs Redis: apt-get install redis-server")
    port = free_port()
    command = [
        program,
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--dir",
        str(folder),
        "--save",
        "",
        "--appendonly",
        "yes",
    ]
    with running(command, port, cpu):
        yield f"redis://127.0.0.1:{port}/0"


JOURNALS: dict[str, Callable[[Path, int], AbstractContextManager[str]]] = {
    "SQLite": sqlite_journal,
    "Redis": redis_journal,
}


@pytest.mark.parametrize("size_bytes", [1000, 100_000], ids=["1 kB", "100 kB"])
def test_jobs_accepted_in_a_second(tmp_path: Path, size_bytes: int) -> None:
    """Goals: 500/s with SQLite, 1,000/s with Redis."""
    rows = [accepts(name, tmp_path, size_bytes) for name in JOURNALS]
    show("accepts", f"jobs of {size_bytes // 1000} kB accepted, {ROUNDS} rounds of {ROUND_S:g} s", rows)


def accepts(name: str, folder: Path, size_bytes: int) -> Mapping[str, object]:
    """Return the row of one journal."""
    *others, cpu = sorted(os.sched_getaffinity(0))
    message = request("POST", "/predict", os.urandom(size_bytes), Prefer="respond-async")
    rates_rps, cpu_ms = [], []
    with ExitStack() as stack:
        journal = stack.enter_context(JOURNALS[name](folder, others[0] if others else cpu))
        pods = stack.enter_context(stub_pods(1, 0.01))
        found = stack.enter_context(dispatcher(pods, "--journal", journal, "--journal-bytes", str(10**10), cpu=cpu))
        found.set_capacity(0, valid_s=600)
        for _ in range(ROUNDS):
            before_s = found.cpu_s()
            accepted, seconds = uvloop.run(closed_loop([found.port], CLIENTS, ROUND_S, message, status=202))
            rates_rps.append(accepted / seconds)
            cpu_ms.append(1000 * (found.cpu_s() - before_s) / max(1, accepted))
        resident = found.resident_bytes()
    return {"": name, "accepted/s": median(rates_rps), "least": min(rates_rps), "CPU ms each": median(cpu_ms), "MB resident": resident / 1e6}  # fmt: skip
