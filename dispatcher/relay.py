"""Performs the buffer's actions: forwards requests, returns responses to clients, sets timers."""

import asyncio
import itertools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import aiohttp

from dispatcher.buffer import Action, BurstBuffer, Capacity, Deliver, Forward, Outcome, Reason, Reject
from dispatcher.metrics import DispatcherMetrics
from dispatcher.signals import TrafficLog
from dispatcher.terms import Terms

log = logging.getLogger(__name__)

# With these the pod or route failed to serve the request, so a retry may succeed.
RETRIED_STATUSES = frozenset({502, 503, 504})
HOP_BY_HOP = frozenset(
    {
        "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding",
        "upgrade", "host", "content-length", "expect",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class BackendAnswer:
    """A backend's response, or the reason why there is none."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    reason: Reason | None = None
    cause: str = ""
    attempts: int = 0
    queue_s: float = 0.0
    retry_after_s: float | None = None


@dataclass(slots=True)
class _Ticket:
    """An accepted request; sent_s is None until it is first forwarded."""

    body: bytes
    headers: Mapping[str, str]
    arrived_s: float
    answer: asyncio.Future[BackendAnswer]
    sent_s: float | None = None
    attempts: int = 0
    cause: str = ""
    got: BackendAnswer | None = None
    client_deadline_s: float | None = field(default=None)


class Relay:
    """Connects the buffer to sockets and the clock; now_s() starts at 0."""

    def __init__(
        self,
        buffer: BurstBuffer,
        session: aiohttp.ClientSession,
        metrics: DispatcherMetrics,
        host: str | None,
        timeout_s: float,
    ) -> None:
        self._buffer, self._session, self._metrics = buffer, session, metrics
        self._host, self._timeout_s = host, timeout_s
        self._loop = asyncio.get_running_loop()
        self._began_s = self._loop.time()
        self._ids = itertools.count()
        self._tickets: dict[int, _Ticket] = {}
        self._sending: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self.traffic = TrafficLog()
        self.arrived = self.released = self.rejected = self.retried = 0

    def now_s(self) -> float:
        """Return the seconds since the relay was made, by a monotonic clock."""
        return self._loop.time() - self._began_s

    @property
    def unfinished(self) -> int:
        """Number of requests accepted and not yet answered."""
        return len(self._tickets)

    async def handle(self, body: bytes, headers: Mapping[str, str], client_deadline_s: float | None) -> BackendAnswer:
        """Return the response to one request. A client's disconnect cancels this call, and with it the request."""
        now_s = self.now_s()
        request_id = next(self._ids)
        deadline_s = None if client_deadline_s is None else now_s + client_deadline_s
        ticket = _Ticket(body, headers, now_s, self._loop.create_future(), client_deadline_s=deadline_s)
        self._tickets[request_id] = ticket
        self.traffic.arrive(now_s)
        self.arrived += 1
        self._perform(self._buffer.arrive(request_id, now_s, Terms(deadline_s, size_bytes=len(body))))
        try:
            return await ticket.answer
        except asyncio.CancelledError:
            self._perform(self._buffer.cancel(request_id, self.now_s()))
            raise
        finally:
            self._tickets.pop(request_id, None)
            self.traffic.leave(self.now_s())

    def set_capacity(self, requests: int, valid_s: float, backends: Sequence[str] | None, concurrency: int) -> None:
        """Apply the capacity, and the backends if any are named, that the controller has set."""
        now_s = self.now_s()
        if backends is not None:
            self._perform(self._buffer.set_backends(list(backends), concurrency, now_s))
        self._perform(self._buffer.set_capacity(Capacity(requests, now_s + valid_s), now_s))

    def _perform(self, actions: Sequence[Action]) -> None:
        for action in actions:
            match action:
                case Forward():
                    self._send(action)
                case Reject():
                    self._refuse(action)
                case Deliver():
                    self._deliver(action.request_id)
        self._metrics.waiting.set(self._buffer.waiting)
        self._metrics.in_flight.set(self._buffer.in_flight)
        self._set_timer()

    def _send(self, forward: Forward) -> None:
        ticket = self._tickets[forward.request_id]
        ticket.attempts = forward.attempt
        if ticket.sent_s is None:
            ticket.sent_s = self.now_s()
            self.released += 1
            self._metrics.queue_s.observe(ticket.sent_s - ticket.arrived_s)
        task = self._loop.create_task(self._exchange(forward, ticket))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _exchange(self, forward: Forward, ticket: _Ticket) -> None:
        """Send the request and await the response; whatever happens, report to the buffer exactly once."""
        sent_s = self.now_s()
        outcome = Outcome.FAILED
        try:
            ticket.got = await self._post(forward.backend, ticket)
            outcome = Outcome.FAILED if ticket.got.status in RETRIED_STATUSES else Outcome.ANSWERED
            ticket.cause = f"{forward.backend} returned {ticket.got.status}"
        except aiohttp.ClientConnectorError as error:
            outcome, ticket.cause = Outcome.UNREACHED, f"cannot connect to {forward.backend}: {error}"
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            ticket.cause = f"request to {forward.backend} failed: {str(error) or type(error).__name__}"
        finally:
            now_s = self.now_s()
            if outcome is not Outcome.ANSWERED:
                log.info("%s (attempt %d)", ticket.cause, forward.attempt)
            actions = self._buffer.finish(forward.request_id, now_s, outcome, now_s - sent_s)
            if outcome is not Outcome.ANSWERED and not _ends(actions, forward.request_id):
                self.retried += 1
                self._metrics.retried.inc()
            self._perform(actions)

    async def _post(self, backend: str, ticket: _Ticket) -> BackendAnswer:
        headers = {name: value for name, value in ticket.headers.items() if name.lower() not in HOP_BY_HOP}
        if self._host:
            headers["Host"] = self._host
        left_s = max(0.001, ticket.arrived_s + self._timeout_s - self.now_s())
        timeout = aiohttp.ClientTimeout(total=left_s)
        async with self._session.post(
            f"{backend}/predict", data=ticket.body, headers=headers, timeout=timeout, allow_redirects=False
        ) as response:
            body = await response.read()
            kept = tuple((name, value) for name, value in response.headers.items() if name.lower() not in HOP_BY_HOP)
            return BackendAnswer(response.status, kept, body)

    def _deliver(self, request_id: int) -> None:
        ticket = self._tickets[request_id]
        if ticket.got is None:
            raise RuntimeError(f"request {request_id} is delivered without a response")
        self._finish(ticket, ticket.got.status, ticket.got.headers, ticket.got.body, None)

    def _refuse(self, reject: Reject) -> None:
        ticket = self._tickets[reject.request_id]
        self.rejected += 1
        self._metrics.rejected.labels(reject.reason.value).inc()
        self._finish(ticket, 0, (), b"", reject.reason, reject.retry_after_s)

    def _finish(
        self,
        ticket: _Ticket,
        status: int,
        headers: tuple[tuple[str, str], ...],
        body: bytes,
        reason: Reason | None,
        retry_after_s: float | None = None,
    ) -> None:
        now_s = self.now_s()
        self._metrics.latency_s.observe(now_s - ticket.arrived_s)
        queue_s = (now_s if ticket.sent_s is None else ticket.sent_s) - ticket.arrived_s
        answer = BackendAnswer(status, headers, body, reason, ticket.cause, ticket.attempts, queue_s, retry_after_s)
        if not ticket.answer.done():
            ticket.answer.set_result(answer)

    def _set_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        due_s = self._buffer.next_event_s(self.now_s())
        if due_s is not None:
            self._timer = self._loop.call_at(self._began_s + due_s, self._tick)

    def _tick(self) -> None:
        self._perform(self._buffer.tick(self.now_s()))


def _ends(actions: Sequence[Action], request_id: int) -> bool:
    """Return whether the actions reject or deliver the request."""
    return any(isinstance(action, Reject | Deliver) and action.request_id == request_id for action in actions)
