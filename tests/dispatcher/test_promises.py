"""Retry-After as a promise: clients that come back when they were told to are let in, and pods do not idle meanwhile."""

import heapq
import random
from dataclasses import dataclass, field
from itertools import count
from math import ceil
from statistics import median

import pytest

from dispatcher.backends import Backends
from dispatcher.buffer import Action, BufferConfig, BurstBuffer, Capacity, Forward, Outcome, Reject
from dispatcher.promises import (
    DRAIN_EVIDENCE,
    GRACE_S,
    LONGEST_RETRY_S,
    PROMISES_KEPT,
    START_FORGOTTEN_S,
    DrainRate,
    Promises,
    StartTime,
)
from dispatcher.terms import Terms


def test_promises_follow_one_another_at_the_pace_of_the_queue() -> None:
    promises = Promises()
    assert [promises.promise(b"", 10.0, 10.0, 4.0) for _ in range(3)] == [0.25, 0.5, 0.75]
    assert promises.promise(b"", 10.5, 10.5, 4.0) == 0.5


def test_after_a_silence_promises_begin_again_at_the_present() -> None:
    promises = Promises()
    promises.promise(b"", 0.0, 0.0, 1.0)
    assert promises.claim(b"", 1.0)
    assert promises.promise(b"", 100.0, 100.0, 1.0) == 1.0


def test_without_a_pod_promises_begin_after_its_start() -> None:
    assert Promises().promise(b"", 0.0, 3.0, 1.0) == 4.0


def test_a_place_is_kept_from_the_promised_moment_until_the_grace_has_passed() -> None:
    promises = Promises()
    promises.promise(b"a", 0.0, 0.0, 1.0)
    assert [promises.reserved(now_s) for now_s in (0.9, 1.0, 1.9 + GRACE_S)] == [0, 1, 1]
    assert promises.reserved(2.0 + GRACE_S) == 0
    assert not promises.claim(b"a", 2.0 + GRACE_S)


def test_a_promise_is_kept_once_and_for_its_own_client_only() -> None:
    promises = Promises()
    promises.promise(b"a", 0.0, 0.0, 1.0)
    assert not promises.claim(b"a", 0.9)
    assert not promises.claim(b"b", 1.0)
    assert promises.claim(b"a", 1.0)
    assert not promises.claim(b"a", 1.0)
    assert promises.reserved(1.0) == 0


def test_clients_that_share_a_key_have_as_many_promises_as_they_were_given() -> None:
    promises = Promises()
    for _ in range(2):
        promises.promise(b"", 0.0, 0.0, 10.0)
    assert [promises.claim(b"", 1.0) for _ in range(3)] == [True, True, False]


def test_fewer_places_are_kept_after_many_did_not_return() -> None:
    promises = Promises()
    for _ in range(200):
        promises.promise(b"a", 0.0, 0.0, 100.0)
    assert promises.reserved(3.0) == 200
    assert promises.reserved(10.0) == 0
    for _ in range(20):
        promises.promise(b"a", 10.0, 10.0, 0.05 * 20)
    assert promises.next_due_s(0.0, 1.0) == pytest.approx(11.0 + 0.05, abs=0.02)
    assert promises.reserved(11.0) == 1


def test_memory_is_bounded_and_promises_go_on() -> None:
    promises = Promises()
    for _ in range(PROMISES_KEPT + 5):
        retry_after_s = promises.promise(b"a", 0.0, 0.0, PROMISES_KEPT)
    assert retry_after_s == pytest.approx(1 + 5 / PROMISES_KEPT)
    assert promises.reserved(1.1) == PROMISES_KEPT


def test_no_promise_is_longer_than_ten_minutes() -> None:
    assert Promises().promise(b"", 5.0, 5.0, 0.0001) == LONGEST_RETRY_S


def test_the_drain_rate_is_per_slot_and_counts_only_time_in_which_requests_wait() -> None:
    drain = DrainRate()
    drain.update(0.0, 2)
    for tenth in range(1, 101):
        drain.complete()
        drain.update(tenth / 10, 2)
    drain.update(10.0, 0)
    before = drain.per_slot_rps()
    assert before == pytest.approx(5.0, rel=0.01)
    drain.complete()
    drain.update(500.0, 2)
    assert drain.per_slot_rps() == before
    for second in range(501, 561):
        drain.complete()
        drain.update(second, 2)
    # three windows later little of the old rate is left
    assert drain.per_slot_rps() == pytest.approx(0.5, rel=0.6)


def test_a_few_completions_are_no_drain_rate() -> None:
    drain = DrainRate()
    drain.update(0.0, 2)
    for _ in range(DRAIN_EVIDENCE - 1):
        drain.complete()
    assert drain.per_slot_rps() is None


def test_completions_without_any_time_are_no_drain_rate() -> None:
    drain = DrainRate()
    drain.update(0.0, 2)
    for _ in range(DRAIN_EVIDENCE):
        drain.complete()
    assert drain.per_slot_rps() is None


def test_the_start_time_runs_from_the_first_request_that_finds_no_slot() -> None:
    start = StartTime()
    assert start.left_s(0.0) is None
    start.ask(1.0)
    start.ask(3.0)
    start.ready(5.0)
    assert start.left_s(20.0) == 4.0
    start.ask(30.0)
    assert [start.left_s(now_s) for now_s in (30.0, 33.0, 40.0)] == [4.0, 1.0, 0.0]
    start.ask(40.0 + START_FORGOTTEN_S)
    assert start.left_s(40.0 + START_FORGOTTEN_S) == 4.0


SERVICE_S, SLOTS, RATE_RPS = 0.1, 2, 20.0


@dataclass
class Crowd:
    """Clients in front of a buffer with SLOTS pods; each returns when its Retry-After, in whole seconds, has passed."""

    obey: float = 1.0
    queue_limit: int = 100
    random_service: bool = False
    seed: int = 1
    events: list[tuple[float, int, tuple[str, int, int]]] = field(default_factory=list)
    releases_s: list[float] = field(default_factory=list)
    refusals: list[tuple[float, int, int]] = field(default_factory=list)
    away: set[int] = field(default_factory=set)
    returned: int = 0
    refused_again: int = 0
    idle_s: float = 0.0
    busy_s: float = 0.0

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.numbers = count()
        self.buffer = BurstBuffer(
            BufferConfig(queue_limit=self.queue_limit, timeout_s=1e6), Backends(("http://r",), (0,))
        )
        for _ in range(100):
            self.buffer.service_times.add(self.service_s())
        self.buffer.set_capacity(Capacity(SLOTS, float("inf")), 0.0)
        self.sent: dict[int, tuple[int, int]] = {}

    def service_s(self) -> float:
        return SERVICE_S * (self.rng.expovariate(1) if self.random_service else 1)

    def at(self, time_s: float, event: tuple[str, int, int]) -> None:
        heapq.heappush(self.events, (time_s, next(self.numbers), event))

    def run(self, burst: int, newcomers_rps: float, until_s: float) -> None:
        for client in range(burst):
            self.at(self.rng.uniform(0, 0.05), ("arrive", client, 0))
        arrival_s, client = 0.0, burst
        while newcomers_rps and (arrival_s := arrival_s + self.rng.expovariate(newcomers_rps)) < until_s:
            self.at(arrival_s, ("arrive", client, 0))
            client += 1
        last_s = 0.0
        while self.events and self.events[0][0] <= until_s:
            now_s, _, event = heapq.heappop(self.events)
            if self.away or self.buffer.waiting:
                self.idle_s += (now_s - last_s) * (SLOTS - self.buffer.in_flight)
                self.busy_s += (now_s - last_s) * self.buffer.in_flight
            last_s = now_s
            self.happen(now_s, *event)

    def happen(self, now_s: float, what: str, number: int, tries: int) -> None:
        if what == "end":
            # a whole response time is what the pod reports here
            self.perform(now_s, self.buffer.finish(number, now_s, Outcome.ANSWERED, SERVICE_S, self.service_s()))
            return
        request = next(self.numbers)
        self.sent[request] = (number, tries)
        self.away.discard(number)
        actions = self.buffer.arrive(request, now_s, Terms(promise_key=b"%d" % number))
        if tries == 1:
            self.returned += 1
            self.refused_again += any(isinstance(a, Reject) and a.request_id == request for a in actions)
        self.perform(now_s, actions)

    def perform(self, now_s: float, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Forward):
                self.releases_s.append(now_s)
                self.at(now_s + self.service_s(), ("end", action.request_id, 0))
            elif isinstance(action, Reject) and action.retry_after_s is not None:
                self.refuse(now_s, action.request_id, ceil(action.retry_after_s))

    def refuse(self, now_s: float, request: int, told_s: int) -> None:
        client, tries = self.sent[request]
        needed = len(self.releases_s) + len(self.away)
        self.refusals.append((now_s, told_s, needed))
        if self.rng.random() < self.obey:
            self.away.add(client)
            self.at(now_s + told_s + self.rng.uniform(0, 0.02), ("arrive", client, tries + 1))

    def excess(self) -> float:
        """Return the median of promised over needed wait: until the pods had taken what was refused earlier."""
        return median(
            told_s / max(1, ceil(self.releases_s[needed] - now_s))
            for now_s, told_s, needed in self.refusals
            if needed < len(self.releases_s)
        )

    @property
    def admitted_ratio(self) -> float:
        return 1 - self.refused_again / self.returned

    @property
    def idle_ratio(self) -> float:
        return self.idle_s / (self.idle_s + self.busy_s)


@pytest.mark.parametrize("random_service", [False, True])
@pytest.mark.parametrize("newcomers_rps", [0.0, 1.2 * RATE_RPS, 2 * RATE_RPS])
def test_of_clients_that_obey_nine_in_ten_are_let_in_the_first_time(newcomers_rps: float, random_service: bool) -> None:
    crowd = Crowd(random_service=random_service)
    crowd.run(burst=600, newcomers_rps=newcomers_rps, until_s=40.0)
    assert crowd.returned > 450
    assert crowd.admitted_ratio >= 0.9
    assert crowd.excess() <= 1.5
    assert crowd.idle_ratio < 0.05


@pytest.mark.parametrize("obey", [0.0, 0.5])
def test_pods_do_not_idle_for_clients_that_never_return(obey: float) -> None:
    crowd = Crowd(obey=obey)
    crowd.run(burst=600, newcomers_rps=1.2 * RATE_RPS, until_s=40.0)
    assert crowd.idle_ratio < 0.05
    assert len(crowd.releases_s) >= 0.95 * 40 * RATE_RPS


def test_of_a_burst_no_more_clients_return_in_a_second_than_there_is_room_for() -> None:
    crowd = Crowd()
    crowd.run(burst=600, newcomers_rps=0, until_s=0.1)
    told = [told_s for _, told_s, _ in crowd.refusals]
    assert max(told.count(second) for second in set(told)) <= RATE_RPS
