"""Faults around the dispatcher: every request that it accepts gets its own answer, or an error that says why.

Real processes; each request is entered in a ledger, and the stub pods prove which request an answer belongs to. A few
hundred requests for each fault here; `make chaos` sends CHAOS_REQUESTS of them, and prints the ledger as a table.
"""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop

from tests.chaos.ledger import Fate
from tests.chaos.restart import PodProcess, pod_processes
from tests.chaos.table import ChaosTable
from tests.chaos.traffic import Traffic, meanwhile, settled
from tests.stubs.processes import RunningDispatcher, announced, dispatcher
from tests.stubs.wire import Connection, Pool, request

REQUESTS = int(os.environ.get("CHAOS_REQUESTS", "300"))
PODS, SERVICE_S = 4, 0.003
# Beside faults of a tenth of the requests, few of them must use up their attempts.
FLAGS = ("--backend-concurrency", "1", "--queue-limit", "3000", "--attempts", "5")

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(120 + REQUESTS // 20),
    pytest.mark.xdist_group("dispatcher-faults"),
]


class Stack:
    """A dispatcher and its pods, which all faults of this file share."""

    def __init__(self, found: RunningDispatcher, pods: list[PodProcess], table: ChaosTable) -> None:
        self.dispatcher, self.pods, self._table = found, pods, table

    def fault(self, kind: str, share: float) -> None:
        """Let all pods meet a fault."""
        for pod in self.pods:
            pod.meet(kind, share)

    async def check(self, traffic: Traffic, what: str, most_failed_ratio: float = 0.002) -> None:
        """Require that no rule is broken, that few requests failed, and that nothing is left of the fault."""
        counts = traffic.ledger.counts()
        self._table.row(what, counts)
        assert traffic.ledger.broken()[:5] == []
        assert counts["failed"] <= 1 + most_failed_ratio * counts["requests"], counts
        await settled(self.is_quiet, "neither waiting nor in flight")
        after = Traffic(self.dispatcher.port, f"after {what}")
        await after.run(20)
        assert after.ledger.counts()["answered"] == 20, after.ledger.counts()

    def is_quiet(self) -> bool:
        """Return whether no request is left in the dispatcher."""
        signals = self.dispatcher.signals()
        return signals["waiting"] == 0 and signals["in_flight"] == 0


@contextmanager
def running_stack(table: ChaosTable, folder: Path, timeout_s: float) -> Iterator[Stack]:
    """Run pods and a dispatcher. timeout_s: of the dispatcher for each request, shorter than a client's patience."""
    flags, log = (*FLAGS, "--request-timeout-s", str(timeout_s)), folder / "dispatcher.log"
    with ExitStack() as stack:
        pods = stack.enter_context(pod_processes(PODS, SERVICE_S))
        found = stack.enter_context(dispatcher([pod.port for pod in pods], *flags, log=log))
        stack.enter_context(announced(found, PODS))
        yield Stack(found, pods, table)


@pytest.fixture(scope="module")
def stack(chaos_table: ChaosTable, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(chaos_table, tmp_path_factory.mktemp("faults"), 30) as found:
        yield found


def test_pods_that_are_killed(stack: Stack) -> None:
    async def scenario() -> None:
        traffic, killed = Traffic(stack.dispatcher.port, "kill"), list[PodProcess]()

        async def kill_one() -> None:
            pod = stack.pods[len(killed) % PODS]
            await asyncio.to_thread(pod.kill)
            await asyncio.sleep(0.1)
            await asyncio.to_thread(pod.start)
            killed.append(pod)

        async with meanwhile(kill_one, 0.2):
            await traffic.run_until(REQUESTS, lambda: len(killed) >= PODS)
        await stack.check(traffic, "pods killed with -9")

    uvloop.run(scenario())


@pytest.mark.parametrize("kind", ["garbage", "cut", "cut-head", "503", "reset"])
def test_pods_that_answer_badly(stack: Stack, kind: str) -> None:
    async def scenario() -> None:
        traffic = Traffic(stack.dispatcher.port, kind)
        stack.fault(kind, 0.1)
        await traffic.run(REQUESTS)
        stack.fault(kind, 0)
        assert sum(pod.broken() for pod in stack.pods) > 0.05 * REQUESTS
        await stack.check(traffic, f"pods answer badly: {kind}")

    uvloop.run(scenario())


def test_pods_that_hang(chaos_table: ChaosTable, tmp_path: Path) -> None:
    """A request at a pod that hangs keeps its slot until its own timeout, and then gets a 504."""
    share = min(0.02, 200 / REQUESTS)

    async def scenario(stack: Stack) -> None:
        traffic = Traffic(stack.dispatcher.port, "hang")
        stack.fault("hang", share)
        await traffic.run(REQUESTS)
        stack.fault("hang", 0)
        assert traffic.ledger.counts()["failed"] > 0
        # while all pods hang, requests that wait run out of time as well
        await stack.check(traffic, "pods hang", 10 * share)

    with running_stack(chaos_table, tmp_path, 3) as found:
        uvloop.run(scenario(found))


def test_scaling_to_zero_and_back(stack: Stack) -> None:
    async def scenario() -> None:
        traffic, ready = Traffic(stack.dispatcher.port, "zero"), iter([0, 1, PODS] * 10**6)

        async def scale() -> None:
            await asyncio.to_thread(stack.dispatcher.set_capacity, next(ready), 5)

        async with meanwhile(scale, 0.1):
            await traffic.run(REQUESTS)
        await asyncio.to_thread(stack.dispatcher.set_capacity, PODS, 5)
        await stack.check(traffic, "scaled to zero and back", 0)

    uvloop.run(scenario())


def test_clients_that_hang_up(stack: Stack) -> None:
    async def scenario() -> None:
        traffic = Traffic(stack.dispatcher.port, "hang-up")
        await traffic.run(REQUESTS, traffic.hang_up)
        assert traffic.ledger.counts()[Fate.HUNG_UP] > REQUESTS / 4
        await stack.check(traffic, "clients hang up", 0)

    uvloop.run(scenario())


def test_clients_that_send_a_byte_a_second(stack: Stack) -> None:
    async def scenario() -> None:
        traffic, slow = Traffic(stack.dispatcher.port, "fast"), Traffic(stack.dispatcher.port, "slow")
        await asyncio.gather(traffic.run(REQUESTS), slow.run(50, slow.dribble, clients=50))
        assert slow.ledger.counts()["answered"] == 50, slow.ledger.broken()
        await stack.check(traffic, "beside 50 clients that send a byte a second", 0)

    uvloop.run(scenario())


async def idle_connections(pool: Pool, count: int) -> list[Connection]:
    """Open connections: a third says nothing, a third has had an answer, a third is within its head."""
    found = list[Connection]()
    for number in range(count):
        connection = await pool.connection()
        found.append(connection)
        if number % 3:
            message = request("POST", "/predict", b"idle")
            answer = connection.begin(message if number % 3 == 1 else message[:40])
            answer.add_done_callback(lambda future: future.cancelled() or future.exception())
    return found


def test_two_thousand_idle_connections(stack: Stack) -> None:
    async def scenario() -> None:
        traffic = Traffic(stack.dispatcher.port, "idle")
        idle = await idle_connections(Pool(stack.dispatcher.port), 2000)
        await traffic.run(REQUESTS)
        assert sum(connection.is_open for connection in idle) > 1900
        for connection in idle:
            connection.close()
        await stack.check(traffic, "beside 2,000 idle connections", 0)

    uvloop.run(scenario())


def test_sigterm_with_a_thousand_waiting(chaos_table: ChaosTable) -> None:
    """Each of them is answered after SIGTERM, once pods are announced; what comes on their connections is, too."""

    async def scenario(found: RunningDispatcher) -> None:
        traffic = Traffic(found.port, "sigterm")
        requests = asyncio.create_task(traffic.run(1000, clients=1000))
        await asyncio.to_thread(found.wait_until_waiting, 1000)
        os.kill(found.pid, signal.SIGTERM)
        await asyncio.sleep(0.2)
        await asyncio.to_thread(found.set_capacity, PODS, 30)
        await requests
        counts: Any = traffic.ledger.counts()
        chaos_table.row("SIGTERM with 1,000 waiting", counts)
        assert traffic.ledger.broken()[:5] == []
        assert counts["answered"] == 1000
        assert await asyncio.to_thread(found.popen.wait, 30) == 0

    with pod_processes(PODS, SERVICE_S) as pods, dispatcher([pod.port for pod in pods], *FLAGS) as found:
        found.set_capacity(0, 30)
        uvloop.run(scenario(found))
