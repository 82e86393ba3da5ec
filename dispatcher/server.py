"""The public HTTP interface: what queues, what is passed on at once, and what the dispatcher answers itself."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol

from aiohttp import web

from dispatcher.answers import Renderer, passed_on, with_queue_size
from dispatcher.buffer import BurstBuffer
from dispatcher.config import Config
from dispatcher.headers import RawHeaders, first
from dispatcher.idempotency import IdempotencyError, SharedAnswers, check_key, request_digest
from dispatcher.incoming import (
    BodyLimits,
    check_coding,
    check_head,
    counted,
    pod_headers,
    read_body,
    request_id_of,
    target_of,
)
from dispatcher.journal.base import KeyConflictError
from dispatcher.keys import ApiKey, KeyFile, credentials, find_key
from dispatcher.metadata import KeptAnswer, KeptAnswers, may_be_kept, ready_body
from dispatcher.metrics import CLIENT_GONE, DispatcherMetrics
from dispatcher.packing import kept_bytes, read_whole
from dispatcher.relay import BackendAnswer, ClientRequest, Relay
from dispatcher.replies import ClientReply, RefusalError, json_reply
from dispatcher.terms import Priority, Terms, TermsError, read_terms
from dispatcher.watch import WATCH

log = logging.getLogger(__name__)

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
CONTROL_PATHS = frozenset({"/signals", "/capacity", "/queue", "/metrics"})
IMAGE_PATHS = frozenset({"/predict", "/add_to_queue"})
NEED_NO_KEY = frozenset({"/", "/healthz", "/readyz", "/v2/health/live", "/v2/health/ready", "/health/liveness"})


class JobService(Protocol):
    """Asynchronous work: accepts it, and answers for its state."""

    async def submit(
        self, request: ClientRequest, terms: Terms, owner: str, idempotency_key: str | None
    ) -> web.StreamResponse: ...

    async def answer(self, method: str, job_id: str, owner: str) -> web.StreamResponse: ...


@dataclass(frozen=True, slots=True)
class Client:
    """The client of one request. owner: the name of its API key, empty without keys."""

    owner: str
    may_raise: bool
    secrets: frozenset[bytes]


ANYBODY = Client("", True, frozenset())


class DispatcherServer:
    """Handles each request of port 8001.

    problem: returns what the controller said about pods that do not start. jobs: None without a journal.
    """

    def __init__(
        self, relay: Relay, buffer: BurstBuffer, config: Config, metrics: DispatcherMetrics, problem: Callable[[], str],
        keys: KeyFile | None = None,
    ) -> None:  # fmt: skip
        self._relay, self._buffer, self._config, self._metrics = relay, buffer, config, metrics
        self._problem, self._keys = problem, keys
        self._renderer = Renderer(config)
        self._kept = KeptAnswers()
        self._shared = SharedAnswers(kept_bytes, relay.now_s)
        self._limits = BodyLimits(config.max_body_bytes, config.body_timeout_s, config.request_timeout_s)
        self._host = (config.ml_service_host or "").encode()
        self.jobs: JobService | None = None
        self.draining = False

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Return the response to any request; its errors are JSON with X-Request-Id."""
        request_id = request_id_of(request)
        arrived_s = self._relay.now_s()
        try:
            reply = await self._route(request, request_id)
            _name(reply, request_id)
        except RefusalError as refusal:
            reply = self._refused(refusal, request, request_id)
        except TermsError as error:
            reply = self._refused(RefusalError(400, str(error)), request, request_id)
        except (asyncio.CancelledError, ConnectionError):
            self._count(request, CLIENT_GONE, arrived_s)
            raise
        except Exception:
            # one broken request must not break the connection without an answer, nor the process
            # not the query, which may hold a key
            log.exception("internal error in %s %s", request.method, target_of(request).partition("?")[0])
            reply = self._refused(
                RefusalError(500, "internal error; the log has the details", close=True), request, request_id
            )
        if self.draining:
            reply.force_close()
        self._count(request, reply.status, arrived_s)
        return reply

    def _count(self, request: web.BaseRequest, status: int, arrived_s: float) -> None:
        if request.method not in SAFE:
            self._metrics.answer(status, self._relay.now_s() - arrived_s)

    def _refused(self, refusal: RefusalError, request: web.BaseRequest, request_id: bytes) -> ClientReply:
        reply = json_reply(refusal.status, {"error": refusal.text}, (*refusal.headers, (b"X-Request-Id", request_id)))
        if refusal.close or not request.content.is_eof():
            reply.force_close()
        reply.hangs_up = refusal.status == HTTPStatus.REQUEST_TIMEOUT
        return reply

    async def _route(self, request: web.BaseRequest, request_id: bytes) -> web.StreamResponse:
        check_head(request, self._config.max_body_bytes)
        target = target_of(request)
        path = target.partition("?")[0]
        client = self._client(request, path)
        if request.method in SAFE:
            return self._own(request, path, request_id) or await self._look_up(request, target, client, request_id)
        if path in CONTROL_PATHS:
            raise self._on_control_port(path)
        if path.startswith("/jobs/"):
            return await self._job(request, path, client)
        if request.method == "CONNECT":
            raise RefusalError(405, "CONNECT: the dispatcher is no tunnel; use POST with an image", close=True)
        return await self._infer(request, target, client, request_id)

    def _on_control_port(self, path: str) -> RefusalError:
        return RefusalError(
            404, f"{path} is on the control port {self._config.control_port} (--control-port), not here"
        )

    def _own(self, request: web.BaseRequest, path: str, request_id: bytes) -> ClientReply | None:
        """Return the answer to what the dispatcher answers itself in any case, None for what goes to a pod."""
        named = ((b"X-Request-Id", request_id),)
        if request.method != "OPTIONS":
            if path == "/":
                return json_reply(200, self.health(), named)
            if path == "/healthz":
                return json_reply(200, {"status": "ok"}, named)
            if path == "/readyz":
                state = {"status": "draining" if self.draining else "ready"}
                return json_reply(503 if self.draining else 200, state, named)
            if path in IMAGE_PATHS:
                text = f"{request.method} {path}: use POST with an image"
                raise RefusalError(405, text, ((b"Allow", b"POST, OPTIONS"),))
        if path in CONTROL_PATHS:
            raise self._on_control_port(path)
        return None

    def health(self) -> dict[str, object]:
        """Return liveness, and the numbers of waiting requests and of requests in flight."""
        status = "draining" if self.draining else "alive"
        return {"status": status, "waiting": self._buffer.waiting, "in_flight": self._buffer.in_flight}

    def _client(self, request: web.BaseRequest, path: str) -> Client:
        """Return the client; raise RefusalError without a valid key, if keys are needed."""
        if self._keys is None or (path in NEED_NO_KEY and request.method in SAFE):
            return ANYBODY
        known = self._keys.keys(self._relay.now_s())
        for field, secret in credentials(request.headers):
            key: ApiKey | None = find_key(known, secret)
            if key is not None:
                return Client(key.name, key.high, frozenset({field}))
        text = "an API key is needed, in Authorization: Bearer KEY or X-API-Key: KEY; got none that is valid"
        raise RefusalError(401, text, ((b"WWW-Authenticate", b"Bearer"),), close=not request.content.is_eof())

    async def _look_up(
        self, request: web.BaseRequest, target: str, client: Client, request_id: bytes
    ) -> web.StreamResponse:
        """Pass a request for metadata on if pods are known to be ready, otherwise answer it without waking one."""
        method, path = request.method, target.partition("?")[0]
        if path.startswith("/jobs/"):
            return await self._job(request, path, client)
        if self._buffer.pods_known_ready(self._relay.now_s()):
            body = await self._body(request)
            headers = self._pod_headers(request, body, request_id, client)
            with counted(body, self._buffer.reading):
                got = await self._relay.look_up(ClientRequest(method, target, headers, body))
            if got is not None:
                if got.rest is None and may_be_kept(method, request.headers, got.status, got.headers, len(got.body)):
                    self._kept.keep(method, target, KeptAnswer(got.headers, got.body))
                reply = passed_on(got.status, got.headers, got.body, request_id, got.reason)
                reply.rest = got.rest
                return reply
        if kept := self._kept.get(method, target):
            return passed_on(200, kept.headers, kept.body, request_id, "OK")
        if ready := ready_body(path):
            return json_reply(200, ready, ((b"X-Request-Id", request_id),))
        text = f"{method} {path}: no pod is ready; POST an image to /predict starts one"
        raise RefusalError(503, text, ((b"Retry-After", b"5"),))

    async def _infer(
        self, request: web.BaseRequest, target: str, client: Client, request_id: bytes
    ) -> web.StreamResponse:
        """Let a request wait for its pod, and return the response."""
        path, question, query = target.partition("?")
        body = await self._body(request)
        if not body and path in IMAGE_PATHS and request.method == "POST":
            raise RefusalError(400, "no image: the body is empty")
        check_coding(request, body)
        caller = client.owner or request.remote or ""
        terms = read_terms(request.headers, path, body, self._relay.now_s(), caller.encode())
        if terms.priority is Priority.HIGH and not client.may_raise:
            raise RefusalError(403, f"the API key {client.owner!r} may not raise the priority, got high")
        queue_size = path == "/add_to_queue" and request.method == "POST"
        headers = self._pod_headers(request, body, request_id, client)
        passed = ClientRequest(request.method, f"/predict{question}{query}" if queue_size else target, headers, body)
        if prefers_async(request.headers.getall("Prefer", ())):
            return await self._submit(passed, terms, client, request.headers.get("Idempotency-Key"))
        answer = await self._answer(passed, terms, client.owner, request.headers.get("Idempotency-Key"))
        reply = self._renderer.reply(answer, request_id, self._buffer.waiting, self._problem())
        return with_queue_size(reply, self._buffer.waiting) if queue_size and answer.rest is None else reply

    async def _answer(self, passed: ClientRequest, terms: Terms, owner: str, key: str | None) -> BackendAnswer:
        """Return the answer of a pod; requests with the same idempotency key share one."""
        if key is None:
            return await self._relay.handle(passed, terms)
        try:
            digest = request_digest(passed.method, passed.target, passed.headers, passed.body)
            # the buffer counts the body of the request that is sent, not of those that wait for its answer
            waits = self._shared.running(owner, check_key(key))
            with counted(passed.body, self._buffer.reading) if waits else nullcontext():
                return await self._shared.answer(owner, key, digest, lambda: self._whole(passed, terms))
        except IdempotencyError as error:
            raise RefusalError(400, str(error)) from error
        except KeyConflictError as error:
            raise RefusalError(422, str(error)) from error

    async def _whole(self, passed: ClientRequest, terms: Terms) -> BackendAnswer:
        return await read_whole(await self._relay.handle(passed, terms))

    def _pod_headers(self, request: web.BaseRequest, body: bytes, request_id: bytes, client: Client) -> RawHeaders:
        """Return the fields for a pod; note the trace for the log."""
        watch = WATCH.get()
        span = watch.traceparent if watch is not None and watch.trace is not None else b""
        headers = pod_headers(request, len(body), self._host, request_id, client.secrets, span)
        if watch is not None and not watch.traceparent:
            watch.traceparent = first(headers, b"traceparent") or b""
        return headers

    async def _body(self, request: web.BaseRequest) -> bytes:
        return await read_body(request, self._limits, self._buffer.reading)

    async def _submit(
        self, passed: ClientRequest, terms: Terms, client: Client, idempotency_key: str | None
    ) -> web.StreamResponse:
        if self.jobs is None:
            raise RefusalError(501, "Prefer: respond-async needs a journal (--journal), and this dispatcher has none")
        submitted = self._submitted(self.jobs, passed, terms, client.owner, idempotency_key)
        # the journal holds the body until it is done with it, also if the client has left
        return await asyncio.shield(submitted)

    async def _submitted(
        self, jobs: JobService, passed: ClientRequest, terms: Terms, owner: str, idempotency_key: str | None
    ) -> web.StreamResponse:
        with counted(passed.body, self._buffer.reading):
            return await jobs.submit(passed, terms, owner, idempotency_key)

    async def _job(self, request: web.BaseRequest, path: str, client: Client) -> web.StreamResponse:
        if self.jobs is None:
            raise RefusalError(
                501, f"{path}: asynchronous work needs a journal (--journal), and this dispatcher has none"
            )
        return await self.jobs.answer(request.method, path.removeprefix("/jobs/"), client.owner)


def _name(reply: web.StreamResponse, request_id: bytes) -> None:
    """Add X-Request-Id, unless the reply has one: that of an asynchronous request in the answer to its poll."""
    if isinstance(reply, ClientReply) and first(reply.fields, b"x-request-id") is None:
        reply.fields.append((b"X-Request-Id", request_id))


def prefers_async(values: Iterable[str]) -> bool:
    """Return whether the fields Prefer ask for an asynchronous answer. Source: RFC 7240, section 4.1."""
    preferences = [preference for value in values for preference in value.split(",")]
    return any(preference.partition(";")[0].strip().lower() == "respond-async" for preference in preferences)
