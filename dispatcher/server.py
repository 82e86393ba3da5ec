"""The HTTP server: parses requests and renders responses; all decisions are the buffer's."""

import json
import uuid
from collections.abc import Awaitable, Callable
from math import ceil, isfinite

from aiohttp import web
from multidict import CIMultiDict
from prometheus_client import CollectorRegistry, generate_latest

from dispatcher.buffer import BurstBuffer, Reason
from dispatcher.config import Config, ConfigError, parse_urls
from dispatcher.metrics import DispatcherMetrics
from dispatcher.relay import BackendAnswer, Relay

REQUEST_ID = "X-Request-Id"
DEADLINE = "X-Request-Deadline-Ms"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

STATUS_OF = {
    Reason.FULL: 503,
    Reason.DISPLACED: 503,
    Reason.DEADLINE: 429,
    Reason.EXPIRED: 503,
    Reason.TIMEOUT: 504,
    Reason.NO_POD: 503,
    Reason.EXHAUSTED: 502,
}


class DispatcherServer:
    """HTTP handlers for one relay."""

    def __init__(
        self, relay: Relay, buffer: BurstBuffer, config: Config, metrics: DispatcherMetrics, registry: CollectorRegistry
    ) -> None:
        self._relay, self._buffer, self._config = relay, buffer, config
        self._metrics, self._registry = metrics, registry
        self.draining = False

    def app(self) -> web.Application:
        """Return the application with all routes."""
        app = web.Application(client_max_size=self._config.max_body_bytes, middlewares=[self._render_errors])
        app.add_routes(
            [
                web.get("/", self.health),
                web.get("/metrics", self.metrics),
                web.get("/signals", self.signals),
                web.put("/capacity", self.capacity),
                web.post("/predict", self.predict),
                web.post("/add_to_queue", self.add_to_queue),
            ]
        )
        return app

    async def health(self, request: web.Request) -> web.Response:
        """Report liveness, and the numbers of waiting requests and of requests in flight."""
        status = "draining" if self.draining else "ok"
        return web.json_response(
            {"status": status, "waiting": self._buffer.waiting, "in_flight": self._buffer.in_flight}
        )

    async def metrics(self, request: web.Request) -> web.Response:
        """Export the metrics in Prometheus' text format."""
        return web.Response(body=generate_latest(self._registry), content_type="text/plain", charset="utf-8")

    async def signals(self, request: web.Request) -> web.Response:
        """Report the traffic to the controller, see signals.py; counters never decrease."""
        relay, buffer, now_s = self._relay, self._buffer, self._relay.now_s()
        seconds = relay.traffic.per_second(now_s)
        times = buffer.service_times
        return web.json_response(
            {
                "now_s": now_s,
                "arrivals": {"since_s": seconds.since_s, "count": relay.arrived, "per_second": seconds.arrivals},
                "concurrency": {"since_s": seconds.since_s, "per_second": seconds.concurrency},
                "waiting": buffer.waiting,
                "in_flight": buffer.in_flight,
                "oldest_wait_s": buffer.oldest_wait_s(now_s),
                "feasible_backlog_s": buffer.feasible_backlog_s(now_s),
                "service_time_s": {"mean": times.mean_s(), "p95": times.p95_s()},
                "released": relay.released,
                "rejected": relay.rejected,
                "retried": relay.retried,
            }
        )

    async def capacity(self, request: web.Request) -> web.Response:
        """Accept from the controller how many pods are ready, and for how long that is valid."""
        try:
            body = json.loads(await request.read())
            if not isinstance(body, dict):
                raise ConfigError(f"the body must be a JSON object, got {type(body).__name__}")
            ready = _integer(body, "ready_pods", least=0)
            concurrency = _integer(body, "concurrency", least=1)
            valid_s = body.get("valid_s")
            if isinstance(valid_s, bool) or not isinstance(valid_s, int | float) or not 0 < valid_s <= 3600:
                raise ConfigError(f"valid_s must be above 0 and at most 3600, got {valid_s!r}")
            backends = _backends(body)
        except (ValueError, ConfigError) as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        if backends is not None and not self._config.accept_backends:
            raise web.HTTPForbidden(text="backends can be named only if the dispatcher runs with --accept-backends")
        self._relay.set_capacity(ready * concurrency, float(valid_s), backends, concurrency)
        return web.json_response({"capacity": ready * concurrency, "valid_s": valid_s})

    async def predict(self, request: web.Request) -> web.Response:
        """Return the backend's response, unchanged."""
        return await self._forward(request, with_queue_size=False)

    async def add_to_queue(self, request: web.Request) -> web.Response:
        """Return the backend's response with the current number of waiting requests added."""
        return await self._forward(request, with_queue_size=True)

    async def _forward(self, request: web.Request, with_queue_size: bool) -> web.Response:
        if self.draining:
            raise web.HTTPServiceUnavailable(text="shutting down", headers={"Retry-After": "1"})
        deadline_s = _deadline_s(request)
        body = await request.read()
        if not body:
            raise web.HTTPBadRequest(text="no image: the body is empty")
        request_id = request.headers.get(REQUEST_ID) or uuid.uuid4().hex
        headers = {**request.headers, REQUEST_ID: request_id}
        answer = await self._relay.handle(body, headers, deadline_s)
        response = self._rejection(answer) if answer.reason else _forwarded(answer)
        if with_queue_size:
            _add_queue_size(response, self._buffer.waiting)
        timing = response.headers.get("Server-Timing")
        queue = f"queue;dur={1000 * answer.queue_s:.1f}"
        response.headers["Server-Timing"] = f"{timing}, {queue}" if timing else queue
        response.headers["attempts"] = str(answer.attempts)
        response.headers[REQUEST_ID] = request_id
        return response

    def _rejection(self, answer: BackendAnswer) -> web.Response:
        reason, cause = answer.reason or Reason.EXHAUSTED, answer.cause or "never forwarded to a backend"
        limit, waiting = self._config.queue_limit, self._buffer.waiting
        text = {
            Reason.FULL: f"queue full: --queue-limit is {limit}, waiting requests: {waiting}",
            Reason.DISPLACED: f"displaced by a newer request: --queue-limit is {limit}, waiting requests: {waiting}",
            Reason.EXPIRED: f"not answered within --slo-s {self._config.slo_s:g}",
            Reason.NO_POD: f"no pod within --request-timeout-s {self._config.request_timeout_s:g}: {cause}",
            Reason.DEADLINE: f"the deadline in {DEADLINE} cannot be met",
            Reason.TIMEOUT: f"no response within --request-timeout-s {self._config.request_timeout_s:g}: {cause}",
            Reason.EXHAUSTED: f"attempt {answer.attempts} of {self._config.attempts} failed: {cause}",
        }[reason]
        response = web.json_response({"error": text}, status=STATUS_OF[reason])
        if answer.retry_after_s is not None:
            response.headers["Retry-After"] = str(max(1, ceil(answer.retry_after_s)))
        return response

    @web.middleware
    async def _render_errors(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Render every HTTP error as JSON, and count the responses to POST requests by status."""
        try:
            response = await handler(request)
        except web.HTTPRequestEntityTooLarge:
            size = request.content_length or "more"
            text = f"the body must be at most {self._config.max_body_bytes} bytes, got {size}"
            response = web.json_response({"error": text}, status=413)
        except web.HTTPException as error:
            text = error.text if error.text and not error.text.startswith(str(error.status)) else error.reason
            text = f"{text} ({request.method} {request.path})"
            kept = {name: value for name, value in error.headers.items() if name in ("Retry-After", "Allow")}
            response = web.json_response({"error": text}, status=error.status, headers=kept)
        if request.method == "POST":
            self._metrics.answers.labels(str(response.status)).inc()
        return response


def _integer(body: dict[str, object], name: str, least: int) -> int:
    value = body.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{name} must be an integer of at least {least}, got {value!r}")
    return value


def _backends(body: dict[str, object]) -> tuple[str, ...] | None:
    value = body.get("backends")
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(url, str) for url in value):
        raise ConfigError(f"backends must be a list of URLs, got {value!r}")
    return parse_urls("backends", value)


def _deadline_s(request: web.Request) -> float | None:
    text = request.headers.get(DEADLINE)
    if text is None:
        return None
    try:
        value_ms = float(text)
    except ValueError:
        value_ms = float("nan")
    if not (isfinite(value_ms) and value_ms > 0):
        raise web.HTTPBadRequest(text=f"{DEADLINE} must be a number of milliseconds above 0, got {text!r}")
    return value_ms / 1000


def _forwarded(answer: BackendAnswer) -> web.Response:
    return web.Response(status=answer.status, headers=CIMultiDict(answer.headers), body=answer.body)


def _add_queue_size(response: web.Response, queue_size: int) -> None:
    """Add queue_size to a body that is a JSON object; leave any other body as it is."""
    try:
        body = json.loads(bytes(response.body))  # type: ignore[arg-type]
    except (ValueError, TypeError):
        return
    if isinstance(body, dict):
        response.body = json.dumps({**body, "queue_size": queue_size}).encode()
