"""Faults around kept work: every job that was accepted ends in exactly one final state, whatever is killed meanwhile.

The pods write down which jobs they served: at most one in a thousand runs twice, besides what was in flight at a kill.
`make chaos` sends CHAOS_REQUESTS jobs beside each fault.
"""

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import redis
import uvloop

from tests.chaos.jobs_traffic import JobsTraffic
from tests.chaos.ledger import run_twice
from tests.chaos.restart import Restartable, redis_server, restartable
from tests.chaos.table import ChaosTable
from tests.chaos.traffic import meanwhile, settled
from tests.ports import free_port
from tests.stubs.processes import Running, RunningDispatcher, dispatcher, stub_pods

REQUESTS = int(os.environ.get("CHAOS_REQUESTS", "150"))
IS_LONG = REQUESTS >= 12_500
# A kill makes run again what was in flight and what was about to be committed, 7 jobs on average where this was written.
# A long run has one trouble for so many jobs that the rule of one job in a thousand can be kept; a short one allows for it.
JOBS_PER_TROUBLE = 12_500 if IS_LONG else 0
LEAST_TROUBLES = REQUESTS // JOBS_PER_TROUBLE if IS_LONG else 2
AGAIN_AT_A_KILL, PAUSE_S = 0 if IS_LONG else 20, 0.2
PODS, SERVICE_S = 4, 0.003

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180 + REQUESTS // 10)]

Dispatchers = list[Restartable[RunningDispatcher]]


@contextmanager
def dispatchers(journals: Sequence[str], pods: Sequence[int], folder: Path) -> Iterator[Dispatchers]:
    """Run a dispatcher for each journal; they send to the same pods, one request at a time to each."""

    def starting(journal: str, port: int) -> Callable[[], AbstractContextManager[RunningDispatcher]]:
        flags = ("--journal", journal, "--hold", "none", "--backend-concurrency", "1", "--result-ttl-s", "7200")
        return lambda: dispatcher(pods, *flags, port=port, log=folder / "dispatcher.log")

    with ExitStack() as stack:
        yield [stack.enter_context(restartable(starting(journal, free_port()))) for journal in journals]


class Trouble:
    """Something that happens again and again."""

    def __init__(self, make: Callable[[], None]) -> None:
        self._make, self.count = make, 0

    async def once(self) -> None:
        """Let it happen, outside of the loop that the clients run in."""
        await asyncio.to_thread(self._make)
        self.count += 1


class Work:
    """Jobs beside a trouble, and what is required of them."""

    def __init__(self, found: Dispatchers, pod_log: Path, table: ChaosTable) -> None:
        self.dispatchers, self._pod_log, self._table = found, pod_log, table

    async def beside(self, what: str, trouble: Trouble, least_troubles: int = LEAST_TROUBLES) -> None:
        """Send jobs until there were enough and enough troubles; each must end in exactly one state, and stay there."""
        traffic = JobsTraffic([one.running.port for one in self.dispatchers], what.replace(" ", "-"))
        await traffic.run(20, traffic.submit_and_poll)
        async with meanwhile(
            trouble.once, PAUSE_S, lambda: traffic.accepted >= JOBS_PER_TROUBLE * (trouble.count + 0.5)
        ):
            await traffic.run(REQUESTS // 2, traffic.submit_and_poll, clients=64)
            await traffic.run(REQUESTS // 2, traffic.submit_and_cancel, clients=64)
            while trouble.count < least_troubles:
                await traffic.run(64, traffic.submit_and_poll, clients=64)
        await traffic.run(20, traffic.submit_and_poll)
        await traffic.read_again()
        counts = traffic.ledger.counts()
        self._table.row(what, counts)
        assert traffic.ledger.broken()[:5] == []
        assert counts["refused"] == 0
        assert counts["failed"] == 0
        kills = sum(one.kills for one in self.dispatchers)
        assert run_twice(self._pod_log.read_text().split(), AGAIN_AT_A_KILL * kills) == []


@contextmanager
def work(journals: Sequence[str], folder: Path, table: ChaosTable) -> Iterator[Work]:
    """Run pods and dispatchers."""
    log = folder / "served.txt"
    log.touch()
    with stub_pods(PODS, SERVICE_S, log=log) as pods, dispatchers(journals, pods, folder) as found:
        yield Work(found, log, table)


@contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[Path]:
    """Mount a file system of its own; skip where that is not allowed."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small file system, as root has it")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.xdist_group("journal-faults-sqlite")
def test_a_dispatcher_that_is_killed_with_its_work_in_sqlite(tmp_path: Path, chaos_table: ChaosTable) -> None:
    with work([str(tmp_path / "journal.sqlite3")], tmp_path, chaos_table) as found:
        (one,) = found.dispatchers

        def kill() -> None:
            one.kill()
            one.start()

        uvloop.run(found.beside("SQLite, dispatcher killed with -9", Trouble(kill)))


@pytest.mark.xdist_group("journal-faults-sqlite")
def test_a_full_disk_under_sqlite(tmp_path: Path, chaos_table: ChaosTable) -> None:
    """SQLite's log alone grows to 32 MB, so the disk has room for it while nothing else fills it."""
    with small_disk(tmp_path / "disk", max(64 << 20, 4000 * REQUESTS)) as disk:

        def fill() -> None:
            filler = disk / "filler"
            with suppress(OSError):  # the journal may take the last bytes first
                filler.write_bytes(bytes(shutil.disk_usage(disk).free))
            time.sleep(0.5)
            filler.unlink()

        with work([str(disk / "journal.sqlite3")], tmp_path, chaos_table) as found:
            uvloop.run(found.beside("SQLite, disk full", Trouble(fill)))


class Redis:
    """A Redis, its dispatchers, and what is done to them."""

    def __init__(self, server: Restartable[Running], found: Work) -> None:
        self._server, self._work = server, found
        self.client = redis.Redis(port=server.running.port)
        self.troubles: dict[str, Callable[[], None]] = {
            "one of two dispatchers killed with -9": self.kill_a_dispatcher,
            "restarted": self.restart,
            "killed with -9": self.kill,
            "unreachable for a second": lambda: self._server.freeze(1.0),
            "read-only": self.deny_writes,
            "out of memory": self.fill,
        }

    def kill_a_dispatcher(self) -> None:
        one = min(self._work.dispatchers, key=lambda one: one.kills)
        one.kill()
        one.start()

    def restart(self) -> None:
        self._server.stop()
        self._server.start()

    def kill(self) -> None:
        self._server.kill()
        self._server.start()

    def deny_writes(self) -> None:
        """Make it the replica of a server that does not exist, for half a second."""
        self.client.replicaof("127.0.0.1", "1")
        time.sleep(0.5)
        self.client.replicaof("NO", "ONE")

    def fill(self) -> None:
        self.client.config_set("maxmemory", 1)
        time.sleep(0.5)
        self.client.config_set("maxmemory", 0)

    def streams(self) -> dict[str, int]:
        """Return the length of each stream."""
        found: dict[str, int] = {}
        for key in self.client.scan_iter(_type="stream"):
            name: Any = key
            found[name.decode()] = int(self.client.xlen(key))
        return found


IN_TURN = "everything in turn"
TROUBLES = (
    "one of two dispatchers killed with -9", "restarted", "killed with -9", "unreachable for a second", "read-only",
    "out of memory",
)  # fmt: skip


@pytest.mark.xdist_group("journal-faults-redis")
@pytest.mark.parametrize("what", TROUBLES if IS_LONG else [IN_TURN])
def test_two_dispatchers_on_one_redis(tmp_path: Path, chaos_table: ChaosTable, what: str) -> None:
    with restartable(redis_server(tmp_path)) as server:
        url = f"redis://127.0.0.1:{server.running.port}/0"
        with work([url, url], tmp_path, chaos_table) as found:
            troubled = Redis(server, found)
            makes = cycle(troubled.troubles[name] for name in (TROUBLES if what == IN_TURN else [what]))
            least = len(TROUBLES) if what == IN_TURN else LEAST_TROUBLES

            def trouble() -> None:
                next(makes)()

            uvloop.run(found.beside(f"Redis, {what}", Trouble(trouble), least))
            uvloop.run(settled(lambda: not any(troubled.streams().values()), "all streams are empty"))
