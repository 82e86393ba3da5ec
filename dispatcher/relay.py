"""Performs the buffer's actions: forwards requests, returns responses to clients, sets timers."""

import asyncio
import itertools
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from dispatcher.buffer import Action, BurstBuffer, Capacity, Deliver, Forward, Outcome, Reason, Reject
from dispatcher.exchange import BodyRest, BrokenError, Exchange, PodAnswer, UnreachedError
from dispatcher.headers import server_timing_s
from dispatcher.messages import BackendAnswer, ClientRequest
from dispatcher.metrics import DispatcherMetrics
from dispatcher.signals import TrafficLog
from dispatcher.terms import Terms
from dispatcher.watch import WATCH, Interval, NoPods, RequestSpans

__all__ = ["BackendAnswer", "ClientRequest", "Relay"]

log = logging.getLogger(__name__)

# With these the pod or route failed to serve the request, so a retry may succeed.
RETRIED_STATUSES = frozenset({502, 503, 504})
# An answer up to this size is read whole before its first byte goes out, so that one that is cut off can be retried.
WHOLE_BYTES = 1 << 20
# Bound on the backends that are remembered as failing: pods of this machine come and go with new ports.
MOST_FAILING = 1000
# Answers that are stored, or shared by several clients, are read whole; a longer one has failed.
WHOLE_KEPT_BYTES = 1 << 26


@dataclass(slots=True)
class _Ticket:
    """An accepted request; sent_s is None until it is first forwarded."""

    request: ClientRequest
    terms: Terms
    arrived_s: float
    answer: asyncio.Future[BackendAnswer]
    trace: RequestSpans | None = None
    sent_s: float | None = None
    attempts: int = 0
    cause: str = ""
    got: PodAnswer | None = None


class Relay:
    """Connects the buffer to sockets and the clock; now_s() starts at 0."""

    def __init__(self, buffer: BurstBuffer, exchange: Exchange, metrics: DispatcherMetrics, timeout_s: float) -> None:
        self._buffer, self._exchange, self._metrics, self._timeout_s = buffer, exchange, metrics, timeout_s
        self._loop = asyncio.get_running_loop()
        self._began_s = self._loop.time()
        self._ids = itertools.count()
        self._tickets: dict[int, _Ticket] = {}
        self._sending: set[asyncio.Task[None]] = set()
        # uvloop's call_at() returns a handle without when() if the time has come
        self._timer: tuple[float, asyncio.Handle] | None = None
        self._failing: set[str] = set()
        self.traffic = TrafficLog()
        self._no_pods = NoPods()
        self.arrived = self.released = self.rejected = self.retried = 0
        metrics.waiting.set_function(lambda: buffer.waiting)
        metrics.in_flight.set_function(lambda: buffer.in_flight)

    def now_s(self) -> float:
        """Return the seconds since the relay was made, by a monotonic clock."""
        return self._loop.time() - self._began_s

    @property
    def unfinished(self) -> int:
        """Number of requests accepted and not yet answered."""
        return len(self._tickets)

    async def handle(self, request: ClientRequest, terms: Terms) -> BackendAnswer:
        """Return the response to one request. A client's disconnect cancels this call, and with it the request."""
        now_s = self.now_s()
        request_id = next(self._ids)
        watch = WATCH.get()
        ticket = _Ticket(request, terms, now_s, self._loop.create_future(), watch.trace if watch else None)
        self._tickets[request_id] = ticket
        self.traffic.arrive(now_s)
        self.arrived += 1
        self._perform(self._buffer.arrive(request_id, now_s, terms), now_s)
        try:
            answer = await ticket.answer
            if watch is not None:
                watch.answer = answer
            return answer
        except asyncio.CancelledError:
            now_s = self.now_s()
            self._perform(self._buffer.cancel(request_id, now_s), now_s)
            if ticket.got and ticket.got.rest:
                ticket.got.rest.close()  # a long answer was delivered at the moment when the client left
            raise
        finally:
            self._tickets.pop(request_id, None)
            self.traffic.leave(self.now_s())
            if ticket.trace is not None:
                ticket.trace.ended(self.now_s(), self._without_pods(ticket))

    def set_capacity(self, requests: int, valid_s: float, backends: Sequence[str] | None, concurrency: int) -> None:
        """Apply the capacity, and the backends if any are named, that the controller has set."""
        now_s = self.now_s()
        self._no_pods.announce(requests, now_s, valid_s)
        if backends is not None:
            self._perform(self._buffer.set_backends(list(backends), concurrency, now_s), now_s)
        self._perform(self._buffer.set_capacity(Capacity(requests, now_s + valid_s), now_s), now_s)

    async def look_up(self, request: ClientRequest) -> PodAnswer | None:
        """Send a request that does not queue; return None if no healthy backend answers it."""
        for _ in range(2):
            backend = self._buffer.pick(self.now_s())
            if backend is None:
                return None
            try:
                async with asyncio.timeout(self._timeout_s):
                    answer = await self._send(backend, request, WHOLE_BYTES)
            except (UnreachedError, BrokenError, TimeoutError) as error:
                path = request.target.partition("?")[0]  # a query may hold a key
                log.info("%s %s at %s failed: %s", request.method, path, backend, error)
                continue
            if answer.status not in RETRIED_STATUSES:
                return answer
            if answer.rest:
                answer.rest.close()
        return None

    async def _send(self, backend: str, request: ClientRequest, whole_bytes: int) -> PodAnswer:
        headers = request.headers
        if headers and headers[0] == (b"Host", b""):
            headers = ((b"Host", self._exchange.authority(backend)), *headers[1:])
        return await self._exchange.send(backend, (request.method, request.target), headers, request.body, whole_bytes)

    def _perform(self, actions: Sequence[Action], now_s: float) -> None:
        """Perform what the buffer decided at now_s.

        Requests go out first: a pod that has answered idles until its next request, the client only waits for a reply.
        """
        for action in actions:
            if isinstance(action, Forward):
                self._forward(action)
        for action in actions:
            match action:
                case Reject():
                    self._refuse(action)
                case Deliver():
                    self._deliver(action.request_id)
        self._set_timer(now_s)

    def _forward(self, forward: Forward) -> None:
        ticket = self._tickets[forward.request_id]
        ticket.attempts = forward.attempt
        if ticket.sent_s is None:
            ticket.sent_s = self.now_s()
            self.released += 1
            self._metrics.queue_s.observe(ticket.sent_s - ticket.arrived_s)
        task = self._loop.create_task(self._attempt(forward, ticket))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _attempt(self, forward: Forward, ticket: _Ticket) -> None:
        """Send the request and await the response; whatever happens, report to the buffer exactly once."""
        sent_s = self.now_s()
        outcome, pod_s, ticket.got = Outcome.FAILED, None, None
        try:
            request = ticket.request
            if ticket.trace is not None:
                request = ticket.trace.sent(request, forward.backend, sent_s, self._without_pods(ticket))
            async with asyncio.timeout(self._left_s(ticket, sent_s)):
                got = await self._send(forward.backend, request, WHOLE_KEPT_BYTES if ticket.terms.kept else WHOLE_BYTES)
                ticket.got = got
                outcome = Outcome.FAILED if got.status in RETRIED_STATUSES else Outcome.ANSWERED
                pod_s = server_timing_s(got.headers)
                ticket.cause = f"{forward.backend} returned {got.status}"
                if got.rest:
                    await self._stream(ticket, got, got.rest)
        except (UnreachedError, BrokenError, TimeoutError) as error:
            if outcome is not Outcome.ANSWERED:  # a long answer is delivered before its time is over
                outcome, ticket.cause = _failure(forward.backend, error)
        finally:
            self._came_back(forward, ticket, outcome, sent_s, pod_s)

    def _came_back(
        self, forward: Forward, ticket: _Ticket, outcome: Outcome, sent_s: float, pod_s: float | None
    ) -> None:
        """Report the end of an attempt to the buffer, and perform what follows."""
        now_s = self.now_s()
        self._note(forward.backend, outcome, ticket.cause)
        actions = self._buffer.finish(forward.request_id, now_s, outcome, now_s - sent_s, pod_s)
        retried = outcome is not Outcome.ANSWERED and not _ends(actions, forward.request_id)
        if retried:
            self.retried += 1
            self._metrics.retried.inc()
        self._perform(actions, now_s)
        if ticket.trace is not None:
            failure = "" if outcome is Outcome.ANSWERED else ticket.cause
            ticket.trace.came_back(now_s, ticket.got.status if ticket.got else 0, failure, retried)

    def _note(self, backend: str, outcome: Outcome, cause: str) -> None:
        """Log when a backend begins to fail and when it answers again: a line for each attempt would fill disks."""
        if outcome is Outcome.ANSWERED:
            if backend in self._failing:
                self._failing.discard(backend)
                log.info("%s answers again", backend)
        elif backend not in self._failing:
            if len(self._failing) >= MOST_FAILING:
                self._failing.clear()
            self._failing.add(backend)
            log.warning("%s; further failures of this backend are not logged until it answers", cause)

    def _without_pods(self, ticket: _Ticket) -> Interval | None:
        """Return the part of a request's time so far in which no pod was ready."""
        return self._no_pods.within(ticket.arrived_s, self.now_s())

    def _left_s(self, ticket: _Ticket, now_s: float) -> float:
        """Return how long an attempt may take. Asynchronous work waits for a pod without counting that."""
        began_s = now_s if ticket.terms.kept else ticket.arrived_s
        return max(0.001, began_s + self._timeout_s - now_s)

    async def _stream(self, ticket: _Ticket, got: PodAnswer, rest: BodyRest) -> None:
        """Hand a long answer to the client at once, and keep the slot until the client has read it.

        A long failure is cut: it may be retried, and the retry's answer takes its place.
        """
        try:
            if got.status in RETRIED_STATUSES:
                ticket.got = PodAnswer(got.status, got.reason, got.headers, b"")
            elif not ticket.answer.done():
                self._finish(ticket, got, None, None)
                await rest.closed()
        finally:
            rest.close()

    def _deliver(self, request_id: int) -> None:
        ticket = self._tickets.get(request_id)
        if ticket is None:
            return  # a streamed answer, which has been delivered
        if ticket.got is None:
            raise RuntimeError(f"request {request_id} is delivered without a response")
        self._finish(ticket, ticket.got, None, None)

    def _refuse(self, reject: Reject) -> None:
        ticket = self._tickets[reject.request_id]
        self.rejected += 1
        self._metrics.rejected.labels(reject.reason.value).inc()
        self._finish(
            ticket, ticket.got if reject.reason is Reason.EXHAUSTED else None, reject.reason, reject.retry_after_s
        )

    def _finish(
        self, ticket: _Ticket, got: PodAnswer | None, reason: Reason | None, retry_after_s: float | None
    ) -> None:
        if ticket.answer.done():
            return
        now_s = self.now_s()
        self._metrics.latency_s.observe(now_s - ticket.arrived_s)
        queue_s = (now_s if ticket.sent_s is None else ticket.sent_s) - ticket.arrived_s
        got = got or PodAnswer(0, "", (), b"")
        ticket.answer.set_result(
            BackendAnswer(
                got.status, got.headers, got.body, reason, ticket.cause, ticket.attempts, queue_s, retry_after_s,
                got.reason, got.rest,
            )
        )  # fmt: skip

    def _set_timer(self, now_s: float) -> None:
        """Wake at the buffer's next event; a timer that is set earlier may stay, it sets the next one.

        now_s: when the buffer last acted, not a later time: what became due in between would never be acted on.
        """
        due_s = self._buffer.next_event_s(now_s)
        if due_s is None:
            return
        due_s += self._began_s
        if self._timer is not None:
            set_for_s, handle = self._timer
            if set_for_s <= due_s:
                return
            handle.cancel()
        self._timer = due_s, self._loop.call_at(due_s, self._tick)

    def _tick(self) -> None:
        self._timer = None
        now_s = self.now_s()
        self._perform(self._buffer.tick(now_s), now_s)


def _ends(actions: Sequence[Action], request_id: int) -> bool:
    """Return whether the actions reject or deliver the request."""
    return any(isinstance(action, Reject | Deliver) and action.request_id == request_id for action in actions)


def _failure(backend: str, error: Exception) -> tuple[Outcome, str]:
    """Return what an attempt without an answer counts as, and why there is none."""
    if isinstance(error, UnreachedError):
        return Outcome.UNREACHED, f"cannot connect to {backend}: {error}"
    return Outcome.FAILED, f"request to {backend} failed: {str(error) or type(error).__name__}"
