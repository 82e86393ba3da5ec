"""`python -m dispatcher`: configure the dispatcher from flags and environment, run it, drain it."""

import asyncio
import gc
import logging
import os
import resource
import signal
import ssl
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import uvloop
from aiohttp import web
from prometheus_client import CollectorRegistry, Counter

from dispatcher.backends import Backends
from dispatcher.buffer import BufferConfig, BurstBuffer
from dispatcher.config import Config, ConfigError, parse_config
from dispatcher.control import ControlServer
from dispatcher.exchange import HEADER_LIMIT_BYTES, HEADERS_LIMIT, Exchange
from dispatcher.kept_work import KeptWork
from dispatcher.keys import KeyFile, KeysError
from dispatcher.line_log import LineLog
from dispatcher.memory import give_back
from dispatcher.metrics import DispatcherMetrics
from dispatcher.observer import Handler, Observer
from dispatcher.otlp import open_sender
from dispatcher.ports import BindError, bind_failure
from dispatcher.relay import Relay
from dispatcher.replies import ClientServer
from dispatcher.server import DispatcherServer
from dispatcher.tls import CertificateFiles, TlsError

if TYPE_CHECKING:
    from dispatcher.tracing import Tracing

log = logging.getLogger("dispatcher")

KEEPALIVE_S = 300.0


async def run(config: Config) -> int:
    """Serve until SIGTERM or SIGINT, then drain; return 1 if requests were unfinished at the drain timeout, else 0.

    Raise ConfigError if a file of the settings cannot be used, and BindError if a port cannot be bound.
    """
    registry = CollectorRegistry()
    metrics = DispatcherMetrics(registry, config.slo_s)
    buffer = make_buffer(config)
    exchange = Exchange(_tls(config))
    relay = Relay(buffer, exchange, metrics, config.request_timeout_s)
    control = ControlServer(relay, buffer, config, registry, _control_key(config))
    server = DispatcherServer(relay, buffer, config, metrics, control.problem, _api_keys(config))
    observer = Observer(_line_log(config, registry), _tracing(), relay.now_s)
    kept = KeptWork(config, observer.around_jobs(relay.handle), registry)
    control_runner = web.AppRunner(control.app(), access_log=None, shutdown_timeout=1, keepalive_timeout=KEEPALIVE_S)
    public = _public(observer.around(server.handle))
    runner = web.ServerRunner(public, shutdown_timeout=0.5)
    try:
        await kept.start()
        server.jobs, control.pending = kept.jobs, kept.pending
        await _listen(control_runner, (config.control_host,), config.control_port)
        sites = await _listen(runner, config.hosts(), config.port, _serving_tls(config))
        _log_start(config)
        _giving_back = _tidy_memory(buffer)
        await _wait_for_signal()
        server.draining = control.draining = True
        stopping = asyncio.ensure_future(kept.stop_running())
        return await _drain(
            lambda: bool(public.at_work or public.unsent_bytes() or not stopping.done()),
            relay,
            sites,
            config,
        )
    finally:
        await runner.cleanup()
        await control_runner.cleanup()
        await kept.close()
        exchange.close()
        await asyncio.to_thread(observer.close)


def _log_start(config: Config) -> None:
    backends = "named by the controller" if config.accept_backends else ", ".join(config.ml_service_url)
    log.info("listening on %s:%d, backends: %s, order: %s", config.host, config.port, backends, config.order)


def make_buffer(config: Config) -> BurstBuffer:
    """Return the buffer of these settings."""
    return BurstBuffer(
        BufferConfig(
            slo_s=config.slo_s,
            order="fifo" if config.order == "fifo" else "deadline",
            queue_limit=config.queue_limit,
            queue_bytes=config.queue_bytes,
            attempts=config.attempts,
            timeout_s=config.request_timeout_s,
            hold=config.hold == "capacity",
            expired="drop" if config.expired == "drop" else "serve",
            retry_ratio=config.retry_ratio,
        ),
        # with --accept-backends there is no backend until the controller has named one
        Backends((), ()) if config.accept_backends else Backends(config.ml_service_url, config.backend_concurrency),
    )


def _line_log(config: Config, registry: CollectorRegistry) -> LineLog | None:
    if not config.log_requests:
        return None
    text = "Lines of the request log that could not be written"
    return LineLog(Counter("dispatcher_log_lines_dropped", text, registry=registry).inc)


def _tracing() -> "Tracing | None":
    sender = open_sender(os.environ, "dispatcher")
    if sender is None:
        return None
    from dispatcher.tracing import Tracing  # noqa: PLC0415  its packages are an extra

    return Tracing(sender)


def _public(handle: Handler) -> ClientServer:
    made = ClientServer(
        handle,
        # without the cancellation, a request whose client has disconnected would stay in the queue
        handler_cancellation=True,
        access_log=None,
        auto_decompress=False,
        keepalive_timeout=KEEPALIVE_S,
        max_line_size=HEADER_LIMIT_BYTES,
        max_field_size=HEADER_LIMIT_BYTES,
        max_headers=HEADERS_LIMIT,
    )
    # the rest is for connections to pods, the control port and files
    made.most_connections = resource.getrlimit(resource.RLIMIT_NOFILE)[0] * 3 // 4
    return made


async def _listen(
    runner: web.BaseRunner, hosts: Sequence[str], port: int, tls: ssl.SSLContext | None = None
) -> list[web.TCPSite]:
    await runner.setup()
    sites = [web.TCPSite(runner, host, port, ssl_context=tls, backlog=1024) for host in hosts]
    for host, site in zip(hosts, sites, strict=True):
        try:
            await site.start()
        except OSError as error:
            raise BindError(bind_failure(host, port, error)) from error
    return sites


def _tls(config: Config) -> ssl.SSLContext | None:
    if config.ml_service_ca is None:
        return None
    try:
        return ssl.create_default_context(cafile=str(config.ml_service_ca))
    except OSError as error:  # ssl.SSLError is one
        text = f"--ml-service-ca must be a file of CA certificates in PEM format, got {config.ml_service_ca}: {error}"
        raise ConfigError(text) from error


def _serving_tls(config: Config) -> ssl.SSLContext | None:
    if config.tls_cert_file is None or config.tls_key_file is None:
        return None
    try:
        return CertificateFiles(config.tls_cert_file, config.tls_key_file).context()
    except TlsError as error:
        raise ConfigError(str(error)) from error


def _api_keys(config: Config) -> KeyFile | None:
    try:
        return None if config.api_keys_file is None else KeyFile(config.api_keys_file)
    except KeysError as error:
        raise ConfigError(f"--api-keys-file: {error}") from error


def _control_key(config: Config) -> str | None:
    if config.control_key_file is None:
        return None
    try:
        key = config.control_key_file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"--control-key-file must be a readable file, got {config.control_key_file}: {error}"
        ) from error
    if not key:
        raise ConfigError(f"--control-key-file must contain a key, got nothing in {config.control_key_file}")
    return key


async def _wait_for_signal() -> None:
    received = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, received.set)
    await received.wait()


async def _drain(busy: Callable[[], bool], relay: Relay, sites: Sequence[web.TCPSite], config: Config) -> int:
    """Stop listening after the delay; wait until all requests are finished, the timeout, or a second signal.

    busy: returns whether a request or a response is on its way. Open connections may still send requests; each answer
    then closes its connection. The control port stays open, so that requests waiting for pods are finished too.
    """
    log.info("shutting down, unfinished requests: %d", relay.unfinished)
    second_signal = asyncio.create_task(_wait_for_signal())
    if config.shutdown_delay_s:
        await asyncio.wait([second_signal], timeout=config.shutdown_delay_s)
    for site in sites:
        await site.stop()
    deadline_s = relay.now_s() + config.drain_timeout_s
    quiet_s = 0.0
    while quiet_s < 0.2 and relay.now_s() < deadline_s and not second_signal.done():
        await asyncio.sleep(0.02)
        quiet_s = 0.0 if busy() else quiet_s + 0.02
    second_signal.cancel()
    if relay.unfinished:
        log.error("stopped before all requests were finished, unfinished: %d", relay.unfinished)
        return 1
    return 0


def _tidy_memory(buffer: BurstBuffer) -> asyncio.Task[None]:
    """Let the garbage collector run rarely, and give memory back after bursts as long as the returned task is kept.

    Requests are freed without the collector, which by default looks at every waiting one again and again.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
    return asyncio.create_task(give_back(buffer.held_bytes))


def _raise_file_limit() -> None:
    """Allow as many open files as the system permits: each client and each pod's connection is one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main() -> int:
    """Parse the settings and run; return 2 if a setting is invalid or a port cannot be bound."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    _raise_file_limit()
    try:
        return uvloop.run(run(parse_config(None, os.environ)))
    except (ConfigError, BindError) as error:
        print(f"dispatcher: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
