"""What the burst buffer is told and what it tells: outcomes of requests, actions to perform, settings."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

Order = Literal["deadline", "fifo"]
Expired = Literal["serve", "drop"]


class Reason(StrEnum):
    """Why a request is rejected."""

    FULL = "queue full"
    DISPLACED = "displaced from a full queue"
    DEADLINE = "deadline cannot be met"
    EXPIRED = "target latency passed"
    TIMEOUT = "waited too long"
    NO_POD = "no pod became ready"
    EXHAUSTED = "attempts exhausted"


class Outcome(StrEnum):
    """How a forwarded request ended at its backend."""

    ANSWERED = "answered"
    FAILED = "failed"
    UNREACHED = "unreached"


@dataclass(frozen=True, slots=True)
class Forward:
    """Send the request to the backend; attempt counts from 1."""

    request_id: int
    backend: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Reject:
    """Reject the request for good; retry_after_s: when the client may come back, None if that would not help."""

    request_id: int
    reason: Reason
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Deliver:
    """Send the backend's response to the client."""

    request_id: int


Action = Forward | Reject | Deliver


@dataclass(frozen=True, slots=True)
class BufferConfig:
    """The buffer's settings.

    slo_s: a request without a deadline of its own is due this long after its arrival; this refuses no request.
    order: deadline, or fifo, which releases in the order of arrival and ignores deadlines and priorities.
    queue_limit: largest number of waiting requests.
    queue_bytes: largest sum of the bodies of all unfinished requests, those included that are still being
        read, or wait for the journal or for another request's answer.
    attempts: how often a request may fail at a backend.
    timeout_s: longest time a synchronous request may wait.
    hold: whether the capacity set by the controller limits the requests in flight.
    expired: serve (after all others) or drop the synchronous requests that can no longer meet slo_s.
    retry_ratio: retries per released request that are allowed.
    """

    slo_s: float = 0.5
    order: Order = "deadline"
    queue_limit: int = 1000
    queue_bytes: int = 256 * 1024 * 1024
    attempts: int = 3
    timeout_s: float = 120.0
    hold: bool = True
    expired: Expired = "serve"
    retry_ratio: float = 0.2


@dataclass(frozen=True, slots=True)
class Capacity:
    """Number of requests that the pods can serve at once, as set by the controller; stale from valid_until_s on."""

    requests: int
    valid_until_s: float
