"""gunicorn's settings: one worker, a few threads.

One worker because a pod has one CPU and containerConcurrency is 1; threads so that probes and metrics are answered
while a request is inferred. Our own kind of gthread, which resets no connection at SIGTERM (function/worker.py).
"""

import gc
import os
import signal
import sys
from typing import Any

from function.config import ConfigError, number
from function.ports import refuse_taken_port
from function.startup import cold_start

# Imports make objects that stay: looking through them for garbage, again and again, is 5 % of a start.
gc.disable()
cold_start()
# numpy's BLAS starts a thread for each of the host's cores, which spin, and nothing here calls it.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

host = os.environ.get("HOST", "0.0.0.0")
port = os.environ.get("PORT", "8000")
refuse_taken_port("function", host, port)  # gunicorn itself would try again for five seconds

bind = f"{host}:{port}"
workers = 1
worker_class = "function.worker.DrainingWorker"
backlog = 2048
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
loglevel = os.environ.get("LOG_LEVEL", "info")


STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


def stopped_by_default() -> None:
    """In a worker that has just been forked."""
    for number_of_signal in STOPS:
        signal.signal(number_of_signal, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)


# A worker begins with its master's handlers, which only write signals down: one that came before it had its own was
# lost, and the master waited for it until the end of graceful_timeout.
os.register_at_fork(
    before=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, STOPS),
    after_in_parent=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS),
    after_in_child=stopped_by_default,
)


def when_ready(server: Any) -> None:
    """The master has its imports behind it."""
    gc.enable()


def post_fork(server: Any, worker: Any) -> None:
    """The worker has them before it. One that replaces another starts now, not when the master did."""
    gc.disable()
    if worker.age > 1:
        cold_start.cache_clear()
        cold_start()


def post_worker_init(worker: Any) -> None:
    """The app is there: what was made until now is not looked through any more, what requests make is."""
    gc.freeze()
    gc.enable()
