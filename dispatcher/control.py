"""The control port: what the controller and operators may ask, and clients may not."""

import asyncio
import hmac
import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest

from dispatcher.buffer import BurstBuffer, QueueRow
from dispatcher.config import Config, ConfigError, parse_urls
from dispatcher.metrics import export_values
from dispatcher.relay import Relay

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

LONGEST_PROBLEM = 500
BODY_TIMEOUT_S = 10.0


class ControlServer:
    """HTTP handlers of the control port.

    key: what Authorization: Bearer must carry; None asks for none. pending: returns the asynchronous jobs that are
    accepted and not yet in the buffer.
    """

    def __init__(
        self, relay: Relay, buffer: BurstBuffer, config: Config, registry: CollectorRegistry, key: str | None
    ) -> None:
        self._relay, self._buffer, self._config, self._registry = relay, buffer, config, registry
        self._key = None if key is None else key.encode()
        self._capacity: tuple[int, float, float] | None = None
        self._problem_text = ""
        self.pending: Callable[[], int] = lambda: 0
        self.draining = False
        self._export(registry)

    def _export(self, registry: CollectorRegistry) -> None:
        """Export as metrics what /queue and /signals report."""
        buffer, config, now_s = self._buffer, self._config, self._relay.now_s
        export_values(
            registry,
            {
                "dispatcher_slo_seconds": ("The SLO, --slo-s", lambda: config.slo_s),
                "dispatcher_queue_limit": ("Largest number of waiting requests", lambda: config.queue_limit),
                "dispatcher_held_bytes": ("Size of the bodies of unfinished requests", buffer.held_bytes),
                "dispatcher_held_limit_bytes": ("Largest value of dispatcher_held_bytes", lambda: config.queue_bytes),
                "dispatcher_oldest_wait_seconds": (
                    "Age of the oldest waiting request",
                    lambda: buffer.oldest_wait_s(now_s()),
                ),
                "dispatcher_retry_after_seconds": (
                    "Retry-After of a request that is refused now",
                    lambda: buffer.retry_after_s(now_s()),
                ),
                "dispatcher_ejected_backends": ("Backends ejected after failures", buffer.ejected_backends),
                "dispatcher_holding": (
                    "Whether an announced capacity is valid (1) or not (0)",
                    lambda: self._valid_capacity() is not None,
                ),
                "dispatcher_capacity": (
                    "Requests that the pods can take at once, as announced; 0 without a valid announcement",
                    lambda: self._valid_capacity() or 0,
                ),
            },
        )

    def _valid_capacity(self) -> int | None:
        """Return the capacity that the controller announced; None if none is valid."""
        return self._capacity[0] if self._capacity and self._relay.now_s() < self._capacity[2] else None

    def app(self) -> web.Application:
        """Return the application with all routes."""
        app = web.Application(middlewares=[self._render_errors, self._check_key])
        app.add_routes(
            [
                web.get("/", self.health),
                web.get("/healthz", self.health),
                web.get("/metrics", self.metrics),
                web.get("/signals", self.signals),
                web.get("/queue", self.queue),
                web.put("/capacity", self.capacity),
            ]
        )
        return app

    def problem(self) -> str:
        """Return what the controller said about pods that do not start, while its announcement is valid."""
        fresh = self._capacity is not None and self._relay.now_s() < self._capacity[2]
        return self._problem_text if fresh else ""

    async def health(self, request: web.Request) -> web.Response:
        """Report liveness; it needs no key."""
        return web.json_response({"status": "draining" if self.draining else "ok"})

    async def metrics(self, request: web.Request) -> web.Response:
        """Export the metrics in Prometheus' text format."""
        return web.Response(body=generate_latest(self._registry), content_type="text/plain", charset="utf-8")

    async def signals(self, request: web.Request) -> web.Response:
        """Report the traffic to the controller, refused requests too, see signals.py; counters never decrease."""
        relay, buffer, now_s = self._relay, self._buffer, self._relay.now_s()
        seconds = relay.traffic.per_second(now_s)
        times = buffer.service_times
        return web.json_response(
            {
                "now_s": now_s,
                "arrivals": {"since_s": seconds.since_s, "count": relay.arrived, "per_second": seconds.arrivals},
                "concurrency": {"since_s": seconds.since_s, "per_second": seconds.concurrency},
                "waiting": buffer.waiting + self.pending(),
                "in_flight": buffer.in_flight,
                "oldest_wait_s": buffer.oldest_wait_s(now_s),
                "feasible_backlog_s": buffer.feasible_backlog_s(now_s),
                "service_time_s": {
                    "mean": times.mean_s(),
                    "p95": times.p95_s(),
                    "spread": times.spread_s(),
                    "samples": len(times),
                },
                "released": relay.released,
                "rejected": relay.rejected,
                "retried": relay.retried,
            }
        )

    async def queue(self, request: web.Request) -> web.Response:
        """Report what waits, for people."""
        now_s = self._relay.now_s()
        body = {
            "waiting": self._buffer.waiting,
            "in_flight": self._buffer.in_flight,
            "jobs_pending": self.pending(),
            "classes": [_class_row(row) for row in self._buffer.queue(now_s)],
            "held_bytes": self._buffer.held_bytes(),
            "retry_after_s": round(self._buffer.retry_after_s(now_s), 3),
            "capacity": self._capacity_row(now_s),
            "problem": self.problem(),
        }
        return web.Response(text=json.dumps(body, indent=2) + "\n", content_type="application/json")

    def _capacity_row(self, now_s: float) -> dict[str, object] | None:
        """Return the capacity that the controller announced last; None before the first announcement."""
        if self._capacity is None:
            return None
        requests, told_s, until_s = self._capacity
        return {"requests": requests, "age_s": round(now_s - told_s, 3), "valid": now_s < until_s}

    async def capacity(self, request: web.Request) -> web.Response:
        """Accept from the controller how many pods are ready, and for how long that is valid."""
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                body = json.loads(await request.read())
            if not isinstance(body, dict):
                raise ConfigError(f"the body must be a JSON object, got {type(body).__name__}")
            ready = _integer(body, "ready_pods", least=0)
            concurrency = _integer(body, "concurrency", least=1)
            valid_s = body.get("valid_s")
            if isinstance(valid_s, bool) or not isinstance(valid_s, int | float) or not 0 < valid_s <= 3600:
                raise ConfigError(f"valid_s must be above 0 and at most 3600, got {valid_s!r}")
            problem = _problem(body)
            backends = _backends(body)
        except TimeoutError as error:
            raise web.HTTPRequestTimeout(text=f"the body must be there within {BODY_TIMEOUT_S:g} s") from error
        except (ValueError, RecursionError) as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        if backends is not None and not self._config.accept_backends:
            raise web.HTTPForbidden(text="backends can be named only if the dispatcher runs with --accept-backends")
        now_s = self._relay.now_s()
        self._capacity, self._problem_text = (ready * concurrency, now_s, now_s + valid_s), problem
        self._relay.set_capacity(ready * concurrency, float(valid_s), backends, concurrency)
        return web.json_response({"capacity": ready * concurrency, "valid_s": valid_s})

    @web.middleware
    async def _check_key(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if self._key is not None and request.path not in ("/", "/healthz"):
            scheme, _, given = request.headers.get("Authorization", "").partition(" ")
            token = given.strip().encode("utf-8", "surrogateescape")
            if not (scheme.lower() == "bearer" and hmac.compare_digest(token, self._key)):
                raise web.HTTPUnauthorized(
                    text="the key of --control-key-file is needed, in Authorization: Bearer KEY",
                    headers={"WWW-Authenticate": "Bearer"},
                )
        return await handler(request)

    @web.middleware
    async def _render_errors(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Render every HTTP error as JSON."""
        try:
            return await handler(request)
        except web.HTTPException as error:
            text = error.text if error.text and not error.text.startswith(str(error.status)) else error.reason
            kept = {name: value for name, value in error.headers.items() if name in ("WWW-Authenticate", "Allow")}
            body = {"error": f"{text} ({request.method} {request.path})"}
            return web.json_response(body, status=error.status, headers=kept)


def _class_row(row: QueueRow) -> dict[str, object]:
    return {**asdict(row), "priority": row.priority.name.lower()}


def _integer(body: dict[str, object], name: str, least: int) -> int:
    value = body.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= 10**9:
        raise ConfigError(f"{name} must be an integer of at least {least}, got {value!r}")
    return value


def _problem(body: dict[str, object]) -> str:
    value = body.get("problem", "")
    if not isinstance(value, str):
        raise ConfigError(f"problem must be text, got {value!r}")
    return value[:LONGEST_PROBLEM]


def _backends(body: dict[str, object]) -> tuple[str, ...] | None:
    value = body.get("backends")
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(url, str) for url in value):
        raise ConfigError(f"backends must be a list of URLs, got {value!r}")
    return parse_urls("backends", value)
