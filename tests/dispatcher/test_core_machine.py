"""The buffer over random histories, beside a model that knows every request and looks through plain lists.

The model decides nothing about admission; it checks that each decision was allowed, that the release order is its own,
and that nothing that had to happen was left out.
"""

from dataclasses import dataclass, field

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dispatcher.actions import Expired
from dispatcher.backends import Backends
from dispatcher.buffer import (
    EXPIRED_SHARE,
    Action,
    BufferConfig,
    BurstBuffer,
    Capacity,
    Deliver,
    Forward,
    Order,
    Outcome,
    Reason,
    Reject,
)
from dispatcher.promises import GRACE_S
from dispatcher.terms import Priority, Terms
from tests.effort import effort

LIMIT, BYTES, SLO_S, TIMEOUT_S = 6, 1000, 0.5, 8.0
PODS = ["http://pod-0", "http://pod-1", "http://pod-2"]
STEPS_S = st.sampled_from([0.001, 0.03, 0.1, 0.25, 0.5, 1.0, 3.0])

terms = st.fixed_dictionaries(
    {
        "in_s": st.sampled_from([None, None, None, 0.05, 0.3, 0.6, 2.0, 6.0]),
        "priority": st.sampled_from(Priority),
        "kept": st.sampled_from([False, False, False, True]),
        "size_bytes": st.sampled_from([0, 10, 100, 400]),
        "promise_key": st.sampled_from([b"", b"a", b"b"]),
    }
)


@dataclass
class Known:
    """What the model knows of an accepted request."""

    arrival_s: float
    due_s: float
    terms: Terms
    place: str = "waiting"
    attempts: int = 0
    late: bool = False
    abandoned: bool = False
    failed: bool = False

    @property
    def firm_s(self) -> float:
        return float("inf") if self.terms.kept or self.terms.deadline_s is None else self.terms.deadline_s


@dataclass
class Model:
    """The requests that have not ended, and how each one that did has ended."""

    order: Order
    known: dict[int, Known] = field(default_factory=dict)
    ended: dict[int, str] = field(default_factory=dict)
    promised_s: list[float] = field(default_factory=list)
    since_expired: int = 0

    def at(self, place: str) -> list[int]:
        return [request for request, one in self.known.items() if one.place == place]

    def best(self) -> int:
        """Return the request to release: the specification of the order, in plain lists."""
        waiting = self.at("waiting")
        if self.order == "fifo":
            return min(waiting, key=lambda r: (self.known[r].arrival_s, r))
        late = [r for r in waiting if self.known[r].late]
        fresh = [r for r in waiting if not self.known[r].late]
        if late and self.since_expired >= EXPIRED_SHARE - 1:
            return min(late, key=lambda r: (self.known[r].arrival_s, r))
        if fresh:
            return min(fresh, key=lambda r: (self.known[r].terms.priority, self.known[r].due_s, r))
        return min(late, key=lambda r: (self.known[r].terms.priority, self.known[r].arrival_s, r))

    def release(self, request: int) -> None:
        self.since_expired = 0 if self.known[request].late else self.since_expired + 1
        self.known[request].place = "flying"
        self.known[request].attempts += 1

    def demote(self, latest_s: float) -> None:
        for request in self.at("waiting"):
            self.known[request].late |= self.known[request].due_s < latest_s

    def end(self, request: int, how: str) -> None:
        assert request not in self.ended, f"request {request} ended twice"
        self.ended[request] = how
        self.known.pop(request, None)


class Core(RuleBasedStateMachine):
    """Random events; `now_s` never goes back."""

    @initialize(
        order=st.sampled_from(["deadline", "deadline", "fifo"]),
        expired=st.sampled_from(["serve", "serve", "drop"]),
        taught=st.booleans(),
        concurrency=st.sampled_from([0, 1, 2]),
    )
    def start(self, order: Order, expired: Expired, taught: bool, concurrency: int) -> None:
        self.config = BufferConfig(
            slo_s=SLO_S, order=order, queue_limit=LIMIT, queue_bytes=BYTES, timeout_s=TIMEOUT_S, expired=expired
        )
        self.held = BurstBuffer(self.config, Backends(PODS[:2], [concurrency] * 2))
        if taught:
            self.held.service_times.add(0.25)
        self.model = Model(order)
        self.now_s, self.next_id, self.reading = 0.0, 0, 0

    # events

    @rule(given_terms=terms, many=st.integers(1, 3))
    def arrive(self, given_terms: dict[str, object], many: int) -> None:
        in_s = given_terms.pop("in_s")
        for _ in range(many):
            deadline_s = None if in_s is None else self.now_s + in_s  # type: ignore[operator]
            self.arrive_one(Terms(deadline_s=deadline_s, **given_terms))  # type: ignore[arg-type]

    def arrive_one(self, asked: Terms) -> None:
        self.tick()
        held, model, request, now_s = self.held, self.model, self.next_id, self.now_s
        self.next_id += 1
        before = len(model.at("waiting"))
        actions = held.arrive(request, now_s, asked)
        if actions and isinstance(actions[0], Reject) and actions[0].request_id == request:
            assert len(actions) == 1
            self.check_refusal(actions[0], asked, before)
            return
        displaced = [action for action in actions if isinstance(action, Reject)]
        assert actions[: len(displaced)] == displaced
        self.check_displaced(displaced, asked)
        due_s = now_s + SLO_S if asked.deadline_s is None else asked.deadline_s
        model.known[request] = Known(now_s, due_s, asked)
        self.follow(actions[len(displaced) :])
        assert len(model.at("waiting")) <= max(LIMIT, before), "the bound in requests"
        assert self.bytes() <= BYTES, "the bound in bytes"

    @precondition(lambda self: self.model.at("flying"))
    @rule(
        pick=st.integers(0, 99),
        outcome=st.sampled_from([*Outcome, Outcome.ANSWERED, Outcome.ANSWERED]),
        pod_s=st.sampled_from([None, 0.02, 0.1, 0.25, 0.3]),
    )
    def finish(self, pick: int, outcome: Outcome, pod_s: float | None) -> None:
        flying = self.model.at("flying")
        self.finish_one(flying[pick % len(flying)], outcome, pod_s)

    def finish_one(self, request: int, outcome: Outcome, pod_s: float | None) -> None:
        model, one = self.model, self.model.known[request]
        actions = self.held.finish(request, self.now_s, outcome, 0.2, pod_s)
        first = actions[0] if actions else None
        if one.abandoned:
            model.end(request, "abandoned")
        elif outcome is Outcome.ANSWERED:
            assert first == Deliver(request)
            model.end(request, "delivered")
            actions = actions[1:]
        else:
            one.attempts -= outcome is Outcome.UNREACHED
            exhausted = first == Reject(request, Reason.EXHAUSTED)
            assert exhausted == (outcome is Outcome.FAILED and one.attempts >= self.config.attempts)
            if exhausted:
                model.end(request, "rejected")
                actions = actions[1:]
            else:
                one.place, one.late, one.failed = "waiting", False, True
        self.follow(actions)

    @precondition(lambda self: self.model.known)
    @rule(pick=st.integers(0, 99))
    def cancel(self, pick: int) -> None:
        request = list(self.model.known)[pick % len(self.model.known)]
        actions = self.held.cancel(request, self.now_s)
        if self.model.known[request].place == "waiting":
            self.model.end(request, "cancelled")
        else:
            self.model.known[request].abandoned = True
        self.follow(actions)

    @rule(requests=st.integers(0, 4), valid_s=st.sampled_from([0.2, 1.5, 1000.0]))
    def announce(self, requests: int, valid_s: float) -> None:
        self.follow(self.held.set_capacity(Capacity(requests, self.now_s + valid_s), self.now_s))

    @rule(urls=st.lists(st.sampled_from(PODS), unique=True), concurrency=st.integers(0, 2))
    def name_backends(self, urls: list[str], concurrency: int) -> None:
        self.follow(self.held.set_backends(urls, concurrency, self.now_s))

    @rule(waiting=st.lists(st.tuples(st.sampled_from(Priority), st.booleans()), min_size=LIMIT, max_size=LIMIT))
    def fill_the_queue_at_zero_pods_until_it_expires(self, waiting: list[tuple[Priority, bool]]) -> None:
        self.follow(self.held.set_capacity(Capacity(0, self.now_s + 2 * SLO_S), self.now_s))
        for priority, kept in waiting:
            self.arrive_one(Terms(priority=priority, kept=kept, size_bytes=10))
        self.let_time_pass(SLO_S + 0.1)
        self.arrive_one(Terms(priority=waiting[0][0], size_bytes=10))

    @precondition(lambda self: any(one.late for one in self.model.known.values()))
    @rule(priority=st.sampled_from(Priority))
    def keep_the_pods_busy(self, priority: Priority) -> None:
        """Bring newer requests for as long as it takes an expired one to get its turn."""
        for _ in range(EXPIRED_SHARE + 2):
            self.arrive_one(Terms(priority=priority))
            if flying := self.model.at("flying"):
                self.finish_one(flying[0], Outcome.ANSWERED, 0.1)

    @rule(step_s=STEPS_S)
    def let_time_pass(self, step_s: float) -> None:
        """Act at each event on the way, as the relay's timer does."""
        end_s = self.now_s + step_s
        while (due_s := self.held.next_event_s(self.now_s)) is not None and due_s <= end_s:
            self.now_s = due_s
            self.tick()
            self.nothing_overdue_waits()
        self.now_s = end_s
        self.tick_between_events()

    @rule(share=st.sampled_from([0.01, 0.5, 0.99]))
    def stop_before_the_next_event(self, share: float) -> None:
        self.tick()
        due_s = self.held.next_event_s(self.now_s)
        if due_s is not None and self.now_s < self.now_s + share * (due_s - self.now_s) < due_s:
            self.now_s += share * (due_s - self.now_s)
            self.tick_between_events()

    def tick_between_events(self) -> None:
        """Check that next_event_s() named the moment of everything that had to happen by now."""
        actions = self.held.tick(self.now_s)
        for action in actions:
            if isinstance(action, Forward):
                # a first retry may pass a request that waits for an ejected backend and expires meanwhile
                assert self.model.known[action.request_id].failed
            else:
                # its event is a millisecond after the last moment at which it could still be in time
                assert isinstance(action, Reject)
                assert action.reason is Reason.EXPIRED
        self.follow(actions)

    @rule(delta=st.sampled_from([50, 300, 900]))
    def read(self, delta: int) -> None:
        fits = self.bytes() + delta <= BYTES
        assert self.held.reading(delta) == fits
        if fits:
            self.reading += delta
        else:
            self.held.reading(-delta)

    @rule()
    def stop_reading(self) -> None:
        self.held.reading(-self.reading)
        self.reading = 0

    # checks

    def tick(self) -> None:
        self.follow(self.held.tick(self.now_s))

    def expected_s(self) -> float:
        return self.held.expected_s()

    def bytes(self) -> int:
        return self.reading + sum(one.terms.size_bytes for one in self.model.known.values())

    def follow(self, actions: list[Action]) -> None:
        """Check the actions of one moment: what ran out of time is rejected first, then the best are released."""
        held, model, now_s = self.held, self.model, self.now_s
        rejected = [action for action in actions if isinstance(action, Reject)]
        released = [action for action in actions if isinstance(action, Forward)]
        assert actions == [*rejected, *released]
        for reject in rejected:
            self.remember(reject)
        timely = [reject for reject in rejected if reject.reason is not Reason.EXPIRED]
        for reject in timely:
            self.check_overdue(reject)
            model.end(reject.request_id, "rejected")
        model.demote(now_s + self.expected_s())
        for reject in rejected[len(timely) :]:
            one = model.known[reject.request_id]
            assert self.config.expired == "drop"
            assert one.late
            assert one.arrival_s < now_s
            assert not one.terms.kept
            model.end(reject.request_id, "rejected")
        least_s = held.service_times.least_s()
        for forward in released:
            assert forward.request_id == model.best()
            assert now_s < model.known[forward.request_id].firm_s - least_s, "its deadline cannot be met"
            model.release(forward.request_id)
            assert forward.attempt == model.known[forward.request_id].attempts
            assert len(model.at("flying")) <= held.limit(now_s)

    def check_overdue(self, reject: Reject) -> None:
        one = self.model.known[reject.request_id]
        assert one.place == "waiting"
        assert not one.terms.kept
        if reject.reason is Reason.DEADLINE:
            assert self.now_s >= one.firm_s - self.held.service_times.least_s()
        else:
            assert reject.reason in (Reason.TIMEOUT, Reason.NO_POD)
            assert self.now_s >= one.arrival_s + TIMEOUT_S

    def check_refusal(self, reject: Reject, asked: Terms, before: int) -> None:
        self.model.end(reject.request_id, "refused")
        if reject.reason is Reason.DEADLINE:
            assert asked.deadline_s is not None
            assert not asked.kept
        else:
            assert reject.reason is Reason.FULL
            assert reject.retry_after_s is not None
            # a little slack, since retry_after_s was rounded when it was subtracted
            due = sum(due_s - 1e-6 <= self.now_s < due_s + 1 + GRACE_S + 1e-6 for due_s in self.model.promised_s)
            assert before + 1 + due > LIMIT or self.bytes() + asked.size_bytes > BYTES
        self.remember(reject)

    def check_displaced(self, rejects: list[Reject], asked: Terms) -> None:
        model, promised_before = self.model, bool(self.model.promised_s)
        if rejects:
            assert all(reject.reason is Reason.DISPLACED for reject in rejects)
            assert asked.deadline_s is None or asked.deadline_s >= self.now_s + self.expected_s()
        for reject in rejects:
            one = model.known[reject.request_id]
            assert one.late
            assert not one.terms.kept
            assert one.terms.priority >= asked.priority
            self.remember(reject)
            worse = [
                other
                for other in model.known.values()
                if other is not one and other.late and other.place == "waiting" and not other.terms.kept
            ]
            # one that returned when it was told to keeps its place; the model does not know which ones did
            if not promised_before:
                assert all((-one.terms.priority, one.arrival_s) <= (-o.terms.priority, o.arrival_s) for o in worse)
            model.end(reject.request_id, "rejected")

    def remember(self, reject: Reject) -> None:
        if reject.retry_after_s is not None:
            assert reject.retry_after_s > 0
            self.model.promised_s.append(self.now_s + reject.retry_after_s)

    @invariant()
    def counts_agree(self) -> None:
        model, held, now_s = self.model, self.held, self.now_s
        waiting = [model.known[r] for r in model.at("waiting")]
        assert (held.waiting, held.in_flight) == (len(waiting), len(model.at("flying")))
        assert held.oldest_wait_s(now_s) == max((now_s - one.arrival_s for one in waiting), default=0.0)
        rows = held.queue(now_s)
        assert sum(row.waiting for row in rows) == len(waiting)
        assert sum(row.kept for row in rows) == sum(one.terms.kept for one in waiting)
        assert sum(row.feasible for row in rows) == sum(not one.late for one in waiting)

    @invariant()
    def nothing_overdue_waits(self) -> None:
        least_s = self.held.service_times.least_s()
        for request in self.model.at("waiting"):
            one = self.model.known[request]
            assert one.terms.kept or self.now_s < one.arrival_s + TIMEOUT_S
            assert self.now_s < one.firm_s - least_s

    @invariant()
    def no_slot_idles(self) -> None:
        held, now_s = self.held, self.now_s
        if held.waiting and held.in_flight < held.limit(now_s):
            assert not held._backends.free(now_s)

    def teardown(self) -> None:
        """Let everything end well: nothing may wait for ever."""
        if not hasattr(self, "held"):
            return
        self.follow(self.held.set_capacity(Capacity(4, float("inf")), self.now_s))
        self.follow(self.held.set_backends(PODS, 2, self.now_s))
        for _ in range(500):
            if not self.model.known:
                break
            for request in self.model.at("flying"):
                self.finish_one(request, Outcome.ANSWERED, 0.1)
            self.now_s += 0.1
            self.tick()
        assert sorted(self.model.ended) == list(range(self.next_id))
        assert (self.held.waiting, self.held.in_flight) == (0, 0)
        assert self.held.reading(BYTES - self.reading), "the bytes of ended requests are free again"


TestCore = Core.TestCase
TestCore.settings = settings(
    max_examples=effort(everyday=60, ci=600),
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
