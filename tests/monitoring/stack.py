"""A loaded stack for Prometheus: a real pod, two dispatchers, a controller, and one of each event that has a metric.

The cluster is one in memory, which says that one pod is ready and another cannot start.
"""

import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from tests.autoscaler_tuning.live.knative_world import FIRST, cluster
from tests.dispatcher.processes import Dispatcher, Stub
from tests.knative.fake_api import pod_json
from tests.knative.fake_server import FakeServer, write_kubeconfig
from tests.monitoring.prometheus import Scrape
from tests.paths import ROOT
from tests.ports import free_port, wait_for

NAMESPACE, SERVICE, FAULTY = "shop", "resnet18", "faulty"
POD = (sys.executable, "-m", "gunicorn", "-c", "function/gunicorn.conf.py", "function.wsgi:app")
KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ASYNC = {"Prefer": "respond-async"}
EVERY_S = 0.25


@dataclass(frozen=True, slots=True)
class Stack:
    """The running parts: addresses with /metrics, by component, and what Prometheus is to scrape."""

    metrics: dict[str, str]
    scrapes: tuple[Scrape, ...]
    dispatchers: tuple[Dispatcher, ...]


@contextmanager
def loaded_stack(model_dir: Path, folder: Path) -> Iterator[Stack]:
    """Run the stack with a steady load."""
    with ExitStack() as cleanup:
        pod_port, controller_port = free_port(), free_port()
        # with everything on that has a metric
        env = {**os.environ, "MODEL_DIR": str(model_dir), "PORT": str(pod_port), "HOST": "127.0.0.1"}
        _process(cleanup, *POD, env=env | {"LOG_REQUESTS": "1"})
        wait_for(f"http://127.0.0.1:{pod_port}/", timeout_s=120)
        optional = ("--journal", str(folder / "journal.sqlite3"), "--log-requests")
        good = _dispatcher(cleanup, "--ml-service-url", f"http://127.0.0.1:{pod_port}", *optional)
        faulty = _faulty(cleanup, folder)
        api = cluster(max_scale="20")
        stuck = {"containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff"}}}]}
        api.pod_list.append(pod_json("b", FIRST, stuck))
        server = cleanup.enter_context(FakeServer(api).running())
        control = ("-m", "autoscaler_tuning", "control", "--target", "knative", "--dispatcher", good.control)
        listen = ("--host", "127.0.0.1", "--port", str(controller_port))
        kubeconfig = str(write_kubeconfig(folder, server.url))
        _process(cleanup, sys.executable, *control, *listen, env={**os.environ, "KUBECONFIG": kubeconfig})
        wait_for(f"http://127.0.0.1:{controller_port}/readyz", timeout_s=120)
        _load(cleanup, good)
        _load(cleanup, faulty)
        here = {"namespace": NAMESPACE, "service": SERVICE}
        yield Stack(
            {
                "function": f"http://127.0.0.1:{pod_port}/metrics",
                "dispatcher": f"{good.control}/metrics",
                "autoscaler": f"http://127.0.0.1:{controller_port}/metrics",
            },
            (
                Scrape("classifier", f"127.0.0.1:{pod_port}", here),
                Scrape("dispatcher-control", f"127.0.0.1:{good.control_port}", here),
                Scrape("dispatcher-control", f"127.0.0.1:{faulty.control_port}", {**here, "service": FAULTY}),
                Scrape("elastic-controller", f"127.0.0.1:{controller_port}", here, own=True),
            ),
            (good, faulty),
        )


def _process(cleanup: ExitStack, *argv: str, env: dict[str, str]) -> None:
    """Start a process that is stopped at the end."""
    process = subprocess.Popen(argv, cwd=ROOT, env=env)
    cleanup.callback(process.wait, 60)
    cleanup.callback(process.terminate)


def _dispatcher(cleanup: ExitStack, *flags: str) -> Dispatcher:
    dispatcher = Dispatcher(*flags)
    cleanup.callback(dispatcher.process.communicate)
    cleanup.callback(dispatcher.process.kill)
    return dispatcher


def _load(cleanup: ExitStack, dispatcher: Dispatcher) -> None:
    """Send an image every EVERY_S until the end, each fourth one as asynchronous work."""
    image = (ROOT / "samples/cat.jpg").read_bytes()
    over = threading.Event()

    def send() -> None:
        for headers in itertools.cycle((ASYNC, {}, {}, {})):
            if over.wait(EVERY_S):
                return
            try:
                dispatcher.post(files={"file": image}, headers=headers)
            except requests.ConnectionError:
                return  # a test has ended the dispatcher

    thread = threading.Thread(target=send)
    thread.start()
    cleanup.callback(thread.join, 60)
    cleanup.callback(over.set)


def _faulty(cleanup: ExitStack, folder: Path) -> Dispatcher:
    """Return a dispatcher whose backend and sink fail, after a refusal, two kinds of expiry, a failure and a dead letter."""
    key = folder / "key"
    key.write_text(KEY)
    backend = Stub()
    backend.statuses = [503] * 1000
    cleanup.callback(backend.server_close)
    cleanup.callback(backend.shutdown)
    dispatcher = _dispatcher(
        cleanup,
        *("--ml-service-url", backend.url, "--queue-limit", "1", "--expired", "drop", "--attempts", "1"),
        *("--journal", str(folder / "faulty.sqlite3"), "--job-attempts", "1"),
        *("--result-sink", f"http://127.0.0.1:{free_port()}/", "--result-sink-key-file", str(key)),
    )
    dispatcher.set_capacity(ready_pods=0, concurrency=1, valid_s=3600)
    with ThreadPoolExecutor(3) as threads:
        statuses = [future.result().status_code for future in [threads.submit(dispatcher.post) for _ in range(3)]]
    assert all(status >= 429 for status in statuses), statuses
    dispatcher.post(headers={"X-Request-Deadline-Ms": "50"})
    dispatcher.set_capacity(ready_pods=1, concurrency=1, valid_s=3600)
    assert dispatcher.post().status_code == 503
    job = dispatcher.post(headers=ASYNC)
    deadline_s = time.monotonic() + 60
    while requests.get(dispatcher.url + job.headers["Location"], timeout=10).headers["X-Job-State"] != "failed":
        assert time.monotonic() < deadline_s, "the job did not fail within 60 s"
        time.sleep(0.1)
    return dispatcher
