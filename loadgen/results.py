"""What became of each request."""

from dataclasses import dataclass


@dataclass(slots=True)
class Record:
    """One request; times in seconds from the schedule's zero.

    sent_s, done_s: None until it was sent, until its last byte came. status 0: no answer, error says why.
    """

    intended_s: float
    image: str
    sent_s: float | None = None
    done_s: float | None = None
    status: int = 0
    error: str = ""
    label: str = ""
    confidence: float = 0.0
    request_id: str = ""
    worker: int = 0
    bytes_in: int = 0
    bytes_out: int = 0

    @property
    def good(self) -> bool:
        """Answered, and with 200."""
        return self.status == 200 and self.done_s is not None
