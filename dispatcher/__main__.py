"""`python -m dispatcher`: builds it from flags and environment, runs it, drains it."""

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
    """Serve until SIGTERM or SIGINT, then finish what was accepted; 0, or 1 if some was left at the time limit.

    Raises OSError if the port is taken.
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
        # where backends are named by the controller there is none before it has spoken
        Backends((), ()) if config.accept_backends else Backends(config.ml_service_url, config.backend_concurrency),
    )
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
        relay = Relay(buffer, session, metrics, config.ml_service_host, config.request_timeout_s)
        server = DispatcherServer(relay, buffer, config, metrics, registry)
        # a client that hangs up must leave the queue
        runner = web.AppRunner(server.app(), handler_cancellation=True, access_log=None, shutdown_timeout=5)
        await runner.setup()
        try:
            await web.TCPSite(runner, config.host, config.port, backlog=1024).start()
            where = "the controller" if config.accept_backends else ", ".join(config.ml_service_url)
            log.info("listening on %s:%d, backends from %s, order %s", config.host, config.port, where, config.order)
            await _until_told_to_stop()
            server.draining = True
            return await _drain(relay, config.drain_timeout_s)
        finally:
            await runner.cleanup()


async def _until_told_to_stop() -> None:
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    await told.wait()


async def _drain(relay: Relay, timeout_s: float) -> int:
    """The controller may go on telling capacity meanwhile; a second signal ends the wait."""
    log.info("shutting down: %d requests to finish", relay.unfinished)
    told_again = asyncio.create_task(_until_told_to_stop())
    deadline_s = relay.now_s() + timeout_s
    while relay.unfinished and relay.now_s() < deadline_s and not told_again.done():
        await asyncio.sleep(0.02)
    told_again.cancel()
    if relay.unfinished:
        log.error("left unfinished: %d requests", relay.unfinished)
        return 1
    # the last answers may still be on their way out of this process
    await asyncio.sleep(0.1)
    return 0


def main() -> int:
    """Parse, run; 2 for bad settings or a taken port."""
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
