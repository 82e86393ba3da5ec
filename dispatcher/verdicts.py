"""Decides what an answer means for an asynchronous job: its end, or another attempt."""

from dataclasses import dataclass

from dispatcher.buffer import Reason

FIRST_DELAY_S = 1.0
LONGEST_DELAY_S = 60.0


@dataclass(frozen=True, slots=True)
class RunAgain:
    """The job has no answer yet; attempts: how many have failed so far."""

    attempts: int
    delay_s: float


@dataclass(frozen=True, slots=True)
class Answered:
    """The pod's answer is the result, whatever its status."""


@dataclass(frozen=True, slots=True)
class GivenUp:
    """All attempts have failed."""

    cause: str


def judge(
    reason: Reason | None, sent: bool, cause: str, failed: int, most_attempts: int, retry_after_s: float | None = None
) -> RunAgain | Answered | GivenUp:
    """Return what follows from an answer.

    reason: why there is no answer. sent: a pod had the request. failed: attempts that failed before.
    retry_after_s: when the buffer expects to have room. Waiting for pods is no attempt, however long it takes.
    """
    if reason is None:
        return Answered()
    if reason is not Reason.EXHAUSTED and not (reason is Reason.TIMEOUT and sent):
        return RunAgain(failed, FIRST_DELAY_S if retry_after_s is None else min(LONGEST_DELAY_S, retry_after_s))
    attempts = failed + 1
    if attempts >= most_attempts:
        return GivenUp(f"attempt {attempts} of {most_attempts} (--job-attempts) failed: {cause}")
    return RunAgain(attempts, min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** (attempts - 1)))
