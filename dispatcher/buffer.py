"""The burst buffer decides which requests are forwarded, wait or are rejected; it has no I/O and no clock."""

from math import inf

from dispatcher.actions import (
    Action,
    BufferConfig,
    Capacity,
    Deliver,
    Expired,
    Forward,
    Order,
    Outcome,
    Reason,
    Reject,
)
from dispatcher.admission import Admission, Supply
from dispatcher.backends import Backends, RetryBudget, Slot
from dispatcher.estimates import AWAKE_S, AnswerTimes, CapacityRises, ServiceTimes
from dispatcher.terms import Terms
from dispatcher.waiting import EXPIRED_SHARE, HeldRequest, QueueRow, WaitingLine

__all__ = [
    "EXPIRED_SHARE",
    "Action",
    "BufferConfig",
    "BurstBuffer",
    "Capacity",
    "Deliver",
    "Expired",
    "Forward",
    "Order",
    "Outcome",
    "QueueRow",
    "Reason",
    "Reject",
]

NO_TERMS = Terms()


class BurstBuffer:
    """Holds requests while the pods are busy or do not exist yet.

    Every request ends exactly once: delivered, rejected, or cancelled by its client. Kept requests, once accepted, are
    neither displaced nor dropped for any deadline or timeout; they end delivered, cancelled, or after their attempts.
    """

    def __init__(self, config: BufferConfig, backends: Backends) -> None:
        self._config = config
        self._backends = backends
        self._capacity: Capacity | None = None
        self._requests: dict[int, HeldRequest] = {}
        self._line = WaitingLine(fifo=config.order == "fifo")
        self._admission = Admission(config, self._line)
        self._budget = RetryBudget(config.retry_ratio)
        self._rises = CapacityRises()
        self._pod_seen_s = -inf
        self.in_flight = 0
        self.service_times, self._answer_times = ServiceTimes(), AnswerTimes()

    @property
    def waiting(self) -> int:
        """Number of waiting requests."""
        return len(self._line)

    def arrive(self, request_id: int, now_s: float, terms: Terms = NO_TERMS) -> list[Action]:
        """Handle a new request: forward it, let it wait, or reject it."""
        actions = self._advance(now_s) if self.waiting else []
        due_s = now_s + self._config.slo_s if terms.deadline_s is None else terms.deadline_s
        request = HeldRequest(now_s, due_s, terms)
        must_wait = self.waiting > 0 or self.in_flight >= self.limit(now_s) or not self._backends.free(now_s)
        ruling = self._admission.judge(request, now_s, self._supply(now_s), must_wait)
        if ruling.reason is not None:
            return [*actions, self._refusal(request_id, terms, ruling.reason, now_s, ruling.promises)]
        actions += [self._reject(displaced, Reason.DISPLACED, now_s) for displaced in ruling.displaced]
        self._requests[request_id] = request
        self._admission.accept(request)
        self._line.add(request_id, request)
        return [*actions, *self._advance(now_s)]

    def finish(
        self, request_id: int, now_s: float, outcome: Outcome, response_s: float, pod_s: float | None = None
    ) -> list[Action]:
        """Handle the end of a forwarded request and free its slot.

        response_s: from sending to the response. pod_s: the time in the pod as the pod reports it, None without a
        report. A failed request returns to its place in the queue unless its attempts or the retry budget are used up.
        An attempt that never reached its backend does not count.
        """
        request = self._requests[request_id]
        if request.backend is None:
            raise RuntimeError(f"request {request_id} finished without being in flight")
        self._backends.release(Slot(request.backend, request.probe), now_s, outcome)
        self.in_flight -= 1
        request.avoid, request.backend = request.backend, None
        if outcome is Outcome.ANSWERED:
            self._learn(request, response_s, pod_s)
        return [*self._settle(request_id, request, outcome, now_s), *self._advance(now_s)]

    def cancel(self, request_id: int, now_s: float) -> list[Action]:
        """Handle a client's disconnect: a waiting request is dropped.

        One in flight keeps its slot until the backend is done.
        """
        request = self._requests.get(request_id)
        if request is None:
            return []
        if request.backend is not None:
            request.abandoned = True
            return []
        self._line.remove(request_id)
        self._end(request_id)
        return self._advance(now_s)

    def set_capacity(self, capacity: Capacity, now_s: float) -> list[Action]:
        """Apply the capacity that the controller has set."""
        self._rises.announce(self._fresh(now_s) or 0, capacity.requests, now_s)
        self._capacity = capacity
        return self._advance(now_s)

    def set_backends(self, urls: list[str], concurrency: int, now_s: float) -> list[Action]:
        """Replace the backends by those that the controller has named; requests in flight at others may finish."""
        self._backends.replace(urls, concurrency)
        return self._advance(now_s)

    def tick(self, now_s: float) -> list[Action]:
        """Act on deadlines, timeouts, back-offs and capacities that have expired by now_s."""
        return self._advance(now_s)

    def next_event_s(self, now_s: float) -> float | None:
        """Return when tick() is due if no other event comes first; None if no request waits."""
        if not self.waiting:
            return None
        times_s = self._backends.backoff_ends_s()
        if self._capacity is not None:
            times_s.append(self._capacity.valid_until_s)
        if (oldest := self._line.oldest_synchronous()) is not None:
            times_s.append(oldest[0] + self._config.timeout_s)
        if (earliest := self._line.next_deadline()) is not None:
            times_s.append(earliest[0] - self.service_times.least_s())
        if self._config.expired == "drop" and (due_s := self._line.next_due_s()) is not None:
            times_s.append(due_s - self.expected_s() + 0.001)
        return min((time_s for time_s in times_s if time_s > now_s), default=None)

    def limit(self, now_s: float) -> float:
        """Return how many requests may be in flight now; infinite without a valid capacity."""
        fresh = self._fresh(now_s) if self._config.hold else None
        return inf if fresh is None else fresh

    def reading(self, delta_bytes: int) -> bool:
        """Count bytes of bodies that are being read; return False if they exceed the bound in bytes.

        The caller takes them back with a negative delta, also before it calls arrive().
        """
        return self._admission.reading(delta_bytes)

    def held_bytes(self) -> int:
        """Return the bytes of the bodies of all unfinished requests."""
        return self._admission.held_bytes()

    def pods_known_ready(self, now_s: float) -> bool:
        """Return whether a pod would answer at once: by the fresh capacity or, without one, a recent answer."""
        fresh = self._fresh(now_s)
        return self._backends.answered_s >= now_s - AWAKE_S if fresh is None else fresh > 0

    def pick(self, now_s: float) -> str | None:
        """Return the backend for a request that does not queue, such as a health check; None without a healthy one."""
        return self._backends.pick(now_s)

    def retry_after_s(self, now_s: float) -> float:
        """Return in how many seconds a client that is refused now may come back, without promising it."""
        return self._admission.retry_after_s(now_s, self._supply(now_s))

    def ejected_backends(self) -> int:
        """Return how many backends get no requests but probes, because they failed."""
        return self._backends.ejected()

    def oldest_wait_s(self, now_s: float) -> float:
        """Return the age of the oldest waiting request; 0 if none waits."""
        arrival_s = self._line.oldest_arrival_s()
        return 0.0 if arrival_s is None else now_s - arrival_s

    def feasible_backlog_s(self, now_s: float) -> float:
        """Return the waiting work that can still meet its deadlines, in seconds of one slot."""
        return self._line.feasible(now_s + self.expected_s()) * (self.service_times.mean_s() or 0.0)

    def expected_s(self) -> float:
        """Return how long after its release a request is answered, rarely exceeded; what is due later is feasible."""
        return self._answer_times.expected_s(self.service_times.mean_s() or 0.0, self._config.slo_s)

    def queue(self, now_s: float) -> list[QueueRow]:
        """Return what waits, by class."""
        return self._line.rows(now_s, now_s + self.expected_s())

    def _advance(self, now_s: float) -> list[Action]:
        """Reject requests that are out of time, then fill the free slots in order."""
        actions = self._drop_overdue(now_s) if self.waiting else []
        limit = self.limit(now_s)
        while self.waiting and self.in_flight < limit:
            request_id = self._line.best()
            request = self._requests[request_id]
            slot = self._backends.take(now_s, request.avoid, self._eager(request, now_s))
            if slot is None:
                break
            actions.append(self._forward(request_id, slot, now_s))
        if len(self._backends) and self._fresh(now_s):
            self._pod_seen_s = now_s
        self._admission.observe(now_s, min(limit, self._backends.slots()), self.in_flight)
        return actions

    def _forward(self, request_id: int, slot: Slot, now_s: float) -> Forward:
        request = self._line.release(request_id)
        request.backend, request.probe, request.sent_s = slot.url, slot.probe, now_s
        request.attempts += 1
        self.in_flight += 1
        if not request.failures:
            self._budget.release(now_s)
        fresh = self._fresh(now_s)
        if fresh is None:
            request.covered = self._backends.awake(slot.url, now_s) and self._backends.covers_alone(slot.url)
        else:
            request.covered = self.in_flight <= fresh
        return Forward(request_id, slot.url, request.attempts)

    def _learn(self, request: HeldRequest, response_s: float, pod_s: float | None) -> None:
        """Learn from an answer; without the pod's own report only if the response holds no wait for a pod."""
        if self.waiting:
            self._admission.complete()
        settled = request.covered and self._rises.settled(request.sent_s)
        if settled:
            self._answer_times.add(response_s, pod_s)
        if settled or pod_s is not None:
            self.service_times.add(response_s if pod_s is None else pod_s)

    def _settle(self, request_id: int, request: HeldRequest, outcome: Outcome, now_s: float) -> list[Action]:
        if request.abandoned:
            self._end(request_id)
            return []
        if outcome is Outcome.ANSWERED:
            self._end(request_id)
            return [Deliver(request_id)]
        request.failures += 1
        if outcome is Outcome.UNREACHED:
            request.attempts -= 1  # it adds no load to a backend, so neither attempts nor budget count it
        elif request.attempts >= self._config.attempts or not (self._budget.take(now_s) or request.terms.kept):
            self._end(request_id)
            return [Reject(request_id, Reason.EXHAUSTED)]
        self._line.add(request_id, request)
        return []

    def _eager(self, request: HeldRequest, now_s: float) -> bool:
        """Return whether a failed backend is tried again at once: for a first retry where a pod should be ready."""
        return request.failures == 1 and (len(self._backends) == 1 or bool(self._fresh(now_s)))

    def _drop_overdue(self, now_s: float) -> list[Action]:
        actions: list[Action] = []
        while (earliest := self._line.next_deadline()) and now_s >= earliest[0] - self.service_times.least_s():
            actions.append(self._reject(earliest[1], Reason.DEADLINE, now_s, promises=False))
        while (oldest := self._line.oldest_synchronous()) and now_s >= oldest[0] + self._config.timeout_s:
            seen_s = max(self._pod_seen_s, self._backends.answered_s)
            reason = Reason.TIMEOUT if self.in_flight or seen_s >= oldest[0] else Reason.NO_POD
            actions.append(self._reject(oldest[1], reason, now_s, promises=False))
        demoted = self._line.demote(now_s, self.expected_s())
        if self._config.expired == "drop":
            actions += [
                self._reject(request_id, Reason.EXPIRED, now_s)
                for request_id in demoted
                if self._droppable(self._requests[request_id], now_s)
            ]
        return actions

    def _droppable(self, request: HeldRequest, now_s: float) -> bool:
        """Return whether waiting made the request expire; one that was too late on arrival is served when possible."""
        return request.arrival_s < now_s and not request.terms.kept

    def _reject(self, request_id: int, reason: Reason, now_s: float, promises: bool = True) -> Reject:
        """Reject a waiting request."""
        request = self._line.remove(request_id)
        self._end(request_id)
        return self._refusal(request_id, request.terms, reason, now_s, promises)

    def _refusal(self, request_id: int, terms: Terms, reason: Reason, now_s: float, promises: bool) -> Reject:
        if not promises:
            return Reject(request_id, reason)
        retry_after_s = self._admission.promise(terms.promise_key, now_s, self._supply(now_s))
        return Reject(request_id, reason, retry_after_s)

    def _end(self, request_id: int) -> None:
        self._admission.leave(self._requests.pop(request_id))

    def _fresh(self, now_s: float) -> int | None:
        """Return the announced capacity; None if there is none or it has lapsed."""
        if self._capacity is None or now_s >= self._capacity.valid_until_s:
            return None
        return self._capacity.requests

    def _supply(self, now_s: float) -> Supply:
        times = self.service_times
        slots = min(self.limit(now_s), self._backends.slots())
        return Supply(slots, self.in_flight, times.mean_s(), times.least_s(), self.expected_s())
