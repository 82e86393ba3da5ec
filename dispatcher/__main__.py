"""`python -m dispatcher`: configure the dispatcher from flags and environment, run it, drain it."""

import asyncio
import logging
import os
import signal
import sys

import aiohttp
from aiohttp import web
from prometheus_client import CollectorRegistry

from dispatcher.backends import Backends
from dispatcher.buffer import BufferConfig, BurstBuffer
from dispatcher.config import Config, ConfigError, parse_config
from dispatcher.metrics import DispatcherMetrics
from dispatcher.ports import bind_failure
from dispatcher.relay import Relay
from dispatcher.server import DispatcherServer

log = logging.getLogger("dispatcher")


async def run(config: Config) -> int:
    """Serve until SIGTERM or SIGINT, then drain; return 1 if requests were unfinished at the drain timeout, else 0.

    Raise OSError if the port cannot be bound.
    """
    registry = CollectorRegistry()
    metrics = DispatcherMetrics(registry)
    buffer = BurstBuffer(
        BufferConfig(
            slo_s=config.slo_s,
            order="fifo" if config.order == "fifo" else "deadline",
            queue_limit=config.queue_limit,
            attempts=config.attempts,
            timeout_s=config.request_timeout_s,
            hold=config.hold == "capacity",
        ),
        # with --accept-backends there is no backend until the controller has named one
        Backends((), ()) if config.accept_backends else Backends(config.ml_service_url, config.backend_concurrency),
    )
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
        relay = Relay(buffer, session, metrics, config.ml_service_host, config.request_timeout_s)
        server = DispatcherServer(relay, buffer, config, metrics, registry)
        # without the cancellation, a request whose client has disconnected would stay in the queue
        runner = web.AppRunner(server.app(), handler_cancellation=True, access_log=None, shutdown_timeout=5)
        await runner.setup()
        try:
            await web.TCPSite(runner, config.host, config.port, backlog=1024).start()
            backends = "named by the controller" if config.accept_backends else ", ".join(config.ml_service_url)
            log.info("listening on %s:%d, backends: %s, order: %s", config.host, config.port, backends, config.order)
            await _wait_for_signal()
            server.draining = True
            return await _drain(relay, config.drain_timeout_s)
        finally:
            await runner.cleanup()


async def _wait_for_signal() -> None:
    received = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, received.set)
    await received.wait()


async def _drain(relay: Relay, timeout_s: float) -> int:
    """Wait until all accepted requests are finished, or until the timeout or a second signal.

    Meanwhile the controller can still set the capacity, so that requests waiting for pods are finished too.
    """
    log.info("shutting down, unfinished requests: %d", relay.unfinished)
    second_signal = asyncio.create_task(_wait_for_signal())
    deadline_s = relay.now_s() + timeout_s
    while relay.unfinished and relay.now_s() < deadline_s and not second_signal.done():
        await asyncio.sleep(0.02)
    second_signal.cancel()
    if relay.unfinished:
        log.error("stopped before all requests were finished, unfinished: %d", relay.unfinished)
        return 1
    # the last responses may not have left this process yet
    await asyncio.sleep(0.1)
    return 0


def main() -> int:
    """Parse the settings and run; return 2 if a setting is invalid or the port cannot be bound."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        config = parse_config(None, os.environ)
    except ConfigError as error:
        print(f"dispatcher: {error}", file=sys.stderr)
        return 2
    try:
        return asyncio.run(run(config))
    except OSError as error:
        print(f"dispatcher: {bind_failure(config.host, config.port, error)}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
