"""The HTTP interface of asynchronous work: accept it, tell its state, return its result, cancel it."""

import re
import secrets
import time
from collections.abc import Callable

from dispatcher.headers import first
from dispatcher.idempotency import IdempotencyError, check_key, request_digest
from dispatcher.job_runner import JobRunner
from dispatcher.journal.base import (
    JobState,
    JobStatus,
    Journal,
    JournalError,
    KeyConflictError,
    NewJob,
)
from dispatcher.packing import pack_request, unpack_answer
from dispatcher.relay import ClientRequest
from dispatcher.replies import ClientReply, RefusalError, json_reply
from dispatcher.terms import Terms

# 24 characters that cannot be guessed. Source: 18 bytes of the operating system's random source.
ID_BYTES = 18
ID = re.compile(r"[A-Za-z0-9_-]{16,64}")
# How soon a client should ask again: most jobs take less than a second once a pod is ready.
RETRY_AFTER = (b"Retry-After", b"1")
UNAVAILABLE_RETRY_AFTER = (b"Retry-After", b"5")
STATE_FIELD = b"X-Job-State"


class Jobs:
    """Answers for asynchronous work. now: Unix time."""

    def __init__(self, journal: Journal, runner: JobRunner, now: Callable[[], float] = time.time) -> None:
        self._journal, self._runner, self._now = journal, runner, now

    async def submit(
        self, request: ClientRequest, terms: Terms, owner: str, idempotency_key: str | None
    ) -> ClientReply:
        """Accept a request: 202 once it is on disk. Its own deadline and priority do not count.

        Source: RFC 7240, section 4.1; RFC 9110, section 15.3.3.
        """
        if not self._runner.opened:
            raise _unavailable(self._runner.problem)
        job = _new_job(request, owner, idempotency_key)
        try:
            receipt = await self._journal.append(job, self._now())
            state = JobState.ACCEPTED
            if not receipt.new and (status := await self._journal.find(receipt.id, owner, self._now())):
                state = status.state
        except KeyConflictError as error:
            raise RefusalError(422, str(error)) from error
        except JournalError as error:
            raise _unavailable(str(error)) from error
        self._runner.wake()
        named = (b"X-Request-Id", first(request.headers, b"x-request-id") or b"")
        return _state_reply(receipt.id, state, (b"Preference-Applied", b"respond-async"), named)

    async def answer(self, method: str, job_id: str, owner: str) -> ClientReply:
        """Answer a request for a job: GET and HEAD return its state or result, DELETE cancels it."""
        if method not in ("GET", "HEAD", "DELETE"):
            text = f"{method} /jobs/{job_id}: use GET for the result, or DELETE to cancel"
            raise RefusalError(405, text, ((b"Allow", b"GET, HEAD, DELETE"),))
        if not ID.fullmatch(job_id):
            raise _unknown(job_id)
        if not self._runner.opened:
            raise _unavailable(self._runner.problem)
        try:
            return await (self._cancel(job_id, owner) if method == "DELETE" else self._result(job_id, owner))
        except JournalError as error:
            raise _unavailable(str(error)) from error

    async def _result(self, job_id: str, owner: str) -> ClientReply:
        status = await self._journal.find(job_id, owner, self._now())
        if status is None:
            raise _unknown(job_id)
        if status.state is JobState.CANCELLED:
            raise RefusalError(410, f"job {job_id} was cancelled", ((STATE_FIELD, b"cancelled"),))
        return _state_reply(job_id, status.state) if status.result is None else _result_reply(job_id, status)

    async def _cancel(self, job_id: str, owner: str) -> ClientReply:
        state = await self._journal.cancel(job_id, owner, self._now())
        if state is None:
            raise _unknown(job_id)
        if state is not JobState.CANCELLED:
            text = f"job {job_id} cannot be cancelled: its state is {state.value}, which is final"
            raise RefusalError(409, text, ((STATE_FIELD, state.value.encode()),))
        self._runner.cancel(job_id)
        return ClientReply(204, [(STATE_FIELD, b"cancelled")])


def _new_job(request: ClientRequest, owner: str, idempotency_key: str | None) -> NewJob:
    try:
        key = "" if idempotency_key is None else check_key(idempotency_key)
    except IdempotencyError as error:
        raise RefusalError(400, str(error)) from error
    digest = request_digest(request.method, request.target, request.headers, request.body) if key else b""
    return NewJob(secrets.token_urlsafe(ID_BYTES), owner, pack_request(request), request.body, key, digest)


def _state_reply(job_id: str, state: JobState, *fields: tuple[bytes, bytes]) -> ClientReply:
    """Return where the job is and that it has no result yet."""
    location = f"/jobs/{job_id}"
    body = {"id": job_id, "state": state.value, "location": location}
    named = ((b"Location", location.encode()), (STATE_FIELD, state.value.encode()), RETRY_AFTER)
    return json_reply(202, body, (*named, *fields))


def _result_reply(job_id: str, status: JobStatus) -> ClientReply:
    """Return the pod's answer, or why there is none."""
    result = status.result
    if result is None:
        raise ValueError(f"job {job_id} has no result")
    state = (STATE_FIELD, status.state.value.encode())
    if status.state is JobState.FAILED:
        return json_reply(502, {"error": result.cause, "id": job_id, "state": "failed"}, (state,))
    phrase, headers = unpack_answer(result)
    return ClientReply(result.status, [*headers, state], result.body, phrase)


def _unknown(job_id: str) -> RefusalError:
    return RefusalError(404, f"no job {job_id[:80]!r}: unknown, expired (--result-ttl-s), or another client's")


def _unavailable(text: str) -> RefusalError:
    return RefusalError(503, text or "the journal is not open yet", (UNAVAILABLE_RETRY_AFTER,))
