"""What every journal promises: work accepted once is kept until it has exactly one final state."""

from dataclasses import dataclass
from enum import Enum
from typing import Protocol


class JobState(Enum):
    """The state of a job; only ACCEPTED and RUNNING can change."""

    ACCEPTED = "accepted"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Tell whether the state can no longer change."""
        return self not in (JobState.ACCEPTED, JobState.RUNNING)


class JournalError(Exception):
    """The journal cannot be used as configured; the message is one sentence with the rule and the value."""


class JournalUnavailableError(JournalError):
    """The journal cannot store or read anything now; it may again later."""


class JournalFullError(JournalUnavailableError):
    """The journal has reached its bound in bytes, so it accepts nothing until some work has ended."""


class KeyConflictError(JournalError):
    """The idempotency key was used before, for another request."""


@dataclass(frozen=True, slots=True)
class JournalLimits:
    """The bounds of a journal.

    most_bytes: of the requests and results that it holds. result_ttl_s: how long a final state can be read.
    pushes: a result is kept until it was pushed, see claim_pushes.
    """

    most_bytes: int = 1 << 30
    result_ttl_s: float = 600.0
    pushes: bool = False


@dataclass(frozen=True, slots=True)
class NewJob:
    """A request to keep; what head and body mean is the caller's affair.

    owner: only this owner may read or cancel the job. key: the owner's idempotency key, or empty.
    digest: recognises the request if the key comes again.
    """

    id: str
    owner: str
    head: bytes
    body: bytes
    key: str = ""
    digest: bytes = b""

    @property
    def size_bytes(self) -> int:
        """Size of the request."""
        return len(self.head) + len(self.body)


@dataclass(frozen=True, slots=True)
class Receipt:
    """The id under which a request is kept; new: False if its idempotency key was known."""

    id: str
    new: bool


@dataclass(frozen=True, slots=True)
class Job:
    """A request to run now; attempts: how many have failed."""

    id: str
    head: bytes
    body: bytes
    attempts: int


@dataclass(frozen=True, slots=True)
class JobResult:
    """The response to a job, or the cause of its failure in `cause`."""

    status: int = 0
    head: bytes = b""
    body: bytes = b""
    cause: str = ""

    @property
    def size_bytes(self) -> int:
        """Size of the response."""
        return len(self.head) + len(self.body) + len(self.cause)


@dataclass(frozen=True, slots=True)
class JobStatus:
    """What the owner of a job can read; result is None until the state is DONE or FAILED."""

    state: JobState
    attempts: int
    result: JobResult | None


@dataclass(frozen=True, slots=True)
class Push:
    """A result to push to the sink; attempts: how many pushes were begun, this one included. Times are Unix time."""

    id: str
    state: JobState
    result: JobResult
    attempts: int
    finished_s: float


@dataclass(frozen=True, slots=True)
class Backlog:
    """What the journal holds.

    ready: jobs that could run now. delayed: jobs that wait for their next attempt. running: claimed jobs.
    dispatchers: number of processes that share the work, at least 1.
    """

    ready: int
    delayed: int
    running: int
    size_bytes: int
    dispatchers: int = 1


class Journal(Protocol):
    """Keeps jobs across restarts; now_s is Unix time, so that it means the same after a restart.

    Every method raises JournalUnavailableError if the store cannot be used now. A cancelled call may have taken effect.
    """

    name: str  # for messages and logs, without a password

    async def open(self, now_s: float) -> None:
        """Open the store, and upgrade it if it is older. Raise JournalError if it cannot be used as configured."""

    async def close(self) -> None:
        """Give back what is claimed, and close the store."""

    async def append(self, job: NewJob, now_s: float) -> Receipt:
        """Keep a request; return only after the commit.

        Raise JournalFullError above the bound in bytes, KeyConflictError if the key belongs to another request.
        """

    async def claim(self, limit: int, now_s: float) -> list[Job]:
        """Return up to `limit` jobs that are due, oldest first, and mark them as running."""

    async def renew(self, now_s: float) -> None:
        """Show that this process is alive, and extend its claims, so that no other one takes them over."""

    async def put_back(self, job_id: str, attempts: int, due_s: float, now_s: float) -> None:
        """Give back a claimed job, to be run again at due_s; nothing happens if it has a final state."""

    async def finish(self, job_id: str, state: JobState, result: JobResult, now_s: float) -> bool:
        """Set the final state, delete the request and store the result; return False if the state was final already."""

    async def cancel(self, job_id: str, owner: str, now_s: float) -> JobState | None:
        """Cancel a job. Return its final state, which is another one if it had ended; None if there is no such job."""

    async def find(self, job_id: str, owner: str, now_s: float) -> JobStatus | None:
        """Return the state of a job; None if there is none, it is another owner's, or its time to live is over."""

    async def backlog(self, now_s: float) -> Backlog:
        """Return how much work there is."""

    async def purge(self, now_s: float) -> int:
        """Delete results whose time to live is over; return how many."""

    async def claim_pushes(self, limit: int, now_s: float, lease_s: float) -> list[Push]:
        """Return results to push; without push_done or push_later they are due again after lease_s."""

    async def push_done(self, job_id: str, now_s: float) -> None:
        """Mark a result as pushed; its time to live begins now."""

    async def push_later(self, job_id: str, due_s: float) -> None:
        """Push a result again at due_s."""
