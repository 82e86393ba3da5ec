"""Turns what the relay returns into the response to the client."""

import json
from math import ceil

from dispatcher.buffer import Reason
from dispatcher.config import Config
from dispatcher.headers import RawHeaders, end_to_end, first
from dispatcher.relay import BackendAnswer
from dispatcher.replies import ClientReply, json_reply
from dispatcher.terms import DEADLINES_MS

# The dispatcher's own, which replace those of the pod.
REPLACED = frozenset({b"x-request-id", b"attempts"})


def passed_on(status: int, headers: RawHeaders, body: bytes, request_id: bytes, phrase: str) -> ClientReply:
    """Return a pod's answer with the id of the request."""
    fields = _end_to_end(headers)
    fields.append((b"X-Request-Id", request_id))
    return ClientReply(status, fields, body, phrase)


def _end_to_end(headers: RawHeaders) -> list[tuple[bytes, bytes]]:
    return [field for field in end_to_end(headers) if field[0].lower() not in REPLACED]


class Renderer:
    """Renders the answers of the relay; `problem` is what the controller last said about pods that do not start."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def reply(self, answer: BackendAnswer, request_id: bytes, waiting: int, problem: str) -> ClientReply:
        """Return the response: the pod's, or the refusal with rule and value."""
        if answer.status:
            reply = ClientReply(answer.status, _end_to_end(answer.headers), answer.body, answer.phrase, answer.rest)
        else:
            reply = self._rejection(answer, waiting, problem)
        reply.fields += (
            (b"Server-Timing", b"queue;dur=%.1f" % (1000 * answer.queue_s)),
            (b"attempts", b"%d" % answer.attempts),
            (b"X-Request-Id", request_id),
        )
        return reply

    def _rejection(self, answer: BackendAnswer, waiting: int, problem: str) -> ClientReply:
        reason = answer.reason or Reason.EXHAUSTED
        body: dict[str, object] = {"error": self._text(reason, answer, waiting, problem)}
        status, again = self._status(reason)
        if not again:
            return json_reply(status, body)
        retry_after_s = answer.retry_after_s or 1.0
        body["retry_after_s"] = round(retry_after_s, 3)
        return json_reply(status, body, ((b"Retry-After", b"%d" % max(1, ceil(retry_after_s))),))

    def _status(self, reason: Reason) -> tuple[int, bool]:
        """Return the status, and whether it comes with a Retry-After."""
        match reason:
            case Reason.TIMEOUT:
                return 504, False
            case Reason.EXHAUSTED:
                return 502, False
            case Reason.DEADLINE:
                return self._config.refuse_status, self._config.refuse_status == 503
        return 503, True

    def _text(self, reason: Reason, answer: BackendAnswer, waiting: int, problem: str) -> str:
        config, cause = self._config, answer.cause or "never forwarded to a backend"
        return {
            Reason.FULL: f"queue full: --queue-limit is {config.queue_limit}, waiting requests: {waiting};"
            f" --queue-bytes is {config.queue_bytes}",
            Reason.DISPLACED: "queue full, and this request was late: one that can be in time took its place",
            Reason.EXPIRED: "dropped, as --expired drop asks for: the request can no longer be in time",
            Reason.DEADLINE: f"{DEADLINES_MS[0]}, {DEADLINES_MS[1]} or parameters.timeout cannot be met",
            Reason.NO_POD: f"no pod became ready within --request-timeout-s {config.request_timeout_s:g}"
            + (f": {problem}" if problem else ""),
            Reason.TIMEOUT: f"no response within --request-timeout-s {config.request_timeout_s:g}: {cause}",
            Reason.EXHAUSTED: f"attempt {answer.attempts} of {config.attempts} failed: {cause}",
        }[reason]


def with_queue_size(reply: ClientReply, queue_size: int) -> ClientReply:
    """Add queue_size to a body that is a JSON object and not compressed; leave any other body as it is."""
    if first(reply.fields, b"content-encoding") is not None:
        return reply
    try:
        body = json.loads(reply.content)
    except (ValueError, RecursionError):
        return reply
    if isinstance(body, dict):
        reply.content = json.dumps({**body, "queue_size": queue_size}).encode()
    return reply
