"""Turns requests and answers into the bytes that a journal keeps, and back."""

import json
from dataclasses import replace

from dispatcher.buffer import Reason
from dispatcher.exchange import BrokenError
from dispatcher.headers import RawHeaders, end_to_end, first
from dispatcher.journal.base import Job, JobResult
from dispatcher.relay import WHOLE_KEPT_BYTES, BackendAnswer, ClientRequest

TOO_LONG = f"an answer that is kept must be at most {WHOLE_KEPT_BYTES} bytes, got more"
# The dispatcher's own, which replace those of the pod.
REPLACED = frozenset({b"x-request-id", b"attempts"})


def pack_request(request: ClientRequest) -> bytes:
    """Return all of a request except its body."""
    head = {"method": request.method, "target": request.target, "headers": _texts(request.headers)}
    return json.dumps(head).encode()


def unpack_request(job: Job) -> ClientRequest:
    """Return the request of a job as it came."""
    head = json.loads(job.head)
    return ClientRequest(head["method"], head["target"], _pairs(head["headers"]), job.body)


def pack_answer(answer: BackendAnswer, request: ClientRequest) -> JobResult:
    """Return a pod's answer as the client will get it, with the id of its request."""
    fields = [field for field in end_to_end(answer.headers) if field[0].lower() not in REPLACED]
    fields.append((b"attempts", b"%d" % answer.attempts))
    fields.append((b"X-Request-Id", first(request.headers, b"x-request-id") or b""))
    head = {"phrase": answer.phrase, "headers": _texts(tuple(fields))}
    return JobResult(answer.status, json.dumps(head).encode(), answer.body)


def unpack_answer(result: JobResult) -> tuple[str, RawHeaders]:
    """Return the reason phrase and the header fields of a result."""
    head = json.loads(result.head)
    return head["phrase"], _pairs(head["headers"])


async def read_whole(answer: BackendAnswer) -> BackendAnswer:
    """Return an answer with all of its body, so that several clients can have it.

    One that breaks off, or is longer than what may be kept, has failed.
    """
    if answer.rest is None:
        return answer
    body, size_bytes = [answer.body], len(answer.body)
    try:
        while chunk := await answer.rest.chunk():
            body.append(chunk)
            size_bytes += len(chunk)
            if size_bytes > WHOLE_KEPT_BYTES:
                raise BrokenError(TOO_LONG)
    except BrokenError as error:
        return replace(answer, status=0, headers=(), body=b"", reason=Reason.EXHAUSTED, cause=str(error), rest=None)
    finally:
        answer.rest.close()
    return replace(answer, body=b"".join(body), rest=None)


def kept_bytes(answer: BackendAnswer) -> int | None:
    """Return the size of an answer that may be given again; None for a refusal or a failure."""
    if answer.reason is not None or answer.status >= 500:
        return None
    return len(answer.body) + sum(len(name) + len(value) for name, value in answer.headers)


def _texts(headers: RawHeaders) -> list[tuple[str, str]]:
    """Return the fields as text; Latin-1 has a character for every byte."""
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]


def _pairs(texts: list[list[str]]) -> RawHeaders:
    return tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in texts)
