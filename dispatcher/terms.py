"""What a request asks of the dispatcher: by when it needs its answer, and how urgent it is."""

from dataclasses import dataclass
from enum import IntEnum


class Priority(IntEnum):
    """The class of a request; a smaller number goes first."""

    HIGH = 0
    NORMAL = 1
    LOW = 2


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of one request.

    deadline_s: the client's own deadline on the buffer's clock; a later answer is useless to the client. None if the
        client named none: then --slo-s orders the request and rejects nothing.
    kept: asynchronous work, which was accepted for good: it is never displaced and never dropped as expired.
    size_bytes: size of the body, for the bound in bytes.
    promise_key: recognises a client that returns after a Retry-After; empty if it cannot be recognised.
    """

    deadline_s: float | None = None
    priority: Priority = Priority.NORMAL
    kept: bool = False
    size_bytes: int = 0
    promise_key: bytes = b""
