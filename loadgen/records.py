"""What became of each request."""

import math
from dataclasses import dataclass
from enum import StrEnum


class Failure(StrEnum):
    """Why a request is not good; the text beside it says more."""

    NONE = ""
    TIMEOUT = "timeout"
    CONNECT = "connect"  # nobody took the connection
    TLS = "tls"
    CLOSED = "closed"  # the connection ended or was reset before the answer was whole
    PROTOCOL = "protocol"  # what came is no HTTP, or not what the protocol promises
    STATUS = "status"  # a whole answer that says no
    REFUSED = "refused"  # a hook of the user's own did not accept the answer
    LOCAL = "local"  # this machine had no more files, ports or memory: it was never sent
    INTERRUPTED = "interrupted"


@dataclass(slots=True)
class Record:
    """One request; times in seconds from the schedule's zero, on a monotonic clock.

    intended_s: when it was due. sent_s: when it, or the connection it needed, was given to the kernel;
    first_byte_s, done_s: when the head and the last byte of its answer came (with --protocol async: of the result).
    ended_s: when its outcome was known, good or bad. None: that never happened.
    image: name of what was sent. status 0: no answer.
    worker: lowest slot that was free, so the highest seen is the most under way at once.
    """

    intended_s: float
    image: str = ""
    sent_s: float | None = None
    first_byte_s: float | None = None
    done_s: float | None = None
    ended_s: float | None = None
    status: int = 0
    failure: Failure = Failure.NONE
    error: str = ""
    label: str = ""
    confidence: float = 0.0
    pod: str = ""
    request_id: str = ""
    worker: int = 0
    bytes_in: int = 0
    bytes_out: int = 0

    @property
    def good(self) -> bool:
        """Answered whole, with a status from 200 to 299, and as the protocol promises."""
        return 200 <= self.status < 300 and self.done_s is not None and not self.failure

    @property
    def useful_s(self) -> float:
        """Latency from the intended send, infinite without a good answer."""
        return math.inf if self.done_s is None or not self.good else self.done_s - self.intended_s
