"""gunicorn's settings: one worker with a few threads.

One worker is enough because a pod has one CPU and containerConcurrency is 1. Threads let the pod respond to probes and
metrics requests during an inference. The worker class extends gthread so that SIGTERM resets no connection
(function/worker.py).
"""

import gc
import os
import resource
import signal
import sys
from typing import Any

from function.config import ConfigError, number
from function.ports import address, bind_address, refuse_taken_port
from function.startup import cold_start

# Objects made by imports live on, so garbage collection during them only costs time: 5 % of a cold start.
gc.disable()
cold_start()
# numpy's BLAS would start a spinning thread for each of the host's cores, although nothing here calls it.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

host, port = address(os.environ)
refuse_taken_port("function", host, port)  # gunicorn itself would retry for five seconds

bind = bind_address(host, port)
workers = 1
worker_class = "function.worker.DrainingWorker"
backlog = 2048
# gunicorn accepts no more than this, so that idle connections would keep out the rest: its default is 1,000. Each needs
# an open file, of which most systems allow more than they give.
open_files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, open_files))
worker_connections = max(1, min(10_000, open_files - 200))
keepalive = 75
timeout = 0
try:
    threads = number(os.environ, "THREADS", 4, least=1)
    graceful_timeout = number(os.environ, "GRACEFUL_TIMEOUT_S", 25, least=1)
except ConfigError as error:
    sys.stderr.write(f"function: {error}\n")
    raise SystemExit(2) from error
worker_tmp_dir = "/dev/shm"
control_socket_disable = True
# Nothing here reads the scheme or the client's address, so headers of proxies about them are neither believed nor
# compared: gunicorn refuses contradictory ones of a trusted proxy, and Knative's queue-proxy is on a trusted address.
forwarded_allow_ips = ""
secure_scheme_headers: dict[str, str] = {}
forwarder_headers = ""
# Tokens in headers are often longer than gunicorn's default of 8190 bytes; that is also the most for the first line.
limit_request_field_size = 32 * 1024
limit_request_line = 8190
loglevel = os.environ.get("LOG_LEVEL", "info")


STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


def restore_default_stop_signals() -> None:
    """Restore the default signal handlers in a worker that has just been forked."""
    for number_of_signal in STOP_SIGNALS:
        signal.signal(number_of_signal, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


# A new worker inherits its master's handlers, which only record signals. A signal that arrived before the worker had
# set its own handlers was lost, and the master waited for the worker until graceful_timeout.
os.register_at_fork(
    before=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS),
    after_in_parent=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS),
    after_in_child=restore_default_stop_signals,
)


def when_ready(server: Any) -> None:
    """Turn garbage collection on again in the master, whose imports are done."""
    gc.enable()


def post_fork(server: Any, worker: Any) -> None:
    """Turn garbage collection off for the worker's imports; a replacement worker measures its start from now."""
    gc.disable()
    if worker.age > 1:
        cold_start.cache_clear()
        cold_start()


def post_worker_init(worker: Any) -> None:
    """Exclude what the imports made from garbage collection, and turn collection on for what requests make."""
    gc.freeze()
    gc.enable()
