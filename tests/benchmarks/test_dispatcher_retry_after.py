"""Whether Retry-After keeps its promise: clients that obey it, against a queue that is too short for them.

Each client sends a body of its own and no key. Refused with a Retry-After of n seconds, it comes back n seconds later,
as often as it takes. The wait that was needed: the k-th client to be refused needs the k-th place that becomes free
after its refusal.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median

import numpy as np
import pytest
import uvloop

from tests.benchmarks.tables import show
from tests.stubs.load import Sample, closed_loop, open_loop, poisson
from tests.stubs.processes import announced, dispatcher, stub_pods
from tests.stubs.wire import Pool, request

CLIENTS, QUEUE_LIMIT, PODS, SERVICE_S = 600, 100, 4, 0.1
HORIZON_S = 90.0

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]


@dataclass(slots=True)
class Visitor:
    """One client's history: when it was refused and with which promises, when it was answered."""

    refused_s: list[float] = field(default_factory=list)
    promises_s: list[float] = field(default_factory=list)
    answered_s: float = float("inf")
    status: int = 0


@dataclass(frozen=True, slots=True)
class Crowd:
    """What became of a crowd of clients, and of the newcomers beside it; times from the start.

    capacity_rps: what the same pods answered with clients straight at them.
    """

    capacity_rps: float
    visitors: list[Visitor]
    newcomers: list[Sample]
    served_s: list[float]

    def row(self, name: str) -> Mapping[str, object]:
        """Return the row of the table."""
        returned = [one for one in self.visitors if one.refused_s and one.status]
        first = [one for one in returned if len(one.refused_s) == 1 and one.status == 200]
        return {
            "": name,
            "clients": len(self.visitors),
            "refused": sum(bool(one.refused_s) for one in self.visitors),
            "admitted at the first return": len(first) / max(1, len(returned)),
            "most returns": max((len(one.refused_s) for one in returned), default=0),
            "median promise / needed wait": self.promise_ratio(),
            "idle share of the pods": self.idle_ratio(),
            "answered": sum(one.status == 200 for one in self.visitors) / len(self.visitors),
            "all answered after s": max(self.served_s),
        }

    def promise_ratio(self) -> float:
        """Return the median of promise over needed wait, of first refusals."""
        refusals = sorted((one.refused_s[0], one.promises_s[0]) for one in self.visitors if one.refused_s)
        places_s = sorted(at_s for at_s in self.served_s if at_s > refusals[0][0])
        ratios = [
            promise_s / max(place_s - at_s, 1 / self.capacity_rps)
            for (at_s, promise_s), place_s in zip(refusals, places_s, strict=False)
        ]
        return median(ratios)

    def idle_ratio(self) -> float:
        """Return the idle share of the pods' time, from the first refusal to the last return of a refused client."""
        refusals = [at_s for one in self.visitors for at_s in one.refused_s]
        returns = [at_s + wait_s for one in self.visitors for at_s, wait_s in zip(one.refused_s, one.promises_s, strict=True)]  # fmt: skip
        begin_s, end_s = min(refusals), min(max(returns), max(self.served_s))
        served = sum(begin_s < at_s <= end_s for at_s in self.served_s)
        return 1 - served / (self.capacity_rps * (end_s - begin_s))


async def visit(pool: Pool, number: int, zero_s: float, returns: bool) -> Visitor:
    """Ask until answered, obeying Retry-After; a client that does not return asks once."""
    visitor, message = Visitor(), request("POST", "/predict", b"client %d" % number)
    while time.monotonic() - zero_s < HORIZON_S:
        got = await pool.ask(message)
        now_s = time.monotonic() - zero_s
        if got.status not in (429, 503):
            visitor.status, visitor.answered_s = got.status, now_s
            return visitor
        visitor.refused_s.append(now_s)
        visitor.promises_s.append(float(got.headers["retry-after"]))
        if not returns:
            return visitor
        await asyncio.sleep(visitor.promises_s[-1])
    visitor.status = 503
    return visitor


async def crowd(port: int, pods: list[int], newcomers_ratio: float, returning_ratio: float) -> Crowd:
    """Let all clients come at once, after a warm-up that shows the dispatcher the service time."""
    pool = Pool(port)
    answered, measured_s = await closed_loop(pods, 2 * PODS, 4.0, request("POST", "/predict", b"capacity"))
    capacity_rps = answered / measured_s
    await open_loop(pool, poisson(capacity_rps / 2, 4), lambda _: request("POST", "/predict", b"warm up"), 30)
    zero_s = time.monotonic()
    stays = np.random.default_rng(0).random(CLIENTS) < returning_ratio
    visits = asyncio.gather(*(visit(pool, number, zero_s, bool(stays[number])) for number in range(CLIENTS)))
    seconds, newcomers_rps = CLIENTS / capacity_rps, newcomers_ratio * capacity_rps
    others = asyncio.create_task(
        open_loop(pool, poisson(newcomers_rps, seconds), lambda number: request("POST", "/predict", b"new %d" % number), HORIZON_S)
        if newcomers_rps
        else asyncio.sleep(0, [])
    )  # fmt: skip
    visitors, newcomers = await visits, await others
    served_s = [one.answered_s for one in visitors if one.status == 200]
    served_s += [sample.done_s for sample in newcomers if sample.status == 200]
    return Crowd(capacity_rps, visitors, newcomers, served_s)


CROWDS = {
    "all at once, all obey": (0.0, 1.0),
    "beside newcomers at 0.5 of the capacity": (0.5, 1.0),
    "a third never returns": (0.0, 2 / 3),
}


def test_promises_are_kept() -> None:
    """Goals: 0.9 admitted at the first return, a median promise of 1.5 times the needed wait, pods idle below 0.05."""
    rows = []
    for name, (newcomers_ratio, returning_ratio) in CROWDS.items():
        flags = ("--queue-limit", str(QUEUE_LIMIT), "--backend-concurrency", "1")
        with stub_pods(PODS, SERVICE_S) as pods, dispatcher(pods, *flags) as found, announced(found, PODS):
            rows.append(uvloop.run(crowd(found.port, pods, newcomers_ratio, returning_ratio)).row(name))
    show("retry-after", f"{CLIENTS} clients, --queue-limit {QUEUE_LIMIT}, {PODS} pods of {SERVICE_S:g} s", rows)
    assert rows[0]["answered"] == 1
