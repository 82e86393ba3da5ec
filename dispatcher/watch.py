"""What the relay tells about one request while it works on it, for the request's log line and spans."""

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from math import inf
from typing import Protocol

from dispatcher.messages import BackendAnswer, ClientRequest
from dispatcher.trace_context import TraceContext

Interval = tuple[float, float]


class RequestSpans(Protocol):
    """The spans of one request; all times are the relay's."""

    @property
    def context(self) -> TraceContext:
        """The request's own span, as its children see it."""

    def sent(self, request: ClientRequest, backend: str, now_s: float, no_pods: Interval | None) -> ClientRequest:
        """End the wait and begin an attempt; return the request with this attempt as the parent of the pod's spans.

        no_pods: the part of the wait in which no pod was ready.
        """

    def came_back(self, now_s: float, status: int, cause: str, waits: bool) -> None:
        """End the attempt. cause: why it failed, empty for an answer. waits: the request goes back to the queue."""

    def ended(self, now_s: float, no_pods: Interval | None) -> None:
        """End the wait that the request is in, if any: it is refused, or its client is gone."""

    def finish(self, row: Mapping[str, object], cause: str, now_s: float) -> None:
        """End the request's span. row: its log line. cause: why there is no answer of a pod, else empty."""


@dataclass(slots=True)
class Watch:
    """One request: its spans, None if they are not recorded, and what the relay fills in."""

    trace: RequestSpans | None = None
    traceparent: bytes = b""
    answer: BackendAnswer | None = None


# None costs a request nothing. The task that handles a request sets it before it calls the relay.
WATCH: ContextVar[Watch | None] = ContextVar("watch", default=None)


class NoPods:
    """The latest interval in which no pod was ready, as the controller announced it."""

    def __init__(self) -> None:
        self._since_s = self._until_s = -inf

    def announce(self, requests: int, now_s: float, valid_s: float) -> None:
        """Note how many requests the pods can serve at once; without another word this lapses after valid_s."""
        if requests:
            self._until_s = min(self._until_s, now_s)
            return
        if now_s > self._until_s:
            self._since_s = now_s
        self._until_s = now_s + valid_s

    def within(self, from_s: float, to_s: float) -> Interval | None:
        """Return the part of an interval that lies in it; None if there is none."""
        found = max(from_s, self._since_s), min(to_s, self._until_s)
        return found if found[0] < found[1] else None
