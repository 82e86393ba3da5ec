"""What the dispatcher adds to a request, beside HAProxy with a queue in front of the same pods.

The proxies have one CPU to themselves, clients and stub pods share the other one. The stub pods sleep for 5 ms and
serve eight requests at once, so no request waits for a pod. Ratios carry over to other machines, times do not.
BENCH_ROUNDS: rounds of 5 s each, in which direct, HAProxy and dispatcher alternate.
"""

import asyncio
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import pytest
import uvloop

from tests.benchmarks import servers
from tests.benchmarks.tables import show
from tests.stubs.load import Sample, closed_loop, open_loop, percentile, poisson
from tests.stubs.processes import (
    Running,
    RunningDispatcher,
    announced,
    dispatcher,
    haproxy,
    stub_pods,
)
from tests.stubs.wire import Connection, Pool, request

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
ROUND_S, RATE_RPS, BODY_BYTES = 5.0, 200, 100_000
PODS, CONCURRENCY, SERVICE_S = 4, 8, 0.005
MANY, LIMIT_BYTES = 10_000, 1.3e9

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1800)]


@dataclass(slots=True)
class Way:
    """One way to the pods: the port to ask, the process in between, and what was measured."""

    port: int
    process: Running | None
    samples: list[list[Sample]] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    rates_rps: list[float] = field(default_factory=list)

    def busy_s(self) -> float:
        return self.process.cpu_s() if self.process else 0.0


@contextmanager
def clients_on(cpus: set[int]) -> Iterator[None]:
    """Keep this process on some CPUs."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def ways(folder: Path) -> Iterator[dict[str, Way]]:
    """Run the stub pods and both proxies; nothing asks two of them at once."""
    *others, proxy_cpu = sorted(os.sched_getaffinity(0))
    client_cpu = others[0] if others else proxy_cpu
    with ExitStack() as stack:
        stack.enter_context(clients_on({client_cpu}))
        pods = stack.enter_context(stub_pods(PODS, SERVICE_S, client_cpu, concurrency=CONCURRENCY))
        proxy = stack.enter_context(haproxy(pods, folder, CONCURRENCY, cpu=proxy_cpu))
        ours = stack.enter_context(dispatcher(pods, "--backend-concurrency", str(CONCURRENCY), cpu=proxy_cpu))
        stack.enter_context(announced(ours, PODS * CONCURRENCY))
        yield {"direct": Way(pods[0], None), "HAProxy": Way(proxy.port, proxy), "dispatcher": Way(ours.port, ours)}


def test_added_latency_and_cpu(tmp_path: Path, model_dir: Path, samples_dir: Path) -> None:
    """Send 200 requests a second of 100 kB; goals: 2 ms at p50, 6 ms at p99, p50 within 1 ms of HAProxy's."""
    message, times_s = request("POST", "/predict", os.urandom(BODY_BYTES)), poisson(RATE_RPS, ROUND_S)
    with ways(tmp_path) as found:
        for _ in range(ROUNDS):
            for way in found.values():
                before_s = way.busy_s()
                way.samples.append(uvloop.run(open_loop(Pool(way.port), times_s, lambda _: message, 30)))
                way.cpu_s.append((way.busy_s() - before_s) / len(times_s))
    function_s = function_cpu_s(model_dir, samples_dir / "coffee.jpg")
    rows = [latency_row(name, way, found["direct"], function_s) for name, way in found.items()]
    show("dispatcher", f"{RATE_RPS}/s of {BODY_BYTES // 1000} kB, {ROUNDS} rounds of {ROUND_S:g} s", rows)
    for way in found.values():
        assert {sample.status for round_ in way.samples for sample in round_} == {200}


def latency_row(name: str, way: Way, direct: Way, function_s: float) -> Mapping[str, object]:
    """Return medians over the rounds, of the percentiles and of their differences from the same round's direct ones."""
    found = [
        {share: 1000 * percentile([sample.latency_s for sample in round_], share) for share in (50, 99)}
        for round_ in way.samples
    ]
    base = [
        {share: 1000 * percentile([sample.latency_s for sample in round_], share) for share in (50, 99)}
        for round_ in direct.samples
    ]
    added = {share: median(a[share] - b[share] for a, b in zip(found, base, strict=True)) for share in (50, 99)}
    cpu_ms = 1000 * median(way.cpu_s)
    return {
        "": name,
        "p50 ms": median(row[50] for row in found),
        "p99 ms": median(row[99] for row in found),
        "added p50 ms": added[50],
        "added p99 ms": added[99],
        "CPU ms a request": cpu_ms,
        "share of the function's CPU": cpu_ms / 1000 / function_s,
    }


def function_cpu_s(model_dir: Path, image: Path) -> float:
    """Return the CPU seconds that the function itself takes for one image."""
    images = [image.read_bytes()] * 30
    cpu = min(os.sched_getaffinity(0))
    with servers.running(servers.OURS, servers.ours(model_dir), cpu) as server:
        server.wait()
        server.ask(images[:5])
        before_s = server.cpu_s()
        server.ask(images)
        return (server.cpu_s() - before_s) / len(images)


def test_small_requests_on_one_core(tmp_path: Path) -> None:
    """Let 64 clients ask for as much as they get, with 1 kB; goal: 1,500 a second, reach for 3,000."""
    message = request("POST", "/predict", os.urandom(1000))
    with ways(tmp_path) as found:
        del found["direct"]
        for _ in range(ROUNDS):
            for way in found.values():
                before_s = way.busy_s()
                answered, seconds = uvloop.run(closed_loop([way.port], 64, ROUND_S, message))
                way.rates_rps.append(answered / seconds)
                way.cpu_s.append((way.busy_s() - before_s) / answered)
    rows = [
        {
            "": name,
            "requests/s": median(way.rates_rps),
            "requests per CPU second": 1 / median(way.cpu_s),
            "CPU used": median(rate * cpu_s for rate, cpu_s in zip(way.rates_rps, way.cpu_s, strict=True)),
            "HAProxy's, times": median(h / o for h, o in zip(found["HAProxy"].rates_rps, way.rates_rps, strict=True)),
        }
        for name, way in found.items()
    ]
    show("dispatcher", f"64 clients, 1 kB, one core, {ROUNDS} rounds of {ROUND_S:g} s", rows)


async def fill(found: RunningDispatcher, count: int, message: bytes) -> list[Connection]:
    """Send requests that wait, 50 at a time, each on a connection of its own."""
    pool, connections = Pool(found.port), list[Connection]()
    while len(connections) < count:
        batch = await asyncio.gather(*(pool.connection() for _ in range(50)))
        for connection in batch:
            connection.begin(message).add_done_callback(lambda answer: answer.cancelled() or answer.exception())
        while any(connection.transport.get_write_buffer_size() for connection in batch):
            await asyncio.sleep(0.001)
        connections += batch
    return connections


def test_memory_of_many_waiting_requests() -> None:
    """Let 10,000 requests of 100 kB wait for pods; goal: 1.3 GB resident."""
    room = ("--queue-limit", "20000", "--queue-bytes", str(2 * 10**9))
    message = request("POST", "/predict", os.urandom(BODY_BYTES))

    async def measure(found: RunningDispatcher) -> dict[str, object]:
        empty = found.resident_bytes()
        began_s = time.monotonic()
        connections = await fill(found, MANY, message)
        await asyncio.to_thread(found.wait_until_waiting, MANY)
        took_s, full = time.monotonic() - began_s, found.resident_bytes()
        for connection in connections:
            connection.close()
        while found.signals()["waiting"]:
            await asyncio.sleep(0.1)
        await asyncio.sleep(3)
        sizes = {"empty": empty, "10,000 wait": full, "all have hung up": found.resident_bytes()}
        return {"": "dispatcher", **{f"{name}, MB": size / 1e6 for name, size in sizes.items()}, "filled in s": took_s}

    with stub_pods(1, SERVICE_S) as pods, dispatcher(pods, *room) as found:
        found.set_capacity(0, valid_s=600)
        row = uvloop.run(measure(found))
    show("dispatcher", f"{MANY} waiting requests of {BODY_BYTES // 1000} kB", [row])
    assert float(str(row["10,000 wait, MB"])) <= LIMIT_BYTES / 1e6
