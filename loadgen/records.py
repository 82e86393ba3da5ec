"""The outcome of each request."""

import math
from dataclasses import dataclass
from enum import StrEnum


class Failure(StrEnum):
    """Why a request failed; `Record.error` has the details."""

    NONE = ""
    TIMEOUT = "timeout"
    CONNECT = "connect"  # the connection was not accepted
    TLS = "tls"
    CLOSED = "closed"  # the connection was closed or reset before the response was complete
    PROTOCOL = "protocol"  # the response is not HTTP, or violates the chosen protocol
    STATUS = "status"  # a complete response with an error status
    REFUSED = "refused"  # a user's own hook rejected the response
    LOCAL = "local"  # this machine ran out of files, ports or memory, so the request was never sent
    INTERRUPTED = "interrupted"  # the run ended before the request had an outcome, or before it was sent


MOST_CHARACTERS = 200


def printable(text: str, most: int = MOST_CHARACTERS) -> str:
    """Return a foreign text as one line that every output can hold.

    Control characters and lone surrogates are escaped, and what exceeds `most` characters is cut off.
    """
    if len(text) > most:
        text = f"{text[: most - 3]}..."
    if text.isascii() and text.isprintable():
        return text
    line = " ".join(text.split())
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in line)


@dataclass(slots=True)
class Record:
    """One request; times are seconds since the start of the schedule, on a monotonic clock.

    intended_s: when it was due.
    sent_s: when the request, or the connection that it needed, was handed to the kernel.
    first_byte_s, done_s: when the head and the last byte of the response arrived; with --protocol async, of the result.
    ended_s: when its outcome was known, good or bad.
    Each of these times is None if the event never happened.
    image: name of the image that was sent. status: 0 if there was no response.
    confidence: 0 if the response contains none, nan if it is not a finite number.
    traceparent: the trace context that the request carried, if any.
    worker: the lowest free slot of the process that sent it, from 1; with one process, the highest value of a run is
        its largest number of requests in flight.
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
    traceparent: str = ""

    @property
    def good(self) -> bool:
        """Whether a complete response arrived that has a status from 200 to 299 and conforms to the protocol."""
        return 200 <= self.status < 300 and self.done_s is not None and not self.failure

    @property
    def tried(self) -> bool:
        """Whether it was sent, or failed before that, for example for want of a local port."""
        return self.sent_s is not None or self.failure not in (Failure.NONE, Failure.INTERRUPTED)

    @property
    def slo_latency_s(self) -> float:
        """Latency from the intended send; infinite if the request was not successful."""
        return math.inf if self.done_s is None or not self.good else self.done_s - self.intended_s
